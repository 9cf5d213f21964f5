package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// commandTests are commands, each followed by its reply as it is on the wire,
// with spaces for line ends. The clock stands still. Each test begins with empty
// databases. The same commands are given to a redis-server: see
// differential_test.go.
var commandTests = []struct {
	name  string
	steps []string
}{
	{"PING", []string{
		"PING", "+PONG",
		"ping hello", "$5 hello",
		"PING a b", "-ERR wrong number of arguments for 'ping' command",
	}},
	{"ECHO", []string{
		"ECHO hello", "$5 hello",
		`echo ""`, "$0 ",
		"ECHO", "-ERR wrong number of arguments for 'echo' command",
		"ECHO a b", "-ERR wrong number of arguments for 'echo' command",
	}},
	{"unknown commands", []string{
		"FOO", "-ERR unknown command 'FOO', with args beginning with: ",
		"foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' ",
		"f " + strings.Repeat("x", 200) + " y", "-ERR unknown command 'f', with args beginning with: '" + strings.Repeat("x", 128) + "' ",
		strings.Repeat("y", 200), "-ERR unknown command '" + strings.Repeat("y", 128) + "', with args beginning with: ",
		"f " + strings.Repeat("x", 100) + " " + strings.Repeat("y", 100) + " z",
		"-ERR unknown command 'f', with args beginning with: '" + strings.Repeat("x", 100) + "' '" + strings.Repeat("y", 25) + "' ",
		`""`, "-ERR unknown command '', with args beginning with: ",
	}},
	{"GET and SET", []string{
		"GET k", "$-1",
		"SET k v", "+OK",
		"GET k", "$1 v",
		`set k ""`, "+OK",
		"get k", "$0 ",
		"SET k", "-ERR wrong number of arguments for 'set' command",
		"GET", "-ERR wrong number of arguments for 'get' command",
		"GET a b", "-ERR wrong number of arguments for 'get' command",
		"SET k v FOO", "-ERR syntax error",
		"SET k v EX", "-ERR syntax error",
		"GET k", "$0 ",
	}},
	{"SET NX and XX", []string{
		"SET k 1 XX", "$-1",
		"SET k 1 NX", "+OK",
		"SET k 2 NX", "$-1",
		"SET k 3 xx", "+OK",
		"GET k", "$1 3",
		"SET k 4 NX XX", "-ERR syntax error",
		"SET k 4 XX NX", "-ERR syntax error",
		"SET k 4 XX XX", "+OK",
	}},
	{"SET GET", []string{
		"SET k 1 GET", "$-1",
		"SET k 2 GET", "$1 1",
		"SET k 3 GET NX", "$1 2",
		"SET k 4 XX GET", "$1 2",
		"GET k", "$1 4",
		"SET other 1 XX GET", "$-1",
		"EXISTS other", ":0",
		"SET k 5 GET EX 0", "-ERR invalid expire time in 'set' command",
		"GET k", "$1 4",
	}},
	{"SET with a time", []string{
		"SET k v EX 100", "+OK",
		"TTL k", ":100",
		"SET k v PX 100000", "+OK",
		"TTL k", ":100",
		"SET k v KEEPTTL", "+OK",
		"TTL k", ":100",
		"SET k v", "+OK",
		"TTL k", ":-1",
		"SET k v EXAT 4000000000", "+OK",
		"PERSIST k", ":1",
		"SET k v PXAT 4000000000000", "+OK",
		"PERSIST k", ":1",
		"SET k v EXAT 1", "+OK",
		"GET k", "$-1",
		"SET k v EX 10 EX 20", "+OK",
		"TTL k", ":20",
		"SET k v EX 10 PX 20", "-ERR syntax error",
		"SET k v EX 10 KEEPTTL", "-ERR syntax error",
		"SET k v KEEPTTL EX 10", "-ERR syntax error",
		"SET k v EX 0", "-ERR invalid expire time in 'set' command",
		"SET k v PX -1", "-ERR invalid expire time in 'set' command",
		"SET k v EX x", "-ERR value is not an integer or out of range",
		"SET k v EX 1.5", "-ERR value is not an integer or out of range",
		"SET k v EX 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"SET k v PX 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"SET k v EXAT 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"TTL k", ":20",
		"SET n v NX EX 30", "+OK",
		"TTL n", ":30",
	}},
	{"MGET and MSET", []string{
		"MSET a 1 b 2", "+OK",
		"MGET a x b", "*3 $1 1 $-1 $1 2",
		"MSET a 1 a 3", "+OK",
		"MGET a", "*1 $1 3",
		"MSET a 1 b", "-ERR wrong number of arguments for 'mset' command",
		"MSET a", "-ERR wrong number of arguments for 'mset' command",
		"MGET", "-ERR wrong number of arguments for 'mget' command",
		"SET a 1 EX 100", "+OK",
		"MSET a 2", "+OK",
		"TTL a", ":-1",
	}},
	{"INCR and its kin", []string{
		"INCR n", ":1",
		"INCR n", ":2",
		"DECR n", ":1",
		"INCRBY n 10", ":11",
		"DECRBY n 20", ":-9",
		"GET n", "$2 -9",
		"DECR m", ":-1",
		"INCRBY n x", "-ERR value is not an integer or out of range",
		"DECRBY n 1.5", "-ERR value is not an integer or out of range",
		"INCRBY n 9223372036854775808", "-ERR value is not an integer or out of range",
		"SET s hello", "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		"SET s 01", "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		`SET s ""`, "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		"SET n 9223372036854775807", "+OK",
		"INCR n", "-ERR increment or decrement would overflow",
		"DECR n", ":9223372036854775806",
		"SET n -9223372036854775808", "+OK",
		"DECR n", "-ERR increment or decrement would overflow",
		"DECRBY n -9223372036854775808", "-ERR decrement would overflow",
		"INCRBY n 9223372036854775807", ":-1",
		"INCRBY n -9223372036854775808", "-ERR increment or decrement would overflow",
		"SET n 5 EX 100", "+OK",
		"INCR n", ":6",
		"TTL n", ":100",
		"INCR", "-ERR wrong number of arguments for 'incr' command",
		"INCRBY n", "-ERR wrong number of arguments for 'incrby' command",
	}},
	{"DEL and EXISTS", []string{
		"MSET a 1 b 2 c 3", "+OK",
		"EXISTS a b x a", ":3",
		"DEL a b x a", ":2",
		"EXISTS a b c", ":1",
		"DEL", "-ERR wrong number of arguments for 'del' command",
		"EXISTS", "-ERR wrong number of arguments for 'exists' command",
	}},
	{"TYPE", []string{
		"TYPE k", "+none",
		"SET k v", "+OK",
		"TYPE k", "+string",
	}},
	{"EXPIRE", []string{
		"EXPIRE k 10", ":0",
		"SET k v", "+OK",
		"EXPIRE k 10", ":1",
		"TTL k", ":10",
		"PEXPIRE k 20000", ":1",
		"TTL k", ":20",
		"EXPIRE k x", "-ERR value is not an integer or out of range",
		"EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command",
		"EXPIRE k -9223372036854775808", "-ERR invalid expire time in 'expire' command",
		"PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command",
		"EXPIRE nokey 9223372036854775807", "-ERR invalid expire time in 'expire' command",
		"TTL k", ":20",
		"EXPIRE k -1", ":1",
		"EXISTS k", ":0",
		"SET k v", "+OK",
		"PEXPIRE k 0", ":1",
		"EXISTS k", ":0",
		"SET k v", "+OK",
		"PEXPIRE k -9223372036854775808", ":1",
		"EXISTS k", ":0",
		"EXPIRE k", "-ERR wrong number of arguments for 'expire' command",
	}},
	{"EXPIRE with a condition", []string{
		"SET k v", "+OK",
		"EXPIRE k 100 XX", ":0",
		"EXPIRE k 100 GT", ":0",
		"EXPIRE k 100 NX", ":1",
		"EXPIRE k 200 nx", ":0",
		"EXPIRE k 50 GT", ":0",
		"EXPIRE k 200 GT", ":1",
		"EXPIRE k 300 LT", ":0",
		"EXPIRE k 150 LT", ":1",
		"TTL k", ":150",
		"EXPIRE k 400 XX", ":1",
		"EXPIRE k 500 XX GT", ":1",
		"TTL k", ":500",
		"PERSIST k", ":1",
		"EXPIRE k 100 LT", ":1",
		"TTL k", ":100",
		"EXPIRE k 1 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible",
		"EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible",
		"EXPIRE k 1 FOO", "-ERR Unsupported option FOO",
		"EXPIRE k x FOO", "-ERR Unsupported option FOO",
	}},
	{"TTL, PTTL and PERSIST", []string{
		"TTL k", ":-2",
		"PTTL k", ":-2",
		"PERSIST k", ":0",
		"SET k v", "+OK",
		"TTL k", ":-1",
		"PTTL k", ":-1",
		"PERSIST k", ":0",
		"PEXPIRE k 100000", ":1",
		"PTTL k", ":100000",
		"PERSIST k", ":1",
		"TTL k", ":-1",
	}},
	{"SELECT and the databases", []string{
		"SET k zero", "+OK",
		"SELECT 15", "+OK",
		"GET k", "$-1",
		"SET k fifteen", "+OK",
		"SET l fifteen", "+OK",
		"DBSIZE", ":2",
		"SELECT 0", "+OK",
		"DBSIZE", ":1",
		"FLUSHDB", "+OK",
		"DBSIZE", ":0",
		"SELECT 15", "+OK",
		"DBSIZE", ":2",
		"SELECT 16", "-ERR DB index is out of range",
		"SELECT -1", "-ERR DB index is out of range",
		"SELECT x", "-ERR value is not an integer or out of range",
		"SELECT 99999999999", "-ERR value is out of range, value must between -2147483648 and 2147483647",
		"GET k", "$7 fifteen",
		"SELECT 0", "+OK",
		"FLUSHALL ASYNC", "+OK",
		"SELECT 15", "+OK",
		"DBSIZE", ":0",
		"FLUSHDB sync", "+OK",
		"FLUSHALL FOO", "-ERR syntax error",
		"FLUSHDB ASYNC SYNC", "-ERR syntax error",
		"DBSIZE x", "-ERR wrong number of arguments for 'dbsize' command",
		"SELECT 0", "+OK",
	}},
	{"CONFIG GET", []string{
		"CONFIG GET save", "*2 $4 save $0 ",
		"CONFIG GET appendonly", "*2 $10 appendonly $2 no",
		"CONFIG GET APPENDONL[X-Z]", "*2 $10 appendonly $2 no",
		"CONFIG GET nothing", "*0",
		"CONFIG GET", "-ERR wrong number of arguments for 'config|get' command",
		"CONFIG", "-ERR wrong number of arguments for 'config' command",
		"CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.",
		"CONFIG get save SAVE", "*2 $4 save $0 ",
	}},
	{"COMMAND", []string{
		"COMMAND INFO nothing", "*1 $-1",
		"COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command",
		"COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.",
		"COMMAND DOCS nothing", "*0",
	}},
}

