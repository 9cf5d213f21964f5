package main

import (
	"math"
	"strconv"
	"strings"
)

// The commands, in the order in which Redis's documentation groups them. What
// they reply, and how they complain, is Redis's.

// A row of the table of commands. "config|get" is the subcommand GET of CONFIG.
type row struct {
	name  string // in lower case
	arity int    // words of a call, the name included; -n means n or more
	flags string // as COMMAND reports them
	keys  keySpec
	proc  func(c *client, args [][]byte) // nil: only its subcommands can be called
	usage string                         // the arguments
}

// A keySpec says which arguments are keys: first, last, step. A negative last
// counts from the end.
type keySpec [3]int

var (
	noKey   = keySpec{}
	oneKey  = keySpec{1, 1, 1}
	allKeys = keySpec{1, -1, 1}
	keyPair = keySpec{1, -1, 2}
)

func commandTable() []row {
	return []row{
		// Connection.
		{"ping", -1, "fast", noKey, pingCommand, "[message]"},
		{"echo", 2, "loading stale fast", noKey, echoCommand, "message"},
		{"select", 2, "loading stale fast", noKey, selectCommand, "index"},
		{"quit", -1, "noscript loading stale fast no_auth allow_busy", noKey, quitCommand, ""},

		// Strings.
		{"get", 2, "readonly fast", oneKey, getCommand, "key"},
		{"set", -3, "write denyoom", oneKey, setCommand, "key value [NX | XX] [GET] [EX seconds | " +
			"PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"},
		{"mget", -2, "readonly fast", allKeys, mgetCommand, "key [key ...]"},
		{"mset", -3, "write denyoom", keyPair, msetCommand, "key value [key value ...]"},
		{"incr", 2, "write denyoom fast", oneKey, incrCommand, "key"},
		{"decr", 2, "write denyoom fast", oneKey, decrCommand, "key"},
		{"incrby", 3, "write denyoom fast", oneKey, incrbyCommand, "key increment"},
		{"decrby", 3, "write denyoom fast", oneKey, decrbyCommand, "key decrement"},

		// Keys.
		{"del", -2, "write", allKeys, delCommand, "key [key ...]"},
		{"exists", -2, "readonly fast", allKeys, existsCommand, "key [key ...]"},
		{"type", 2, "readonly fast", oneKey, typeCommand, "key"},
		{"expire", -3, "write fast", oneKey, expireCommand, "key seconds [NX | XX | GT | LT]"},
		{"pexpire", -3, "write fast", oneKey, pexpireCommand, "key milliseconds [NX | XX | GT | LT]"},
		{"ttl", 2, "readonly fast", oneKey, ttlCommand, "key"},
		{"pttl", 2, "readonly fast", oneKey, pttlCommand, "key"},
		{"persist", 2, "write fast", oneKey, persistCommand, "key"},
		{"dbsize", 1, "readonly fast", noKey, dbsizeCommand, ""},
		{"flushdb", -1, "write", noKey, flushdbCommand, "[ASYNC | SYNC]"},
		{"flushall", -1, "write", noKey, flushallCommand, "[ASYNC | SYNC]"},

		// Server.
		{"info", -1, "loading stale", noKey, infoCommand, "[section [section ...]]"},
		{"config", -2, "", noKey, nil, ""},
		{"config|get", -3, "admin noscript loading stale", noKey, configGetCommand, "parameter [parameter ...]"},
		{"command", -1, "loading stale", noKey, commandCommand, ""},
		{"command|count", 2, "loading stale", noKey, commandCountCommand, ""},
		{"command|docs", -2, "loading stale", noKey, commandDocsCommand, "[command-name [command-name ...]]"},
		{"command|info", -2, "loading stale", noKey, commandInfoCommand, "[command-name [command-name ...]]"},
		{"command|list", 2, "loading stale", noKey, commandListCommand, ""},

		// A web page can make a browser send lines to any port. The first of
		// them names the method, and POST alone can carry lines that are commands.
		{"post", -1, "loading stale", noKey, webCommand, ""},
		{"host:", -1, "loading stale", noKey, webCommand, ""},
	}
}

// A command is a row of the table, made ready for use.
type command struct {
	row
	quick       bool // takes no time to speak of
	subcommands []*command
}

