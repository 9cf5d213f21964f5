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
	logLevel     slog.Level
	appendOnly   bool
	appendFile   string
	appendFsync  string // one of fsyncPolicies
}

type setting struct {
	name   string
	value  flag.Value
	access int    // for CONFIG SET
	help   string // "" if it is no flag
}

const (
	changeable = iota
	fixed      // only the value that it has is accepted
	immutable  // not even that, as in Redis
)

func (cfg *config) settings() []setting {
	return []setting{
		{"appendfilename", (*text)(&cfg.appendFile), immutable, "the append-only `file`"},
		{"appendfsync", choice[string]{&cfg.appendFsync, fsyncPolicies, fsyncPolicies}, changeable, "sync the append-only file by this `policy`: always, before each reply; everysec, twice a second; no, when the system likes"},
		{"appendonly", (*yesNo)(&cfg.appendOnly), fixed, "`yes or no`: keep the data in an append-only file, and load it at start"},
		{"client-output-buffer-limit", &cfg.output, changeable, "close a client for which more output waits than the `limits`: class hard soft seconds, " +
			"over the hard limit at once, over the soft one after so many seconds; the classes are normal, pubsub and slave (or replica; there are none), 0 is no limit"},
		{"client-query-buffer-limit", number{&cfg.queryLimit, 1 << 20, math.MaxInt64, parseSize}, changeable, "close a client whose unfinished command takes more `bytes`"},
		{"loglevel", choice[slog.Level]{&cfg.logLevel, levelNames, levels}, changeable, "log what is of this `level` at least: debug, verbose, notice or warning"},
		{"maxclients", number{&cfg.maxClients, 1, loopSize - 64, parseInt}, changeable, "refuse more connections than this `number`"},
		{"maxmemory", number{&cfg.maxMemory, 0, math.MaxInt64, parseSize}, changeable, "refuse to store more when the data takes these `bytes` (10mb, 2gb); 0 is no limit; nothing is ever evicted"},
		{"protected-mode", (*yesNo)(&cfg.protected), changeable, "`yes or no`: without a password, serve only clients of this machine"},
		{"requirepass", (*text)(&cfg.password), changeable, "ask clients for this `password`"},
		{"slowlog-log-slower-than", number{&cfg.slowerThan, -1, math.MaxInt64, parseInt}, changeable, "log commands that take more `microseconds`, none if it is -1; less than 1000 makes each command read the clock"},
		{"slowlog-max-len", number{&cfg.slowlogLimit, 0, math.MaxInt32, parseInt}, changeable, "keep this `number` of slow commands"},
		{"tcp-keepalive", number{&cfg.keepAlive, 0, math.MaxInt32, parseInt}, changeable, "ask silent connections for a sign of life after these `seconds`; 0 is never"},
		{"timeout", number{&cfg.timeout, 0, math.MaxInt32, parseInt}, changeable, "close clients that are idle for these `seconds`; 0 is never"},

		// What clients ask for although there is nothing to choose.
		{"databases", constant(strconv.Itoa(databases)), immutable, ""},
		{"maxmemory-policy", constant("noeviction"), fixed, ""},
		{"proto-max-bulk-len", constant(strconv.Itoa(resp.MaxBulk)), fixed, ""},
		{"save", constant(""), fixed, ""},
	}
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

// addFlags makes a flag of each setting that is one.
func (cfg *config) addFlags(flags *flag.FlagSet) {
	for _, s := range cfg.settings() {
		if s.help != "" {
			flags.Var(s.value, s.name, s.help)
		}
	}
}

// The kinds of settings: each a flag.Value.

type text string

func constant(s string) *text { return (*text)(&s) }

func (v *text) String() string { return string(*v) }

func (v *text) Set(s string) error {
	*v = text(s)
	return nil
}

type yesNo bool

func (v *yesNo) String() string { return either(bool(*v), "yes", "no") }

func (v *yesNo) Set(s string) error {
	yes := resp.Is([]byte(s), "yes")
	if !yes && !resp.Is([]byte(s), "no") {
		return errors.New("argument must be 'yes' or 'no'")
	}
	*v = yesNo(yes)
	return nil
}

// A choice is one of a few words, each of which stands for a value.
type choice[T comparable] struct {
	p      *T
	words  []string
	values []T
}

var (
	levelNames    = []string{"debug", "verbose", "notice", "warning"}
	levels        = []slog.Level{slog.LevelDebug, slog.LevelDebug + 2, slog.LevelInfo, slog.LevelWarn}
	fsyncPolicies = []string{string(aof.EverySec), string(aof.Always), string(aof.Never)}
)

func (v choice[T]) String() string {
	if v.p == nil {
		return "" // package flag looks at zero values
	}
	return v.words[slices.Index(v.values, *v.p)]
}

func (v choice[T]) Set(s string) error {
	i := slices.Index(v.words, folded([]byte(s)))
	if i < 0 {
		return errors.New("argument(s) must be one of the following: " + strings.Join(v.words, ", "))
	}
	*v.p = v.values[i]
	return nil
}

type number struct {
	p        *int64
	min, max int64
	parse    func(string) (int64, error)
}

func (v number) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatInt(*v.p, 10)
}