func TestCommandsReplyAsRedisDoes(t *testing.T) {
	s := startServer(t, newClock().install)
	for _, tt := range commandTests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s)
			c.cmd("FLUSHALL")
			for i := 0; i < len(tt.steps); i += 2 {
				if got := c.cmd(tt.steps[i]); got != tt.steps[i+1] {
					t.Errorf("%.80s\n got %q\nwant %q", tt.steps[i], got, tt.steps[i+1])
				}
			}
		})
	}
}

func TestEveryCommandChecksItsArity(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	for _, cmd := range commandTable() {
		name := strings.ReplaceAll(cmd.name, "|", " ")
		if cmd.proc == nil || cmd.name == "post" || cmd.name == "host:" || cmd.name == "quit" {
			continue
		}
		want := "-ERR wrong number of arguments for '" + cmd.name + "' command"
		if n := cmd.arity; n > 0 {
			if got := c.cmd(name + strings.Repeat(" x", n+1-len(strings.Fields(name)))); got != want {
				t.Errorf("%s with too many arguments: %q", name, got)
			}
		}
		if words := strings.Fields(name); len(words) < max(cmd.arity, -cmd.arity) {
			if got := c.cmd(name); got != want {
				t.Errorf("%s with too few arguments: %q", name, got)
			}
		}
	}
}

