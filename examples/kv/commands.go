package main

import (
	"slices"
	"strings"

	"github.com/aeloop/ae/examples/internal/resp"
)

// The commands, in the order in which Redis's documentation groups them. What
// they reply, and how they complain, is Redis's.

// A row of the table of commands. "config|get" is the subcommand GET of CONFIG.
type row struct {
	name  string // in lower case
	arity int    // words of a call, the name included; -n means n or more
	flags string // as COMMAND reports them; hidden: it does not
	keys  [3]int
	proc  func(c *client, args [][]byte) // nil: only its subcommands can be called
	usage string                         // the arguments
}

// Which arguments are keys: first, last, step. A negative last counts from the end.
var (
	noKey   = [3]int{}
	oneKey  = [3]int{1, 1, 1}
	allKeys = [3]int{1, -1, 1}
	keyPair = [3]int{1, -1, 2}
	twoKeys = [3]int{1, 2, 1}
)

// Arguments that several commands have.
const (
	timeOptions = "EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds"
	conditions  = "[NX | XX | GT | LT]"
)

var commandTable = []row{
	// Connection.
	{"ping", -1, "fast", noKey, pingCommand, "[message]"},
	{"echo", 2, "loading stale fast", noKey, echoCommand, "message"},
	{"select", 2, "loading stale fast", noKey, selectCommand, "index"},
	{"quit", -1, "noscript loading stale fast no_auth allow_busy", noKey, quitCommand, ""},

	{"auth", -2, "noscript loading stale fast no_auth allow_busy", noKey, authCommand, "[username] password"},
	{"hello", -1, "noscript loading stale fast no_auth allow_busy", noKey, helloCommand,
		"[protover [AUTH username password] [SETNAME clientname]]"},
	{"reset", 1, "noscript loading stale fast no_auth allow_busy", noKey, resetCommand, ""},
	{"client", -2, "", noKey, nil, ""},
	{"client|id", 2, "noscript loading stale", noKey, clientIDCommand, ""},
	{"client|getname", 2, "noscript loading stale", noKey, clientGetnameCommand, ""},
	{"client|setname", 3, "noscript loading stale", noKey, clientSetnameCommand, "connection-name"},
	{"client|setinfo", 4, "noscript loading stale", noKey, clientSetinfoCommand, "LIB-NAME libname | LIB-VER libver"},
	{"client|info", 2, "noscript loading stale", noKey, clientInfoCommand, ""},
	{"client|list", -2, "admin noscript loading stale", noKey, clientListCommand,
		"[TYPE NORMAL | MASTER | REPLICA | PUBSUB | ID client-id [client-id ...]]"},
	{"client|kill", -3, "admin noscript loading stale", noKey, clientKillCommand,
		"ip:port | [ID client-id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME YES | NO]"},
	{"client|no-evict", 3, "admin noscript loading stale", noKey, clientNoEvictCommand, "ON | OFF"},
	{"client|tracking", -3, "noscript loading stale", noKey, clientTrackingCommand, "ON OPTIN | OFF"},

	// Strings.
	{"get", 2, "readonly fast", oneKey, getCommand, "key"},
	{"set", -3, "write denyoom", oneKey, setCommand, "key value [NX | XX] [GET] [" + timeOptions + " | KEEPTTL]"},
	{"setnx", 3, "write denyoom fast", oneKey, setnxCommand, "key value"},
	{"setex", 4, "write denyoom", oneKey, setexCommand, "key seconds value"},
	{"psetex", 4, "write denyoom", oneKey, psetexCommand, "key milliseconds value"},
	{"getset", 3, "write denyoom fast", oneKey, getsetCommand, "key value"},
	{"getdel", 2, "write fast", oneKey, getdelCommand, "key"},
	{"getex", -2, "write fast", oneKey, getexCommand, "key [" + timeOptions + " | PERSIST]"},
	{"mget", -2, "readonly fast", allKeys, mgetCommand, "key [key ...]"},
	{"mset", -3, "write denyoom", keyPair, msetCommand, "key value [key value ...]"},
	{"msetnx", -3, "write denyoom", keyPair, msetnxCommand, "key value [key value ...]"},
	{"append", 3, "write denyoom fast", oneKey, appendStringCommand, "key value"},
	{"strlen", 2, "readonly fast", oneKey, strlenCommand, "key"},
	{"getrange", 4, "readonly", oneKey, getrangeCommand, "key start end"},
	{"setrange", 4, "write denyoom", oneKey, setrangeCommand, "key offset value"},
	{"incr", 2, "write denyoom fast", oneKey, incrCommand, "key"},
	{"decr", 2, "write denyoom fast", oneKey, decrCommand, "key"},
	{"incrby", 3, "write denyoom fast", oneKey, incrbyCommand, "key increment"},
	{"decrby", 3, "write denyoom fast", oneKey, decrbyCommand, "key decrement"},
	{"incrbyfloat", 3, "write denyoom fast", oneKey, incrbyfloatCommand, "key increment"},

	// Keys.
	{"del", -2, "write", allKeys, delCommand, "key [key ...]"},
	{"unlink", -2, "write fast", allKeys, delCommand, "key [key ...]"},
	{"exists", -2, "readonly fast", allKeys, existsCommand, "key [key ...]"},
	{"touch", -2, "readonly fast", allKeys, existsCommand, "key [key ...]"},
	{"type", 2, "readonly fast", oneKey, typeCommand, "key"},
	{"rename", 3, "write", twoKeys, renameCommand, "key newkey"},
	{"renamenx", 3, "write fast", twoKeys, renamenxCommand, "key newkey"},
	{"expire", -3, "write fast", oneKey, expireCommand, "key seconds " + conditions},
	{"pexpire", -3, "write fast", oneKey, pexpireCommand, "key milliseconds " + conditions},
	{"expireat", -3, "write fast", oneKey, expireatCommand, "key unix-time-seconds " + conditions},
	{"pexpireat", -3, "write fast", oneKey, pexpireatCommand, "key unix-time-milliseconds " + conditions},
	{"ttl", 2, "readonly fast", oneKey, ttlCommand, "key"},
	{"pttl", 2, "readonly fast", oneKey, pttlCommand, "key"},
	{"expiretime", 2, "readonly fast", oneKey, expiretimeCommand, "key"},
	{"pexpiretime", 2, "readonly fast", oneKey, pexpiretimeCommand, "key"},
	{"persist", 2, "write fast", oneKey, persistCommand, "key"},
	{"keys", 2, "readonly", noKey, keysCommand, "pattern"},
	{"scan", -2, "readonly", noKey, scanCommand, "cursor [MATCH pattern] [COUNT count] [TYPE type]"},
	{"randomkey", 1, "readonly", noKey, randomkeyCommand, ""},
	{"dbsize", 1, "readonly fast", noKey, dbsizeCommand, ""},
	{"flushdb", -1, "write", noKey, flushdbCommand, "[ASYNC | SYNC]"},
	{"flushall", -1, "write", noKey, flushallCommand, "[ASYNC | SYNC]"},

	// Publish/subscribe.
	{"subscribe", -2, "pubsub noscript loading stale", noKey, subscribeCommand, "channel [channel ...]"},
	{"unsubscribe", -1, "pubsub noscript loading stale", noKey, unsubscribeCommand, "[channel [channel ...]]"},
	{"psubscribe", -2, "pubsub noscript loading stale", noKey, psubscribeCommand, "pattern [pattern ...]"},
	{"punsubscribe", -1, "pubsub noscript loading stale", noKey, punsubscribeCommand, "[pattern [pattern ...]]"},
	{"publish", 3, "pubsub loading stale fast", noKey, publishCommand, "channel message"},
	{"pubsub", -2, "", noKey, nil, ""},
	{"pubsub|channels", -2, "pubsub loading stale", noKey, pubsubChannelsCommand, "[pattern]"},
	{"pubsub|numsub", -2, "pubsub loading stale", noKey, pubsubNumsubCommand, "[channel [channel ...]]"},
	{"pubsub|numpat", 2, "pubsub loading stale", noKey, pubsubNumpatCommand, ""},

	// Server.
	{"info", -1, "loading stale", noKey, infoCommand, "[section [section ...]]"},
	{"config", -2, "", noKey, nil, ""},
	{"config|get", -3, "admin noscript loading stale", noKey, configGetCommand, "parameter [parameter ...]"},
	{"config|set", -4, "admin noscript loading stale", noKey, configSetCommand, "parameter value [parameter value ...]"},
	{"config|resetstat", 2, "admin noscript loading stale", noKey, configResetstatCommand, ""},
	{"command", -1, "loading stale", noKey, commandCommand, ""},
	{"command|count", 2, "loading stale", noKey, commandCountCommand, ""},
	{"command|docs", -2, "loading stale", noKey, commandDocsCommand, "[command-name [command-name ...]]"},
	{"command|info", -2, "loading stale", noKey, commandInfoCommand, "[command-name [command-name ...]]"},
	{"command|list", -2, "loading stale", noKey, commandListCommand, "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]"},
	{"debug", -2, "admin noscript loading stale", noKey, debugCommand, "SLEEP seconds"},
	{"function", -2, "", noKey, nil, ""},
	{"function|flush", -2, "write noscript", noKey, functionFlushCommand, "[ASYNC | SYNC]"},
	{"monitor", 1, "admin noscript loading stale", noKey, monitorCommand, ""},
	{"shutdown", -1, "admin noscript loading stale no_multi allow_busy", noKey, shutdownCommand, "[NOSAVE | SAVE] [NOW] [FORCE]"},
	{"slowlog", -2, "", noKey, nil, ""},
	{"slowlog|get", -2, "admin loading stale", noKey, slowlogGetCommand, "[count]"},
	{"slowlog|len", 2, "admin loading stale", noKey, slowlogLenCommand, ""},
	{"slowlog|reset", 2, "admin loading stale", noKey, slowlogResetCommand, ""},
	{"time", 1, "loading stale fast", noKey, timeCommand, ""},

	// A web page can make a browser send lines to any port. The first of
	// them names the method, and POST alone can carry lines that are commands.
	{"post", -1, "hidden", noKey, webCommand, ""},
	{"host:", -1, "hidden", noKey, webCommand, ""},
}

