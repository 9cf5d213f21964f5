package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/internal/resp/resptest"
)

// startRedis runs a redis-server that keeps nothing, and returns its socket.
func startRedis(t *testing.T) (path string) {
	t.Helper()
	program := requireTool(t, "redis-server")
	path = filepath.Join(shortDir(t), "redis.sock")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(path))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})

	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "ready to accept connections at") {
			go func() {
				for lines.Scan() {
				}
			}()
			return path
		}
	}
	t.Fatal("redis-server did not start")
	return ""
}

// different reports whether two replies to a command differ, apart from the time
// that has passed between them, and from the order in which keys are found.
func different(line, a, b string) bool {
	if a == b {
		return false
	}
	allowed := int64(0)
	switch command := strings.ToUpper(strings.Fields(line + " x")[0]); command {
	case "SCAN", "KEYS":
		// A part of the keys is another part. Whether all parts make the whole is
		// for the tests of scan.
		const end = "*2 $1 0 "
		whole := strings.HasPrefix(a, end) && strings.HasPrefix(b, end)
		return strings.HasPrefix(a, "-") || whole && !slices.Equal(slices.Sorted(strings.FieldsSeq(a)), slices.Sorted(strings.FieldsSeq(b)))
	case "TTL", "EXPIRETIME":
		allowed = 2
	case "PTTL", "PEXPIRETIME":
		allowed = 2000
	}
	m, err1 := strconv.ParseInt(strings.TrimPrefix(a, ":"), 10, 64)
	n, err2 := strconv.ParseInt(strings.TrimPrefix(b, ":"), 10, 64)
	return err1 != nil || err2 != nil || m < 0 || n < 0 || max(m-n, n-m) > allowed
}

func TestRepliesAreThoseOfRedisServer(t *testing.T) {
	redis := dialTo(t, "unix", startRedis(t))
	kv := dial(t, startServer(t))

	compared, differ := 0, 0
	compare := func(line string) {
		want, got := redis.cmd(line), kv.cmd(line)
		// Keys whose time has come are counted until each server's sweep finds them.
		for end := time.Now().Add(5 * time.Second); line == "DBSIZE" && want != got && time.Now().Before(end); {
			want, got = redis.cmd(line), kv.cmd(line)
		}
		compared++
		if different(line, want, got) {
			differ++
			t.Errorf("%.100s\nredis %.200q\n   kv %.200q", line, want, got)
		}
	}

	for version, lines := range []int{20_000, 10_000} {
		hello := fmt.Sprintf("HELLO %d", 2+version)
		redis.cmd(hello)
		kv.cmd(hello)
		for _, tt := range commandTests {
			compare("FLUSHALL")
			for i := 0; i < len(tt.steps); i += 2 {
				compare(tt.steps[i])
				if strings.HasPrefix(tt.steps[i], "UNSUBSCRIBE a b") { // has two replies
					redis.reply()
					kv.reply()
				}
			}
			redis.cmd(hello) // after RESET
			kv.cmd(hello)
		}

		g := generator{rand.New(rand.NewPCG(5, uint64(6+version)))}
		compare("FLUSHALL")
		for range lines {
			compare(g.line())
		}
	}
	t.Logf("%d commands compared, %d differ", compared, differ)
}

func TestProtocolErrorsAreThoseOfRedisServer(t *testing.T) {
	path := startRedis(t)
	s := startServer(t)
	for _, tt := range resptest.Malformed {
		if tt.Input == "*1048577\r\n" {
			continue // Redis 7 allows more, its documentation does not
		}
		redis, kv := dialTo(t, "unix", path), dial(t, s)
		redis.send(tt.Input)
		kv.send(tt.Input)
		if want, got := redis.reply(), kv.reply(); got != want {
			t.Errorf("%.40q\nredis %q\n   kv %q", tt.Input, want, got)
		}
		redis.expectEnd()
		kv.expectEnd()
	}
}

