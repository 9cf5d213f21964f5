package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"golang.org/x/sys/unix"
)

// What the server tells about itself, INFO and COMMAND, and what it does about itself.

// redisVersion is the version whose behaviour is followed; clients look at it to
// find out what they may send.
const redisVersion = "7.2.0"

// INFO is lines of text, in sections.

var infoSections = []struct {
	name  string
	write func(s *server, b *strings.Builder)
}{
	{"Server", infoServer},
	{"Clients", infoClients},
	{"Memory", infoMemory},
	{"Persistence", infoPersistence},
	{"Stats", infoStats},
	{"Replication", func(_ *server, b *strings.Builder) { b.WriteString("role:master\r\nconnected_slaves:0\r\n") }},
	{"CPU", infoCPU},
	{"Modules", func(*server, *strings.Builder) {}},
	{"Errorstats", func(*server, *strings.Builder) {}},
	{"Cluster", func(_ *server, b *strings.Builder) { b.WriteString("cluster_enabled:0\r\n") }},
	{"Keyspace", infoKeyspace},
}

func infoCommand(c *client, args [][]byte) {
	asked := func(name string) bool {
		return slices.ContainsFunc(args[1:], func(arg []byte) bool { return resp.Is(arg, name) })
	}
	all := len(args) == 1 || asked("default") || asked("all") || asked("everything")
	var b strings.Builder
	for _, section := range infoSections {
		if !all && !asked(section.name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		section.write(c.srv, &b)
	}
	c.out.Verbatim(b.String())
}

func infoServer(s *server, b *strings.Builder) {
	port := "0"
	if s.network == "tcp" {
		_, port, _ = net.SplitHostPort(s.address)
	}
	up := s.clock().Sub(s.started)
	fmt.Fprintf(b, "redis_version:%s\r\nserver_name:kv\r\nredis_mode:standalone\r\n", redisVersion)
	fmt.Fprintf(b, "os:%s %s\r\narch_bits:%d\r\nmultiplexing_api:%s\r\ngo_version:%s\r\n",
		runtime.GOOS, runtime.GOARCH, strconv.IntSize, ae.APIName(), runtime.Version())
	fmt.Fprintf(b, "process_id:%d\r\ntcp_port:%s\r\n", os.Getpid(), port)
	fmt.Fprintf(b, "uptime_in_seconds:%d\r\nuptime_in_days:%d\r\n", int(up.Seconds()), int(up.Hours()/24))
}

func infoClients(s *server, b *strings.Builder) {
	subscribers, longest := 0, 0
	for _, c := range s.clients {
		if c.subscriptions() > 0 {
			subscribers++
		}
		longest = max(longest, c.waiting())
	}
	fmt.Fprintf(b, "connected_clients:%d\r\nmaxclients:%d\r\nclient_recent_max_output_buffer:%d\r\n", len(s.clients), s.cfg.maxClients, longest)
	fmt.Fprintf(b, "blocked_clients:0\r\ntracking_clients:0\r\npubsub_clients:%d\r\nmonitor_clients:%d\r\n", subscribers, len(s.monitors))
}

func infoMemory(s *server, b *strings.Builder) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	held, output := 0, 0
	for _, db := range s.dbs {
		held += db.Memory()
	}
	for _, c := range s.clients {
		output += c.waiting() + c.left + c.req.Size()
	}
	used := m.HeapAlloc + m.StackInuse
	fmt.Fprintf(b, "used_memory:%d\r\nused_memory_human:%.2fM\r\nused_memory_rss:%d\r\n", used, float64(used)/(1<<20), m.Sys-m.HeapReleased)
	fmt.Fprintf(b, "used_memory_dataset:%d\r\nallocated_for_dataset:%d\r\nmem_clients_normal:%d\r\n", s.memory(), held, output)
	fmt.Fprintf(b, "maxmemory:%d\r\nmaxmemory_policy:noeviction\r\nmem_allocator:go\r\n", s.cfg.maxMemory)
	collecting := m.GCCPUFraction * float64(runtime.GOMAXPROCS(0)) * float64(time.Since(s.started).Microseconds())
	fmt.Fprintf(b, "gc_runs:%d\r\ngc_pause_total_usec:%d\r\ngc_pause_max_usec:%d\r\ngc_cpu_usec:%.0f\r\n",
		m.NumGC, m.PauseTotalNs/1000, slices.Max(m.PauseNs[:])/1000, collecting)
}