// A command is a row of the table, made ready for use.
type command struct {
	row
	quick       bool // takes no time to speak of
	grows       bool // refused when there is no memory left
	open        bool // needs no password
	watched     bool // shown to monitors
	data        bool // not for monitors
	alone       bool // refused while messages are expected, in version 2 of the protocol
	write       bool // may change data
	subcommands []*command
}

// addCommands enters the rows, each subcommand behind its container. The subcommand
// HELP, which those have too, is only known by its name.
func (s *server) addCommands(rows []row) {
	for _, r := range rows {
		cmd := s.enter(r)
		if container, _, ok := strings.Cut(r.name, "|"); ok {
			parent := s.byName[container]
			parent.subcommands = append(parent.subcommands, cmd)
			s.enter(row{container + "|help", 2, "loading stale", noKey, helpCommand, ""})
		} else if r.flags != "hidden" {
			s.commands = append(s.commands, cmd)
		}
	}
}

func (s *server) enter(r row) *command {
	has := func(flag string) bool { return strings.Contains(r.flags, flag) }
	cmd := &command{
		row:     r,
		quick:   r.name == "set" || has("fast"),
		write:   has("write"),
		grows:   has("denyoom"),
		open:    has("no_auth"),
		watched: !has("admin"),
		data:    has("write") || has("readonly") || r.name == "publish",
		alone:   !slices.Contains(strings.Fields("ping subscribe unsubscribe psubscribe punsubscribe quit reset"), r.name),
	}
	s.byName[r.name] = cmd
	return cmd
}

