package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/aof"
)

// The settings. Each is a flag of the program and a parameter of CONFIG under the
// same name, and is written the same way in both: the table below is all there is.
type config struct {
	maxClients   int64
	timeout      int64 // seconds without a command, 0: for ever
	keepAlive    int64 // seconds
	queryLimit   int64 // bytes of one command
	maxMemory    int64 // bytes of data, 0: as much as there is
	password     string
	protected    bool
	output       outputLimits
	slowerThan   int64 // microseconds, -1: log nothing
	slowlogLimit int64
	logLevel     slog.LevelVar
	appendOnly   bool
	appendFile   string
	appendFsync  string // one of fsyncPolicies
}

type setting struct {
	name  string
	value flag.Value
	fixed bool // only a flag: CONFIG SET cannot change it
	help  string
}

func (cfg *config) settings() []setting {
	return []setting{
		{"appendfilename", text{&cfg.appendFile}, true, "the append-only `file`"},
		{"appendfsync", fsyncPolicy{&cfg.appendFsync}, false, "sync the append-only file by this `policy`: always, before each reply; everysec, twice a second; no, when the system likes"},
		{"appendonly", yesNo{&cfg.appendOnly}, true, "`yes or no`: keep the data in an append-only file, and load it at start"},
		{"client-output-buffer-limit", &cfg.output, false, "close a client for which more output waits than the `limits`: class hard soft seconds, " +
			"over the hard limit at once, over the soft one after so many seconds; the classes are normal, pubsub and slave (or replica; there are none), 0 is no limit"},
		{"client-query-buffer-limit", size{&cfg.queryLimit, 1 << 20}, false, "close a client whose unfinished command takes more `bytes`"},
		{"loglevel", levelName{&cfg.logLevel}, false, "log what is of this `level` at least: debug, verbose, notice or warning"},
		{"maxclients", number{&cfg.maxClients, 1, loopSize - 64}, false, "refuse more connections than this `number`"},
		{"maxmemory", size{&cfg.maxMemory, 0}, false, "refuse to store more when the data takes these `bytes` (10mb, 2gb); 0 is no limit; nothing is ever evicted"},
		{"protected-mode", yesNo{&cfg.protected}, false, "`yes or no`: without a password, serve only clients of this machine"},
		{"requirepass", text{&cfg.password}, false, "ask clients for this `password`"},
		{"slowlog-log-slower-than", number{&cfg.slowerThan, -1, math.MaxInt64}, false, "log commands that take more `microseconds`, none if it is -1; less than 1000 makes each command read the clock"},
		{"slowlog-max-len", number{&cfg.slowlogLimit, 0, math.MaxInt32}, false, "keep this `number` of slow commands"},
		{"tcp-keepalive", number{&cfg.keepAlive, 0, math.MaxInt32}, false, "ask silent connections for a sign of life after these `seconds`; 0 is never"},
		{"timeout", number{&cfg.timeout, 0, math.MaxInt32}, false, "close clients that are idle for these `seconds`; 0 is never"},
	}
}

// constants are what clients ask for although there is nothing to choose.
var constants = map[string]string{
	"databases":          strconv.Itoa(databases),
	"maxmemory-policy":   "noeviction",
	"proto-max-bulk-len": strconv.Itoa(resp.MaxBulk),
	"save":               "",
}

// immutable are those that Redis cannot change either: it does not even accept the
// value that they have.
var immutable = map[string]bool{"appendfilename": true, "databases": true}

// sameValue reports whether s is another way to write the value of a constant.
func sameValue(value, s string) bool {
	n, err := parseSize(s)
	return strings.EqualFold(s, value) || err == nil && strconv.FormatInt(n, 10) == value
}

func defaultConfig() *config {
	return &config{
		maxClients: 10_000,
		keepAlive:  300,
		queryLimit: 1 << 30,
		protected:  true,
		output: outputLimits{
			replicaClass: {hard: 256 << 20, soft: 64 << 20, seconds: 60},
			pubsubClass:  {hard: 32 << 20, soft: 8 << 20, seconds: 60},
		},
		slowerThan:   10_000,
		slowlogLimit: 128,
		appendFile:   "appendonly.aof",
		appendFsync:  "everysec",
	}
}

// addFlags makes a flag of each setting.
func (cfg *config) addFlags(flags *flag.FlagSet) {
	for _, s := range cfg.settings() {
		flags.Var(s.value, s.name, s.help)
	}
}

// The kinds of settings: each a flag.Value.

type number struct {
	p        *int64
	min, max int64
}

func (v number) String() string {
	if v.p == nil {
		return "" // package flag looks at zero values
	}
	return strconv.FormatInt(*v.p, 10)
}

func (v number) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return errors.New("argument couldn't be parsed into an integer")
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("argument must be between %d and %d inclusive", v.min, v.max)
	}
	*v.p = n
	return nil
}

// A size is a number of bytes, which may have a unit.
type size struct {
	p   *int64
	min int64
}

func (v size) String() string { return number{p: v.p}.String() }

func (v size) Set(s string) error {
	n, err := parseSize(s)
	if err != nil {
		return err
	}
	return number{v.p, v.min, math.MaxInt64}.Set(strconv.FormatInt(n, 10))
}

// parseSize reads 100, 1k (1000), 1kb (1024), and so on up to gb.
func parseSize(s string) (int64, error) {
	units := []struct {
		name   string
		factor int64
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}}
	digits, factor := strings.ToLower(s), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, errors.New("argument must be a memory value")
	}
	return n * factor, nil
}

type yesNo struct{ p *bool }

func (v yesNo) String() string {
	if v.p != nil && *v.p {
		return "yes"
	}
	return "no"
}