func infoStats(s *server, b *strings.Builder) {
	expired := int64(0)
	for _, db := range s.dbs {
		expired += db.Expired
	}
	st := &s.stats
	fmt.Fprintf(b, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\ninstantaneous_ops_per_sec:%d\r\n",
		st.connections, st.commands, st.perSecond)
	fmt.Fprintf(b, "total_net_input_bytes:%d\r\ntotal_net_output_bytes:%d\r\nrejected_connections:%d\r\n", st.received, st.sent, st.rejected)
	fmt.Fprintf(b, "expired_keys:%d\r\nevicted_keys:0\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\n", expired, st.hits, st.misses)
	fmt.Fprintf(b, "pubsub_channels:%d\r\npubsub_patterns:%d\r\n", len(s.channels), len(s.patterns))
}

func infoCPU(s *server, b *strings.Builder) {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil {
		fmt.Fprintf(b, "used_cpu_sys:%d.%06d\r\nused_cpu_user:%d.%06d\r\n",
			used.Stime.Sec, used.Stime.Usec, used.Utime.Sec, used.Utime.Usec)
	}
}

func infoKeyspace(s *server, b *strings.Builder) {
	for i, db := range s.dbs {
		if db.Len() > 0 {
			fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", i, db.Len(), db.Expiring())
		}
	}
}

// COMMAND lets a client find out where the keys of a command are, and lets
// redis-cli show how a command is used.

func commandCommand(c *client, args [][]byte) { c.replyCommands(c.srv.commands) }

func commandCountCommand(c *client, args [][]byte) { c.out.Integer(int64(len(c.srv.commands))) }