func TestInlineCommandsAreSplitAsByRedisServer(t *testing.T) {
	redis := dialTo(t, "unix", startRedis(t))
	kv := dial(t, startServer(t))
	rnd := rand.New(rand.NewPCG(7, 8))
	pieces := []string{"a", "b", " ", "  ", "\t", `\n`, `\x41`, `\xzz`, `\\`, `\"`, `\'`, "'", `"`, `""`, "''", "\v", "\r", "é"}

	for range 3000 {
		line := ""
		for range rnd.IntN(8) {
			line += pieces[rnd.IntN(len(pieces))]
		}
		// Quotes that do not match would end the connection.
		var p resp.Parser
		if _, _, err := p.Parse([]byte("x " + strings.TrimSuffix(line, "\r") + "\r\n")); err == nil {
			line = "MGET k" + " " + line + "\r\nECHO end\r\n"
		} else {
			continue
		}
		redis.send(line)
		kv.send(line)
		for end := false; !end; {
			want, got := redis.reply(), kv.reply()
			if want != got {
				t.Fatalf("%q\nredis %q\n   kv %q", line, want, got)
			}
			end = want == "$3 end"
		}
	}
}

func TestCommandDescriptionsAreThoseOfRedisServer(t *testing.T) {
	redis := dialTo(t, "unix", startRedis(t))
	kv := dial(t, startServer(t))
	for _, cmd := range commandTable {
		if cmd.name == "post" || cmd.name == "host:" || strings.HasPrefix(cmd.name, "client|set") || cmd.name == "function|flush" {
			continue // no command, or not in every version
		}

		// Name, arity, flags and keys: what stands before the ACL categories.
		part := func(reply string) string {
			fields := strings.Fields(reply)
			flags, _ := strconv.Atoi(strings.TrimPrefix(fields[5], "*"))
			return strings.Join(fields[2:6+flags+3], " ")
		}
		line := "COMMAND INFO " + cmd.name
		if want, got := part(redis.cmd(line)), part(kv.cmd(line)); got != want {
			t.Errorf("%s\nredis %s\n   kv %s", cmd.name, want, got)
		}
	}
}

// Of the commands that both have, the same are in each category.
func TestCategoriesAreThoseOfRedisServer(t *testing.T) {
	redis := dialTo(t, "unix", startRedis(t))
	kv := dial(t, startServer(t))
	list := func(c *conn, filter string) map[string]bool {
		all := make(map[string]bool)
		for _, word := range strings.Fields(c.cmd("COMMAND LIST" + filter))[1:] {
			if word[0] != '$' {
				all[word] = true
			}
		}
		return all
	}
	known, own := list(redis, ""), list(kv, "")
	for category := range strings.FieldsSeq("keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking " +
		"dangerous connection transaction scripting") {
		filter := " FILTERBY ACLCAT " + category
		want, got := list(redis, filter), list(kv, filter)
		for name := range own {
			if known[name] && want[name] != got[name] {
				t.Errorf("%s is in category %s: redis %v, kv %v", name, category, want[name], got[name])
			}
		}
	}
	if len(own) < 90 {
		t.Errorf("only %d commands: %v", len(own), own)
	}
}