// takes reports whether a call may have n words, the name included.
func (cmd *command) takes(n int) bool { return n == cmd.arity || cmd.arity < 0 && n >= -cmd.arity }

const (
	errSyntax     = "ERR syntax error"
	errNotInteger = "ERR value is not an integer or out of range"
)

// call executes one command.
func (c *client) call(args [][]byte) {
	s := c.srv
	c.prepare()
	cmd := c.lookup(args)
	if cmd == nil {
		return
	}
	if refusal := c.refusal(cmd); refusal != "" {
		c.out.Error(refusal)
		return
	}
	// What is quick is not timed, but for those who want to know: to read the clock
	// twice takes as long as a GET. If its reply turns out to be long, it counts
	// from when the clock was last read, at most a few quick commands ago.
	timed := !cmd.quick || 0 <= s.cfg.slowerThan && s.cfg.slowerThan < 1000
	if timed {
		s.readClock()
	}
	s.stats.commands++
	c.last = cmd
	c.db.Now = s.now
	before := len(c.out.Buf)
	if s.aof != nil {
		c.callLogged(cmd, args)
	} else {
		cmd.proc(c, args)
	}
	reply := len(c.out.Buf) - before
	if len(s.monitors) > 0 && cmd.watched {
		s.feedMonitors(c, redacted(cmd, args))
	}
	if timed || reply > batch {
		s.noteSlow(c, cmd, args)
	}
}

