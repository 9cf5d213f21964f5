package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// startRedis runs a redis-server that keeps nothing, and returns its socket.
func startRedis(t *testing.T) (path string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
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

// different tells whether two replies to a command differ, apart from the time
// that has passed between them.
func different(line, a, b string) bool {
	if a == b {
		return false
	}
	allowed := int64(0)
	switch command := strings.ToUpper(strings.Fields(line + " x")[0]); command {
	case "TTL":
		allowed = 2
	case "PTTL":
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
		compared++
		if different(line, want, got) {
			differ++
			t.Errorf("%.100s\nredis %.200q\n   kv %.200q", line, want, got)
		}
	}

	for _, tt := range commandTests {
		compare("FLUSHALL")
		for i := 0; i < len(tt.steps); i += 2 {
			compare(tt.steps[i])
		}
	}

	g := generator{rand.New(rand.NewPCG(5, 6))}
	compare("FLUSHALL")
	for range 20_000 {
		compare(g.line())
	}
	t.Logf("%d commands compared, %d differ", compared, differ)
}

func TestProtocolErrorsAreThoseOfRedisServer(t *testing.T) {
	path := startRedis(t)
	s := startServer(t)
	for _, tt := range protocolErrors {
		if tt.input == "*1048577\r\n" {
			continue // Redis 7 allows more, its documentation does not
		}
		redis, kv := dialTo(t, "unix", path), dial(t, s)
		redis.send(tt.input)
		kv.send(tt.input)
		if want, got := redis.reply(), kv.reply(); got != want {
			t.Errorf("%.40q\nredis %q\n   kv %q", tt.input, want, got)
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
		var r request
		if r.split([]byte(strings.TrimSuffix(line, "\r"))) {
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
	for _, cmd := range commandTable() {
		if strings.Contains(cmd.name, "|") || cmd.name == "post" || cmd.name == "host:" {
			continue
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

// A generator makes commands, some of them wrong.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) line() string {
	name := g.pick("GET", "SET", "SET", "SET", "MGET", "MSET", "INCR", "DECR", "INCRBY", "DECRBY", "DEL", "EXISTS", "TYPE",
		"EXPIRE", "PEXPIRE", "TTL", "PTTL", "PERSIST", "DBSIZE", "ECHO", "PING", "SELECT", "FLUSHDB", "nonsense")
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
	case "MSET":
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
	case "MGET", "DEL", "EXISTS":
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

func (g generator) key() string { return fmt.Sprintf("k%d", g.IntN(20)) }

func (g generator) value() string {
	if g.IntN(2) == 0 {
		return strconv.Itoa(g.IntN(2000) - 1000)
	}
	return g.pick(`""`, "0", "-0", "007", "+5", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "9223372036854775000",
		"hello", strings.Repeat("x", g.IntN(300)+1))
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