// A generator makes commands, some of them wrong.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) line() string {
	name := g.pick("GET", "SET", "SET", "SET", "MGET", "MSET", "INCR", "DECR", "INCRBY", "DECRBY", "DEL", "EXISTS", "TYPE",
		"EXPIRE", "PEXPIRE", "TTL", "PTTL", "PERSIST", "DBSIZE", "ECHO", "PING", "SELECT", "FLUSHDB", "nonsense",
		"SETNX", "SETEX", "PSETEX", "GETSET", "GETDEL", "GETEX", "GETEX", "MSETNX", "APPEND", "STRLEN", "GETRANGE", "SETRANGE", "INCRBYFLOAT",
		"UNLINK", "TOUCH", "RENAME", "RENAMENX", "EXPIREAT", "PEXPIREAT", "EXPIRETIME", "PEXPIRETIME", "KEYS", "SCAN")
	if name == "FLUSHDB" && g.IntN(20) > 0 {
		name = "GET"
	}
	if g.IntN(2) == 0 {
		name = strings.ToLower(name)
	}

	args := []string{name}
	switch strings.ToUpper(name) {
	case "SET":
		args = append(args, g.key(), g.value())
		for g.IntN(2) == 0 {
			args = append(args, g.option())
		}
	case "SETNX", "GETSET", "APPEND", "INCRBYFLOAT":
		args = append(args, g.key(), g.value())
	case "SETEX", "PSETEX":
		args = append(args, g.key(), g.time(), g.value())
	case "GETEX":
		args = append(args, g.key())
		for g.IntN(2) == 0 {
			args = append(args, g.pick("PERSIST", g.option()))
		}
	case "GETRANGE":
		args = append(args, g.key(), g.offset(), g.offset())
	case "SETRANGE":
		args = append(args, g.key(), g.pick("0", "1", "3", "20", "-1", "536870912", "x"), g.value())
	case "RENAME", "RENAMENX":
		args = append(args, g.key(), g.key())
	case "EXPIREAT", "PEXPIREAT":
		args = append(args, g.key(), g.pick("0", "-1", "4000000000", "4000000000000", "9223372036854775807", "y"))
		for g.IntN(3) == 0 {
			args = append(args, g.pick("NX", "XX", "GT", "LT"))
		}
	case "KEYS": // one key at most: the order is not defined
		args = append(args, g.pick(g.key(), "nothing*"))
	case "SCAN": // all of it at once, likewise
		args = append(args, "0", "COUNT", g.pick("100000", "0", "x"), "MATCH", g.key())
	case "MSET", "MSETNX":
		for range 1 + g.IntN(3) {
			args = append(args, g.key(), g.value())
		}
	case "INCRBY", "DECRBY":
		args = append(args, g.key(), g.value())
	case "EXPIRE", "PEXPIRE":
		args = append(args, g.key(), g.time())
		for g.IntN(3) == 0 {
			args = append(args, g.pick("NX", "XX", "GT", "LT", "gt", "FOO"))
		}
	case "SELECT":
		args = append(args, g.pick("0", "0", "1", "15", "16", "-1", "x"))
	case "MGET", "DEL", "EXISTS", "UNLINK", "TOUCH":
		for range 1 + g.IntN(4) {
			args = append(args, g.key())
		}
	case "PING", "DBSIZE", "FLUSHDB":
	default:
		args = append(args, g.key())
	}

	switch g.IntN(30) {
	case 0:
		args = args[:len(args)-g.IntN(len(args))]
	case 1:
		args = append(args, g.value())
	}
	return strings.Join(args, " ")
}

func (g generator) offset() string {
	return g.pick("0", "-1", strconv.Itoa(g.IntN(40)-20), strconv.Itoa(g.IntN(400)), "536870912", "9223372036854775807", "x")
}

func (g generator) key() string { return fmt.Sprintf("k%d", g.IntN(20)) }

func (g generator) value() string {
	if g.IntN(2) == 0 {
		return strconv.Itoa(g.IntN(2000) - 1000)
	}
	return g.pick(`""`, "0", "-0", "007", "+5", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "9223372036854775000",
		"hello", "3.25", "-1e-5", "0.1", "1e20", strings.Repeat("x", g.IntN(300)+1))
}

// time is so long, or so short, that it makes no difference when it began.
func (g generator) time() string {
	return g.pick("1000000", "2000000", "3000000000", "0", "-1", "x", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775")
}

func (g generator) option() string {
	switch g.IntN(5) {
	case 0:
		return g.pick("EX", "PX", "ex") + " " + g.time()
	case 1:
		return g.pick("EXAT", "PXAT") + " " + g.pick("0", "-1", "4000000000", "4000000000000", "9223372036854775807", "y")
	case 2:
		return g.pick("EX", "PX", "KEEPTTL", "FOO", `""`)
	}
	return g.pick("NX", "XX", "GET", "nx", "get", "keepttl")
}