func (v number) Set(s string) error {
	n, err := v.parse(s)
	if err != nil {
		return err
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("argument must be between %d and %d inclusive", v.min, v.max)
	}
	*v.p = n
	return nil
}

func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errors.New("argument couldn't be parsed into an integer")
	}
	return n, nil
}

var units = map[string]int64{"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30}

// parseSize reads a number of bytes: 100, 1k, 1kb.
func parseSize(s string) (int64, error) {
	s = folded([]byte(s))
	digits := strings.TrimRight(s, "bgkm")
	factor, ok := units[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, errors.New("argument must be a memory value")
	}
	return n * factor, nil
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
	for ; len(fields) > 0; fields = fields[4:] {
		class := slices.Index(classNames[:], folded([]byte(fields[0])))
		if resp.Is([]byte(fields[0]), "replica") {
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
		v[class].hard, v[class].soft, v[class].seconds = hard, soft, seconds
	}
	return nil
}

// CONFIG.

func configGetCommand(c *client, args [][]byte) {
	wanted := slices.DeleteFunc(c.srv.cfg.settings(), func(s setting) bool {
		return !slices.ContainsFunc(args[2:], func(p []byte) bool { return match(p, []byte(s.name), true) })
	})
	c.out.Pairs(len(wanted))
	for _, s := range wanted {
		c.out.Text(s.name, s.value.String())
	}
}

// configSetCommand changes all of the settings that are given, or none.
func configSetCommand(c *client, args [][]byte) {
	if len(args)%2 != 0 {
		c.out.Error(errSyntax)
		return
	}
	before := *c.srv.cfg
	if err := c.srv.cfg.set(args[2:]); err != nil {
		*c.srv.cfg = before
		c.out.Error(err.Error())
		return
	}
	c.srv.setHandlers() // most settings are looked at when they are needed
	if c.srv.aof != nil {
		c.srv.aof.SyncLater()
	}
	c.out.Status("OK")
}

// set changes settings, names and values in turn, until there is an error.
func (cfg *config) set(args [][]byte) error {
	table := cfg.settings()
	seen := make(map[string]bool)
	for ; len(args) > 0; args = args[2:] {
		name, value := folded(args[0]), string(args[1])
		i := slices.IndexFunc(table, func(s setting) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", clip(args[0], len(args[0])))
		}

		var err error
		switch s := table[i]; {
		case seen[name]:
			name, err = string(args[0]), errors.New("duplicate parameter")
		case s.access == changeable:
			err = s.value.Set(value)
		case s.access == immutable || !sameValue(s.value.String(), value):
			err = errors.New("can't set immutable config")
		}
		if err != nil {
			return fmt.Errorf("ERR CONFIG SET failed (possibly related to argument '%s') - %w", name, err)
		}
		seen[name] = true
	}
	return nil
}

// sameValue reports whether s is another way to write a value.
func sameValue(value, s string) bool {
	n, err := parseSize(s)
	return resp.Is([]byte(s), value) || err == nil && strconv.FormatInt(n, 10) == value
}

func configResetstatCommand(c *client, args [][]byte) {
	c.srv.stats = statistics{}
	for _, db := range c.srv.dbs {
		db.Expired = 0
	}
	c.out.Status("OK")
}