func commandListCommand(c *client, args [][]byte) {
	var wanted func(cmd *command) bool
	switch filter := len(args) == 5 && resp.Is(args[2], "FILTERBY"); {
	case len(args) == 2:
		wanted = func(*command) bool { return true }
	case filter && resp.Is(args[3], "PATTERN"):
		wanted = func(cmd *command) bool { return match(args[4], []byte(cmd.name), true) }
	case filter && resp.Is(args[3], "ACLCAT"):
		wanted = func(cmd *command) bool { return cmd.isIn(folded(args[4])) }
	case filter && resp.Is(args[3], "MODULE"):
		wanted = func(*command) bool { return false }
	default:
		c.out.Error(errSyntax)
		return
	}

	var names []string
	for name, cmd := range c.srv.byName {
		if cmd.flags != "hidden" && wanted(cmd) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	c.out.Texts(names)
}

// categories are those of Redis's access lists: the commands in them by name, where
// those that only have subcommands stand for them, or by a flag that they have (+) or
// do not have (-).
var categories = map[string]string{
	"admin":      "+admin",
	"connection": "auth client command echo hello ping quit reset select",
	"dangerous":  "+admin flushall flushdb info keys",
	"fast":       "+fast",
	"keyspace": "dbsize del exists expire expireat expiretime flushall flushdb keys persist pexpire pexpireat pexpiretime pttl randomkey rename " +
		"renamenx scan touch ttl type unlink",
	"pubsub":    "+pubsub",
	"read":      "+readonly",
	"scripting": "function",
	"slow":      "-fast",
	"string": "append decr decrby get getdel getex getrange getset incr incrby incrbyfloat mget mset msetnx psetex set setex setnx setrange " +
		"strlen",
	"write": "+write",
}

// isIn reports whether a command is in a category.
func (cmd *command) isIn(category string) bool {
	name, _, _ := strings.Cut(cmd.name, "|")
	flags := strings.Fields(cmd.flags)
	return slices.ContainsFunc(strings.Fields(categories[category]), func(word string) bool {
		switch word[0] {
		case '+':
			return slices.Contains(flags, word[1:])
		case '-':
			return !slices.Contains(flags, word[1:])
		}
		return word == name && cmd.proc != nil
	})
}

// described returns the commands of names as COMMAND has them, such as client|list,
// with nil for those that there are not, and all commands if there are no names.
func (s *server) described(names [][]byte) (list []*command) {
	if len(names) == 0 {
		return slices.Clone(s.commands)
	}
	for _, name := range names {
		cmd := s.byName[folded(name)]
		if cmd != nil && cmd.flags == "hidden" {
			cmd = nil
		}
		list = append(list, cmd)
	}
	return list
}

func commandInfoCommand(c *client, args [][]byte) { c.replyCommands(c.srv.described(args[2:])) }

func (c *client) replyCommands(list []*command) {
	c.out.Array(len(list))
	for _, cmd := range list {
		if cmd == nil {
			c.out.Null()
			continue
		}
		c.out.Array(10)
		c.out.Text(cmd.name)
		c.out.Integer(int64(cmd.arity))

		flags := strings.Fields(cmd.flags)
		c.out.Set(len(flags))
		for _, flag := range flags {
			c.out.Status(flag)
		}

		for _, n := range cmd.keys {
			c.out.Integer(int64(n))
		}
		for range 3 { // ACL categories, tips, key specifications: nothing to tell
			c.out.Set(0)
		}
		c.replyCommands(cmd.subcommands)
	}
}

func commandDocsCommand(c *client, args [][]byte) {
	c.replyDocs(slices.DeleteFunc(c.srv.described(args[2:]), func(cmd *command) bool { return cmd == nil }))
}

// replyDocs describes commands, the arguments as one, in words: that is what
// redis-cli makes of them anyway when it shows hints.
func (c *client) replyDocs(docs []*command) {
	c.out.Pairs(len(docs))
	for _, cmd := range docs {
		c.out.Text(cmd.name)
		switch {
		case cmd.subcommands != nil:
			c.out.Pairs(1)
			c.out.Text("subcommands")
			c.replyDocs(cmd.subcommands)
		case cmd.usage == "":
			c.out.Pairs(0)
		default:
			c.out.Pairs(1)
			c.out.Text("arguments")
			c.out.Array(1)
			c.out.Pairs(2)
			c.out.Text("name", cmd.usage, "type", "string")
		}
	}
}

func timeCommand(c *client, args [][]byte) {
	now := c.srv.clock()
	c.out.Texts([]string{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)})
}

// helpCommand is the subcommand HELP of each command that has others.
func helpCommand(c *client, args [][]byte) {
	container := c.srv.find("", args[0])
	c.out.Array(1 + len(container.subcommands))
	c.out.Status(strings.ToUpper(container.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, sub := range container.subcommands {
		_, name, _ := strings.Cut(sub.name, "|")
		c.out.Status(strings.TrimSpace(strings.ToUpper(name) + " " + sub.usage))
	}
}

// debugCommand lets the server sleep, and all its clients wait: that is what a
// slow command does to them, and SLOWLOG shows it.
func debugCommand(c *client, args [][]byte) {
	if !resp.Is(args[1], "SLEEP") || len(args) != 3 {
		c.wrongSubcommand(args)
		return
	}
	seconds, err := strconv.ParseFloat(string(args[2]), 64)
	if err != nil || !(seconds >= 0 && seconds < 1e6) {
		c.out.Error("ERR value is not a valid float")
		return
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-c.srv.interrupted: // as a signal ends Redis's
	}
	c.out.Status("OK")
}

// functionFlushCommand has nothing to flush: there are no functions. Test suites
// call it to begin with an empty server.
func functionFlushCommand(c *client, args [][]byte) {
	if len(args) > 3 || len(args) == 3 && !resp.Is(args[2], "ASYNC") && !resp.Is(args[2], "SYNC") {
		c.out.Error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
		return
	}
	c.out.Status("OK")
}