// addCommands enters the rows, each subcommand behind its container.
func (s *server) addCommands(rows []row) {
	for _, r := range rows {
		cmd := &command{row: r, quick: r.name == "set" || strings.Contains(r.flags, "fast")}
		s.byName[r.name] = cmd
		if container, _, ok := strings.Cut(r.name, "|"); ok {
			parent := s.byName[container]
			parent.subcommands = append(parent.subcommands, cmd)
		} else {
			s.commands = append(s.commands, cmd)
		}
	}
}

const (
	errSyntax     = "ERR syntax error"
	errNotInteger = "ERR value is not an integer or out of range"
)

// call executes one command.
func (c *client) call(args [][]byte) {
	s := c.srv
	c.queue()

	cmd := s.find("", args[0])
	if cmd == nil {
		c.out.fail(unknownCommand(args))
		return
	}
	if cmd.subcommands != nil && len(args) > 1 {
		sub := s.find(cmd.name, args[1])
		if sub == nil {
			c.out.fail("ERR unknown subcommand '" + clip(args[1], 128) + "'. Try " + upper(cmd.name) + " HELP.")
			return
		}
		cmd = sub
	}
	if cmd.proc == nil || len(args) != cmd.arity && (cmd.arity > 0 || len(args) < -cmd.arity) {
		c.wrongArity(cmd.name)
		return
	}

	s.stats.commands++
	c.db.now = s.now
	cmd.proc(c, args)
	if !cmd.quick {
		s.readClock()
	}
}

// find returns the command of that name, or its subcommand if container is
// given, or nil. Names are looked up without making strings of them.
func (s *server) find(container string, name []byte) *command {
	var lower [64]byte
	if len(container)+1+len(name) > len(lower) {
		return nil
	}

	n := copy(lower[:], container)
	if n > 0 {
		lower[n] = '|'
		n++
	}
	for _, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[n] = b
		n++
	}
	return s.byName[string(lower[:n])]
}

func (c *client) wrongArity(name string) {
	c.out.fail("ERR wrong number of arguments for '" + name + "' command")
}

// unknownCommand quotes what was sent, as far as it is short.
func unknownCommand(args [][]byte) string {
	quoted := ""
	for _, arg := range args[1:] {
		if len(quoted) >= 128 {
			break
		}
		quoted += "'" + clip(arg, 128-len(quoted)) + "' "
	}
	return "ERR unknown command '" + clip(args[0], 128) + "', with args beginning with: " + quoted
}

// Connection.

func pingCommand(c *client, args [][]byte) {
	switch len(args) {
	case 1:
		c.out.status("PONG")
	case 2:
		c.out.bulk(args[1])
	default:
		c.wrongArity("ping")
	}
}

func echoCommand(c *client, args [][]byte) { c.out.bulk(args[1]) }

func selectCommand(c *client, args [][]byte) {
	index, ok := parseInt(args[1])
	switch {
	case !ok:
		c.out.fail(errNotInteger)
	case index != int64(int32(index)):
		c.out.fail("ERR value is out of range, value must between -2147483648 and 2147483647")
	case index < 0 || index >= databases:
		c.out.fail("ERR DB index is out of range")
	default:
		c.db = c.srv.dbs[index]
		c.out.status("OK")
	}
}

func quitCommand(c *client, args [][]byte) {
	c.out.status("OK")
	c.closing = true
}

func webCommand(c *client, args [][]byte) {
	c.srv.log.Warn("possible attack: a web browser was made to send commands", "client", c.fd)
	c.closing = true
}

// Strings.

func getCommand(c *client, args [][]byte) { c.replyValue(args[1]) }

// replyValue replies with the value of key.
func (c *client) replyValue(key []byte) {
	value, ok := c.db.get(key)
	if !ok {
		c.srv.stats.misses++
		c.out.null()
		return
	}
	c.srv.stats.hits++
	c.out.bulk(value)
}

// setOptions are what may follow SET key value.
type setOptions struct {
	onlyNew, onlyOld, get bool
	when                  int64 // as db.set takes it
}

func setCommand(c *client, args [][]byte) {
	opt, ok := c.parseSet(args)
	if !ok {
		return
	}

	if opt.get {
		c.replyValue(args[1])
	}
	if opt.onlyNew || opt.onlyOld {
		if c.db.exists(args[1]) != opt.onlyOld {
			if !opt.get {
				c.out.null()
			}
			return
		}
	}

	c.db.set(args[1], args[2], opt.when)
	if !opt.get {
		c.out.status("OK")
	}
}