func TestKeysExpireWhenTheClockSaysSo(t *testing.T) {
	clock := newClock()
	s := startServer(t, clock.install)
	c := dial(t, s)

	c.cmd("SET k v PX 1000")
	c.cmd("SET stays v")
	clock.advance(1000 * time.Millisecond)
	if got := c.cmd("GET k"); got != "$1 v" {
		t.Errorf("in its last millisecond: %q", got)
	}
	if got := c.cmd("PTTL k"); got != ":0" {
		t.Errorf("time left in its last millisecond: %q", got)
	}

	clock.advance(time.Millisecond)
	for _, step := range [][2]string{{"GET k", "$-1"}, {"EXISTS k", ":0"}, {"TTL k", ":-2"}, {"SET k w XX", "$-1"},
		{"INCR k", ":1"}, {"TTL k", ":-1"}, {"GET stays", "$1 v"}} {
		if got := c.cmd(step[0]); got != step[1] {
			t.Errorf("%s after its time: %q, want %q", step[0], got, step[1])
		}
	}
}

func TestKeysNobodyAsksForAreRemovedByATimeEvent(t *testing.T) {
	const n = 5000
	clock := newClock()
	s, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	clock.install(s)

	db := s.dbs[3]
	for i := range n {
		db.set(fmt.Appendf(nil, "key:%d", i), []byte("v"), clock.now.Load()+100)
	}
	if wait := s.expireKeys(s.el, 0); db.count != n || wait < 100*time.Millisecond {
		t.Errorf("before their time: %d keys, next look in %v", db.count, wait)
	}

	clock.advance(time.Second)
	runs := 0
	for wait := time.Duration(0); wait < 100*time.Millisecond; runs++ {
		wait = s.expireKeys(s.el, 0)
	}
	if db.count != 0 || runs < 2 {
		t.Errorf("%d keys are left after %d runs", db.count, runs)
	}
}