// lookup returns the command that is called. If there is none, or it cannot be
// called that way, it replies with an error and returns nil.
func (c *client) lookup(args [][]byte) *command {
	cmd := c.recent // most often it is the same one again
	if cmd == nil || !resp.Is(args[0], cmd.name) {
		cmd = c.srv.find("", args[0])
	}
	if cmd == nil {
		c.out.Error(unknownCommand(args))
		return nil
	}
	c.recent = cmd
	if cmd.subcommands != nil && len(args) > 1 {
		sub := c.srv.find(cmd.name, args[1])
		if sub == nil {
			c.out.Error("ERR unknown subcommand '" + clip(args[1], 128) + "'. Try " + strings.ToUpper(cmd.name) + " HELP.")
			return nil
		}
		cmd = sub
	}
	if cmd.proc == nil || !cmd.takes(len(args)) {
		c.wrongArity(cmd.name)
		return nil
	}
	return cmd
}

// refusal returns why a command cannot be executed now, or "".
func (c *client) refusal(cmd *command) string {
	s := c.srv
	switch {
	case c.mustAuth() && !cmd.open:
		return errNoAuth
	case cmd.grows && s.cfg.maxMemory > 0 && s.memory() > s.cfg.maxMemory:
		return "OOM command not allowed when used memory > 'maxmemory'."
	case cmd.alone && c.subscriptions() > 0 && !c.out.V3:
		return "ERR Can't execute '" + cmd.name + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
	case cmd.data && c.monitor:
		return "ERR Replica can't interact with the keyspace" // a monitor is one to Redis
	}
	return ""
}

// memory returns how many bytes the data takes: what a user can do something
// about. Holes in it, buffers and what waits for the garbage collector come on top.
func (s *server) memory() (n int64) {
	for _, db := range s.dbs {
		n += int64(db.Used())
	}
	return n
}

// find returns the command of that name, or its subcommand if container is
// given, or nil. Names are looked up without making strings of them.
func (s *server) find(container string, name []byte) *command {
	var buf [64]byte
	if len(container)+1+len(name) > len(buf) {
		return nil
	}

	full := append(buf[:0], container...)
	if container != "" {
		full = append(full, '|')
	}
	for _, b := range name {
		if b == '|' {
			return nil // client|id is a name of ours
		}
		full = append(full, resp.Lower(b))
	}
	return s.byName[string(full)]
}

func (c *client) wrongArity(name string) {
	c.out.Error("ERR wrong number of arguments for '" + name + "' command")
}

func (c *client) wrongSubcommand(args [][]byte) {
	c.out.Error("ERR unknown subcommand or wrong number of arguments for '" + clip(args[1], 128) + "'. Try " + strings.ToUpper(string(args[0])) + " HELP.")
}

// unknownCommand quotes what was sent, as far as it is short.
func unknownCommand(args [][]byte) string {
	const short = 128
	quoted := ""
	for i := 1; i < len(args) && len(quoted) < short; i++ {
		quoted += "'" + clip(args[i], short-len(quoted)) + "' "
	}
	return "ERR unknown command '" + clip(args[0], short) + "', with args beginning with: " + quoted
}

// folded returns a name in lower case. Only ASCII has cases here, as in Redis.
func folded(name []byte) string {
	lower := make([]byte, len(name))
	for i, b := range name {
		lower[i] = resp.Lower(b)
	}
	return string(lower)
}

// clip returns at most n bytes of b for an error message: as far as a C string goes.
func clip(b []byte, n int) string {
	s, _, _ := strings.Cut(string(b[:min(n, len(b))]), "\x00")
	return s
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}