// parseSet reads the options of SET, and replies with an error if there is one.
func (c *client) parseSet(args [][]byte) (opt setOptions, ok bool) {
	var unit string // the option that gives the expiry time
	var expire []byte
	for i := 3; i < len(args); i++ {
		arg := args[i]
		switch {
		case is(arg, "NX") && !opt.onlyOld:
			opt.onlyNew = true
		case is(arg, "XX") && !opt.onlyNew:
			opt.onlyOld = true
		case is(arg, "GET"):
			opt.get = true
		case is(arg, "KEEPTTL") && expire == nil:
			opt.when = keepTTL
		case isTimeOption(arg, unit) && opt.when != keepTTL && i+1 < len(args):
			unit, expire = timeOption(arg), args[i+1]
			i++
		default:
			c.out.fail(errSyntax)
			return opt, false
		}
	}
	if expire == nil {
		return opt, true
	}
	opt.when, ok = c.expiryTime(unit, expire, "set")
	return opt, ok
}

// isTimeOption tells whether arg is one of the options that give a time, and no
// other than the one that came before, if any.
func isTimeOption(arg []byte, before string) bool {
	option := timeOption(arg)
	return option != "" && (before == "" || before == option)
}

func timeOption(arg []byte) string {
	for _, option := range [...]string{"EX", "PX", "EXAT", "PXAT"} {
		if is(arg, option) {
			return option
		}
	}
	return ""
}

// expiryTime returns the time given by such an option and its argument, in
// milliseconds since 1970. It replies with an error if that is not positive.
func (c *client) expiryTime(option string, arg []byte, command string) (when int64, ok bool) {
	n, ok := parseInt(arg)
	if !ok {
		c.out.fail(errNotInteger)
		return 0, false
	}

	base := c.db.now
	if option == "EXAT" || option == "PXAT" {
		base = 0
	}
	when, ok = addTime(base, n, option[0] == 'E')
	if n <= 0 || !ok {
		c.out.fail("ERR invalid expire time in '" + command + "' command")
		return 0, false
	}
	return when, true
}

// addTime returns base plus n milliseconds, or n seconds, unless that overflows.
func addTime(base, n int64, seconds bool) (when int64, ok bool) {
	if seconds {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, false
		}
		n *= 1000
	}
	if n > math.MaxInt64-base {
		return 0, false
	}
	return base + n, true
}

func mgetCommand(c *client, args [][]byte) {
	c.out.array(len(args) - 1)
	for _, key := range args[1:] {
		c.replyValue(key)
	}
}

func msetCommand(c *client, args [][]byte) {
	if len(args)%2 == 0 {
		c.wrongArity("mset")
		return
	}
	for i := 1; i < len(args); i += 2 {
		c.db.set(args[i], args[i+1], 0)
	}
	c.out.status("OK")
}

func incrCommand(c *client, args [][]byte) { c.add(args[1], 1) }
func decrCommand(c *client, args [][]byte) { c.add(args[1], -1) }

func incrbyCommand(c *client, args [][]byte) {
	n, ok := parseInt(args[2])
	if !ok {
		c.out.fail(errNotInteger)
		return
	}
	c.add(args[1], n)
}

func decrbyCommand(c *client, args [][]byte) {
	n, ok := parseInt(args[2])
	switch {
	case !ok:
		c.out.fail(errNotInteger)
	case n == math.MinInt64:
		c.out.fail("ERR decrement would overflow")
	default:
		c.add(args[1], -n)
	}
}

