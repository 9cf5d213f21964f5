package main

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/aeloop/ae"
	"golang.org/x/sys/unix"
)

// What the server tells about itself: INFO, CONFIG, COMMAND.

// redisVersion is the version whose behaviour is followed; clients look at it to
// find out what they may send.
const redisVersion = "7.2.0"

// INFO is lines of text, in sections.

type infoSection struct {
	name  string
	write func(s *server, b *strings.Builder)
}

var infoSections = []infoSection{
	{"Server", infoServer},
	{"Clients", infoClients},
	{"Memory", infoMemory},
	{"Stats", infoStats},
	{"Replication", infoReplication},
	{"CPU", infoCPU},
	{"Keyspace", infoKeyspace},
}

func infoCommand(c *client, args [][]byte) {
	var b strings.Builder
	for _, section := range infoSections {
		if !wantsSection(args[1:], section.name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		section.write(c.srv, &b)
	}
	c.out.text(b.String())
}

// wantsSection tells whether INFO with these arguments includes a section.
func wantsSection(args [][]byte, name string) bool {
	for _, arg := range args {
		if is(arg, upper(name)) || is(arg, "DEFAULT") || is(arg, "ALL") || is(arg, "EVERYTHING") {
			return true
		}
	}
	return len(args) == 0
}

func infoServer(s *server, b *strings.Builder) {
	port := 0
	if i := strings.LastIndexByte(s.address, ':'); s.network == "tcp" && i >= 0 {
		port, _ = strconv.Atoi(s.address[i+1:])
	}
	up := s.clock().Sub(s.started)
	fmt.Fprintf(b, "redis_version:%s\r\nserver_name:kv\r\nredis_mode:standalone\r\n", redisVersion)
	fmt.Fprintf(b, "os:%s %s\r\narch_bits:%d\r\nmultiplexing_api:%s\r\ngo_version:%s\r\n",
		runtime.GOOS, runtime.GOARCH, strconv.IntSize, ae.APIName(), runtime.Version())
	fmt.Fprintf(b, "process_id:%d\r\ntcp_port:%d\r\n", os.Getpid(), port)
	fmt.Fprintf(b, "uptime_in_seconds:%d\r\nuptime_in_days:%d\r\n", int(up.Seconds()), int(up.Hours()/24))
}

func infoClients(s *server, b *strings.Builder) {
	fmt.Fprintf(b, "connected_clients:%d\r\nmaxclients:%d\r\nblocked_clients:0\r\n", len(s.clients), maxClients)
}

func infoMemory(s *server, b *strings.Builder) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	data := 0
	for _, db := range s.dbs {
		data += db.memory()
	}
	fmt.Fprintf(b, "used_memory:%d\r\nused_memory_rss:%d\r\nused_memory_dataset:%d\r\nmaxmemory:0\r\n",
		m.HeapAlloc+m.StackInuse, m.Sys-m.HeapReleased, data)
}

func infoStats(s *server, b *strings.Builder) {
	expired := int64(0)
	for _, db := range s.dbs {
		expired += db.expired
	}
	fmt.Fprintf(b, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\n", s.stats.connections, s.stats.commands)
	fmt.Fprintf(b, "total_net_input_bytes:%d\r\ntotal_net_output_bytes:%d\r\n", s.stats.received, s.stats.sent)
	fmt.Fprintf(b, "expired_keys:%d\r\nevicted_keys:0\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\n",
		expired, s.stats.hits, s.stats.misses)
}

func infoReplication(s *server, b *strings.Builder) {
	b.WriteString("role:master\r\nconnected_slaves:0\r\n")
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
		if db.count > 0 {
			fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", i, db.count, db.expiring)
		}
	}
}

// CONFIG. None of the settings can be changed yet; clients only ask for them.

var settings = map[string]string{
	"appendonly":         "no",
	"databases":          strconv.Itoa(databases),
	"maxclients":         strconv.Itoa(maxClients),
	"maxmemory":          "0",
	"maxmemory-policy":   "noeviction",
	"proto-max-bulk-len": strconv.Itoa(maxBulk),
	"save":               "",
	"timeout":            "0",
}

func configGetCommand(c *client, args [][]byte) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if slices.ContainsFunc(args[2:], func(p []byte) bool { return match(p, []byte(name), true) }) {
			names = append(names, name)
		}
	}

	c.out.pairs(len(names))
	for _, name := range names {
		c.out.text(name)
		c.out.text(settings[name])
	}
}

// COMMAND lets a client find out where the keys of a command are, and lets
// redis-cli show how a command is used.

func commandCommand(c *client, args [][]byte) {
	c.out.array(len(c.srv.commands))
	for _, cmd := range c.srv.commands {
		c.replyCommand(cmd)
	}
}

func commandCountCommand(c *client, args [][]byte) { c.out.integer(int64(len(c.srv.commands))) }

func commandListCommand(c *client, args [][]byte) {
	c.out.array(len(c.srv.commands))
	for _, cmd := range c.srv.commands {
		c.out.text(cmd.name)
	}
}

func commandInfoCommand(c *client, args [][]byte) {
	if len(args) == 2 {
		commandCommand(c, args)
		return
	}
	c.out.array(len(args) - 2)
	for _, name := range args[2:] {
		if cmd := c.srv.find("", name); cmd != nil {
			c.replyCommand(cmd)
		} else {
			c.out.null()
		}
	}
}

func (c *client) replyCommand(cmd *command) {
	c.out.array(10)
	c.out.text(cmd.name)
	c.out.integer(int64(cmd.arity))

	flags := strings.Fields(cmd.flags)
	c.out.array(len(flags))
	for _, flag := range flags {
		c.out.status(flag)
	}

	for _, n := range cmd.keys {
		c.out.integer(int64(n))
	}
	for range 3 { // ACL categories, tips, key specifications: nothing to tell
		c.out.array(0)
	}

	c.out.array(len(cmd.subcommands))
	for _, sub := range cmd.subcommands {
		c.replyCommand(sub)
	}
}

func commandDocsCommand(c *client, args [][]byte) {
	docs := c.srv.commands
	if len(args) > 2 {
		docs = nil
		for _, name := range args[2:] {
			if cmd := c.srv.find("", name); cmd != nil {
				docs = append(docs, cmd)
			}
		}
	}
	c.replyDocs(docs)
}

// replyDocs describes commands, the arguments as one, in words: that is what
// redis-cli makes of them anyway when it shows hints.
func (c *client) replyDocs(docs []*command) {
	c.out.pairs(len(docs))
	for _, cmd := range docs {
		c.out.text(cmd.name)
		switch {
		case cmd.subcommands != nil:
			c.out.pairs(1)
			c.out.text("subcommands")
			c.replyDocs(cmd.subcommands)
		case cmd.usage == "":
			c.out.pairs(0)
		default:
			c.out.pairs(1)
			c.out.text("arguments")
			c.out.array(1)
			c.out.pairs(2)
			c.out.text("name")
			c.out.text(cmd.usage)
			c.out.text("type")
			c.out.text("string")
		}
	}
}