func (v yesNo) Set(s string) error {
	switch strings.ToLower(s) {
	case "yes":
		*v.p = true
	case "no":
		*v.p = false
	default:
		return errors.New("argument must be 'yes' or 'no'")
	}
	return nil
}

type text struct{ p *string }

func (v text) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v text) Set(s string) error {
	*v.p = s
	return nil
}

type levelName struct{ p *slog.LevelVar }

var levels = []struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"verbose", slog.LevelDebug + 2}, {"notice", slog.LevelInfo}, {"warning", slog.LevelWarn}}

func (v levelName) String() string {
	for _, l := range levels {
		if v.p != nil && l.level == v.p.Level() {
			return l.name
		}
	}
	return ""
}

func (v levelName) Set(s string) error {
	for _, l := range levels {
		if strings.EqualFold(s, l.name) {
			v.p.Set(l.level)
			return nil
		}
	}
	return errors.New("argument(s) must be one of the following: debug, verbose, notice, warning")
}

// The classes of clients that have output limits of their own.
const (
	normalClass  = iota
	replicaClass // there are none
	pubsubClass
)

var classNames = [...]string{"normal", "slave", "pubsub"}

// A settingError is worded by Redis.
type settingError string

func (e settingError) Error() string { return string(e) }

type outputLimits [len(classNames)]struct{ hard, soft, seconds int64 }

func (v *outputLimits) String() string {
	var b strings.Builder
	for class, l := range v {
		fmt.Fprintf(&b, " %s %d %d %d", classNames[class], l.hard, l.soft, l.seconds)
	}
	return b.String()[1:]
}

func (v *outputLimits) Set(s string) error {
	fields := strings.Fields(s)
	if len(fields) == 0 || len(fields)%4 != 0 {
		return settingError("Wrong number of arguments in buffer limit configuration.")
	}
	next := *v
	for ; len(fields) > 0; fields = fields[4:] {
		class := slices.Index(classNames[:], strings.ToLower(fields[0]))
		if strings.EqualFold(fields[0], "replica") {
			class = replicaClass
		}
		if class < 0 {
			return settingError("Invalid client class specified in buffer limit configuration.")
		}
		hard, err1 := parseSize(fields[1])
		soft, err2 := parseSize(fields[2])
		seconds, err3 := strconv.ParseInt(fields[3], 10, 32)
		if errors.Join(err1, err2, err3) != nil || seconds < 0 {
			return settingError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
		}
		next[class].hard, next[class].soft, next[class].seconds = hard, soft, seconds
	}
	*v = next
	return nil
}

// An fsyncPolicy is the setting that says when the file is synced.
type fsyncPolicy struct{ p *string }

var fsyncPolicies = []string{string(aof.Always), string(aof.EverySec), string(aof.Never)}

func (v fsyncPolicy) String() string { return text(v).String() }

func (v fsyncPolicy) Set(s string) error {
	s = strings.ToLower(s)
	if !slices.Contains(fsyncPolicies, s) {
		return errors.New("argument(s) must be one of the following: everysec, always, no")
	}
	*v.p = s
	return nil
}

// CONFIG.

func configGetCommand(c *client, args [][]byte) {
	var names, values []string
	wanted := func(name string) bool {
		return slices.ContainsFunc(args[2:], func(p []byte) bool { return match(p, []byte(name), true) })
	}
	for _, s := range c.srv.cfg.settings() {
		if wanted(s.name) {
			names, values = append(names, s.name), append(values, s.value.String())
		}
	}
	for name, value := range constants {
		if wanted(name) {
			names, values = append(names, name), append(values, value)
		}
	}

	c.out.Pairs(len(names))
	for i, name := range names {
		c.out.Text(name)
		c.out.Text(values[i])
	}
}

func configResetstatCommand(c *client, args [][]byte) {
	c.srv.stats = statistics{}
	for _, db := range c.srv.dbs {
		db.Expired = 0
	}
	c.out.Status("OK")
}

// configured is called when settings have changed. Most are looked at when they
// are needed.
func (s *server) configured() {
	s.setHandlers()
	if s.aof != nil {
		s.aof.SyncLater()
	}
}

// configSetCommand changes all of the settings that are given, or none.
func configSetCommand(c *client, args [][]byte) {
	args = args[2:]
	if len(args)%2 != 0 {
		c.out.Error(errSyntax)
		return
	}

	var undo []func()
	failed := func(name string, err error) {
		for _, f := range slices.Backward(undo) {
			f()
		}
		c.out.Error("ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + err.Error())
	}
	table := c.srv.cfg.settings()
	seen := make(map[string]bool)
	for ; len(args) > 0; args = args[2:] {
		name := strings.ToLower(string(args[0]))
		i := slices.IndexFunc(table, func(s setting) bool { return s.name == name })
		has, constant := constants[name]
		if i >= 0 && table[i].fixed {
			has, constant = table[i].value.String(), true
		}
		switch {
		case i < 0 && !constant:
			for _, f := range slices.Backward(undo) {
				f()
			}
			c.out.Error("ERR Unknown option or number of arguments for CONFIG SET - '" + clip(args[0], len(args[0])) + "'")
			return
		case seen[name]:
			failed(string(args[0]), errors.New("duplicate parameter"))
			return
		case constant && (immutable[name] || !sameValue(has, string(args[1]))):
			failed(name, errors.New("can't set immutable config"))
			return
		}

		seen[name] = true
		if constant {
			continue
		}
		value, before := table[i].value, table[i].value.String()
		if err := value.Set(string(args[1])); err != nil {
			failed(name, err)
			return
		}
		undo = append(undo, func() { _ = value.Set(before) })
	}
	c.srv.configured()
	c.out.Status("OK")
}