// add adds delta to the number in key; there is a 0 where there is no key.
func (c *client) add(key []byte, delta int64) {
	var n int64
	if value, ok := c.db.get(key); ok {
		if n, ok = parseInt(value); !ok {
			c.out.fail(errNotInteger)
			return
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		c.out.fail("ERR increment or decrement would overflow")
		return
	}

	n += delta
	c.srv.digits = strconv.AppendInt(c.srv.digits[:0], n, 10)
	c.db.set(key, c.srv.digits, keepTTL)
	c.out.integer(n)
}

// Keys.

func delCommand(c *client, args [][]byte) {
	n := int64(0)
	for _, key := range args[1:] {
		if c.db.del(key) {
			n++
		}
	}
	c.out.integer(n)
}

func existsCommand(c *client, args [][]byte) {
	n := int64(0)
	for _, key := range args[1:] {
		if c.db.exists(key) {
			n++
		}
	}
	c.out.integer(n)
}

func typeCommand(c *client, args [][]byte) {
	if c.db.exists(args[1]) {
		c.out.status("string")
	} else {
		c.out.status("none")
	}
}

func expireCommand(c *client, args [][]byte)  { c.expire(args, "expire", true) }
func pexpireCommand(c *client, args [][]byte) { c.expire(args, "pexpire", false) }

// expire sets the time at which a key expires, relative to now. A time that has
// passed removes the key.
func (c *client) expire(args [][]byte, command string, seconds bool) {
	cond, ok := c.parseExpire(args[3:])
	if !ok {
		return
	}
	n, ok := parseInt(args[2])
	if !ok {
		c.out.fail(errNotInteger)
		return
	}
	when, ok := addTime(c.db.now, n, seconds)
	if !ok {
		c.out.fail("ERR invalid expire time in '" + command + "' command")
		return
	}

	key := args[1]
	before, exists := c.db.expiry(key)
	switch {
	case !exists || !cond.met(before, when):
		c.out.integer(0)
	case when <= c.db.now:
		c.db.del(key)
		c.out.integer(1)
	default:
		c.db.expire(key, when)
		c.out.integer(1)
	}
}

// An expireCondition says when EXPIRE changes a time: with NX only if there is
// none, with XX only if there is one, with GT and LT only to a later or an
// earlier one. Never is later than any time.
type expireCondition struct{ nx, xx, gt, lt bool }

func (o expireCondition) met(before, when int64) bool {
	switch {
	case o.nx && before != 0, o.xx && before == 0:
		return false
	case o.gt && (before == 0 || when <= before), o.lt && before != 0 && when >= before:
		return false
	}
	return true
}

func (c *client) parseExpire(args [][]byte) (o expireCondition, ok bool) {
	for _, arg := range args {
		switch {
		case is(arg, "NX"):
			o.nx = true
		case is(arg, "XX"):
			o.xx = true
		case is(arg, "GT"):
			o.gt = true
		case is(arg, "LT"):
			o.lt = true
		default:
			c.out.fail("ERR Unsupported option " + clip(arg, len(arg)))
			return o, false
		}
	}

	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		c.out.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return o, false
	case o.gt && o.lt:
		c.out.fail("ERR GT and LT options at the same time are not compatible")
		return o, false
	}
	return o, true
}

func ttlCommand(c *client, args [][]byte) {
	if left := c.timeLeft(args[1]); left < 0 {
		c.out.integer(left)
	} else {
		c.out.integer((left + 500) / 1000)
	}
}

func pttlCommand(c *client, args [][]byte) { c.out.integer(c.timeLeft(args[1])) }

// timeLeft returns the milliseconds until a key expires, -1 if it does not, or
// -2 if there is no such key.
func (c *client) timeLeft(key []byte) int64 {
	when, ok := c.db.expiry(key)
	switch {
	case !ok:
		return -2
	case when == 0:
		return -1
	}
	return when - c.db.now
}

func persistCommand(c *client, args [][]byte) {
	if when, ok := c.db.expiry(args[1]); !ok || when == 0 {
		c.out.integer(0)
		return
	}
	c.db.expire(args[1], 0)
	c.out.integer(1)
}

func dbsizeCommand(c *client, args [][]byte) { c.out.integer(int64(c.db.count)) }

func flushdbCommand(c *client, args [][]byte) {
	if c.parseFlush(args) {
		c.db.flush()
		c.out.status("OK")
	}
}

func flushallCommand(c *client, args [][]byte) {
	if c.parseFlush(args) {
		for _, db := range c.srv.dbs {
			db.flush()
		}
		c.out.status("OK")
	}
}

// parseFlush accepts ASYNC and SYNC. They do the same: what goes away is left to
// the garbage collector, which is another thread.
func (c *client) parseFlush(args [][]byte) bool {
	if len(args) == 1 || len(args) == 2 && (is(args[1], "ASYNC") || is(args[1], "SYNC")) {
		return true
	}
	c.out.fail(errSyntax)
	return false
}

// Helpers.

// is tells whether arg is word, in capitals or not. The word is given in capitals.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, b := range arg {
		if b&^0x20 != word[i] {
			return false
		}
	}
	return true
}

func upper(s string) string {
	b := []byte(s)
	for i := range b {
		if 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// clip returns at most n bytes of b for an error message: as far as a C string goes.
func clip(b []byte, n int) string {
	for i, x := range b {
		if i == n || x == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