func TestInfoHasWhatIsAskedFor(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	c.cmd("MSET a 1 b 2")
	c.cmd("EXPIRE a 100")
	c.cmd("GET a")
	c.cmd("GET x")

	all := c.cmd("INFO")
	for _, want := range []string{"# Server", "redis_version:7", "tcp_port:" + s.addr[len("127.0.0.1:"):] + " ", "# Clients", "connected_clients:1 ",
		"# Memory", "used_memory:", "role:master", "keyspace_hits:1 ", "keyspace_misses:1 ", "# Keyspace", "db0:keys=2,expires=1,avg_ttl=0"} {
		if !strings.Contains(all+" ", want) {
			t.Errorf("INFO has no %q:\n%s", want, all)
		}
	}
	if got := c.cmd("INFO keyspace"); !strings.Contains(got, "# Keyspace") || strings.Contains(got, "# Server") {
		t.Errorf("INFO keyspace: %q", got)
	}
	if got := c.cmd("INFO nothing"); got != "$0 " {
		t.Errorf("INFO nothing: %q", got)
	}
}

func TestCommandDescribesTheTable(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	if got, want := c.cmd("COMMAND INFO mset"), "*1 *10 $4 mset :-3 *2 +write +denyoom :1 :-1 :2 *0 *0 *0 *0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	top := 0
	for _, cmd := range commandTable() {
		if !strings.Contains(cmd.name, "|") {
			top++
		}
	}
	if got, want := c.cmd("COMMAND COUNT"), fmt.Sprintf(":%d", top); got != want {
		t.Errorf("COUNT: %q, want %q", got, want)
	}
	for _, line := range []string{"COMMAND", "COMMAND LIST", "COMMAND INFO"} {
		if got, want := c.cmd(line), fmt.Sprintf("*%d ", top); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %.40q, want %q...", line, got, want)
		}
	}
	if got, want := c.cmd("COMMAND DOCS"), fmt.Sprintf("*%d ", 2*top); !strings.HasPrefix(got, want) {
		t.Errorf("COMMAND DOCS: %.40q, want %q...", got, want)
	}
}
