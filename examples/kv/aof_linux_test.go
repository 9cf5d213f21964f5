package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae/examples/internal/resp"
	"golang.org/x/sys/unix"
)

// A writer sends commands, and knows which of them were acknowledged.
type killWriter struct {
	id    int
	sent  int // steps
	acked int // steps
	base  int // steps of earlier rounds
}

// run writes until the connection ends. A step is three commands in one go.
func (w *killWriter) run(c *conn) {
	for {
		w.sent++
		n := strconv.Itoa(w.sent)
		id := strconv.Itoa(w.id)
		_, err := c.Write([]byte(array("SET", "key:"+id+":"+n, n) + array("INCR", "count:"+id) + array("MSET", "a:"+id, n, "b:"+id, n)))
		if err != nil {
			return
		}
		for range 3 {
			if line, err := c.r.ReadString('\n'); err != nil || line[0] == '-' {
				return
			}
		}
		w.acked++
	}
}

// check compares what is there with what was acknowledged, looking at each key
// from the given one on.
func (w *killWriter) check(t *testing.T, c *conn, from int) {
	t.Helper()
	must := w.acked
	number := func(key string) int {
		reply := c.cmd("GET " + key)
		n, _ := strconv.Atoi(reply[strings.IndexByte(reply, ' ')+1:])
		return n
	}
	id := strconv.Itoa(w.id)
	have := number("a:" + id)
	if b := number("b:" + id); have != b {
		t.Errorf("writer %s: half of an MSET: %d and %d", id, have, b)
	}
	if count := number("count:" + id); have < must || count < must || count > w.sent || have > w.sent {
		t.Errorf("writer %s: %d steps were acknowledged, of %d; %d are there, %d counted", id, must, w.sent, have, count)
	}
	for ; from <= must; from += 500 {
		keys := ""
		for n := from; n <= min(must, from+499); n++ {
			keys += fmt.Sprintf(" key:%s:%d", id, n)
		}
		if reply := c.cmd("MGET" + keys); strings.Contains(reply, "$-1") {
			t.Errorf("writer %s: a key of %d to %d is missing", id, from, min(must, from+499))
		}
	}

	c.cmd("SET count:" + id + " " + strconv.Itoa(have)) // a step may have been cut in two
	w.sent, w.acked, w.base = have, have, have
}

// Killed at any moment, the program has after a restart all that it has
// acknowledged. KV_KILLS is how many times.
func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	kills := 8
	if n, err := strconv.Atoi(os.Getenv("KV_KILLS")); err == nil {
		kills = n
	}
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) { killOften(t, policy, (kills+1)/2) })
	}
}

func killOften(t *testing.T, policy string, kills int) {
	const writers = 3
	args := []string{"-appendonly", "yes", "-appendfsync", policy, "-appendfilename", tempFile(t)}
	all := make([]*killWriter, writers)
	for i := range all {
		all[i] = &killWriter{id: i}
	}

	acked, cut := 0, 0
	moments := 100 * time.Millisecond
	if policy == "everysec" {
		moments = 700 * time.Millisecond // some are while it syncs
	}
	for n := range kills {
		p := startProcess(t, 0, "127.0.0.1:0", args...)
		var wg sync.WaitGroup
		for _, w := range all {
			c := dialTo(t, "tcp", p.addr)
			wg.Go(func() { w.run(c) })
		}
		time.Sleep(rand.N(moments)) // the random moment
		p.Process.Kill()
		p.Wait()
		wg.Wait()

		p = startProcess(t, 0, "127.0.0.1:0", args...)
		c := dialTo(t, "tcp", p.addr)
		for _, w := range all {
			acked += w.acked - w.base
			from := w.base + 1
			if n == kills-1 {
				from = 1
			}
			w.check(t, c, from)
		}
		p.Process.Kill()
		p.Wait()
		cut += strings.Count(p.stderr.String(), "cut off")
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d steps acknowledged, %d files cut", kills, acked, cut)
	if acked < kills {
		t.Errorf("only %d steps in %d rounds: nothing is tested", acked, kills)
	}
}

func TestRedisServerLoadsTheFile(t *testing.T) {
	requireTool(t, "redis-server")
	path := filepath.Join(shortDir(t), "appendonly.aof")
	l := openLogged(t, path)
	g := generator{rand.New(rand.NewPCG(11, 12))}
	for range 5000 {
		l.cmd(g.smallLine())
	}
	for _, line := range []string{"SELECT 4", "SET big " + strings.Repeat("x", resp.BigArg), "APPEND big y", "SETRANGE big 3 zz",
		"MSET a 1 b 2", "SET t x EX 100000", "SET u x PX 100000000", "EXPIRE a 100000", "DEL nothing b", "SELECT 9", "SET gone 1", "FLUSHDB"} {
		l.cmd(line)
	}

	for _, what := range []string{"as it was logged", "as it was compacted"} {
		if what == "as it was compacted" {
			if err := l.aof.Rewrite(); err != nil {
				t.Fatal(err)
			}
		}
		want := contents(l.server)
		if out, err := exec.Command(requireTool(t, "redis-check-aof"), path).CombinedOutput(); err != nil {
			t.Errorf("%s: redis-check-aof: %v\n%s", what, err, out)
		}

		// Redis moves the file to a directory of its own, so it gets a copy.
		dir := shortDir(t)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "appendonly.aof"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		c := dialTo(t, "unix", startRedisIn(t, dir, "--appendonly", "yes"))
		got := make(map[string]string)
		for i := range databases {
			c.cmd("SELECT " + strconv.Itoa(i))
			for n, word := range strings.Fields(c.cmd("KEYS *")) {
				if n == 0 || n%2 == 1 {
					continue // how many there are, and how long
				}
				fields := strings.SplitN(c.cmd("GET "+word), " ", 2)
				value := ""
				if len(fields) == 2 {
					value = fields[1]
				}
				until := max(0, atoi(t, strings.TrimPrefix(c.cmd("PEXPIRETIME "+word), ":")))
				got[fmt.Sprintf("%d:%s", i, word)] = fmt.Sprintf("%s until %d", value, until)
			}
		}
		if len(want) < 10 || fmt.Sprint(want) != fmt.Sprint(got) {
			t.Errorf("%s: kv has %.3000v\nredis has %.3000v", what, want, got)
		}
	}
	l.close()
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startRedisIn runs a redis-server in dir, and returns its socket.
func startRedisIn(t *testing.T, dir string, args ...string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", path, "--save", "", "--dir", dir}, args...)...)
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})

	// A socket cannot be waited for, only tried.
	for end := deadline(); time.Now().Before(end); {
		select {
		case <-exited:
			t.Fatalf("redis-server ended:\n%s", &out)
		default:
		}
		if canConnect(path) {
			c := dialTo(t, "unix", path)
			for strings.HasPrefix(c.cmd("PING"), "-LOADING") {
			}
			return path
		}
	}
	t.Fatalf("redis-server did not start:\n%s", &out)
	return ""
}

func canConnect(path string) bool {
	nc, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// A limit on the size of files is a disk that is full: the error comes from the
// same place, and part of the last write was taken.
func TestAFullDiskRefusesWritesUntilThereIsRoom(t *testing.T) {
	for _, policy := range fsyncPolicies {
		t.Run(policy, func(t *testing.T) {
			path := tempFile(t)
			p := startProcess(t, 0, "127.0.0.1:0", "-appendonly", "yes", "-appendfsync", policy, "-appendfilename", path)
			limit := func(n uint64) {
				if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil); err != nil {
					t.Fatal(err)
				}
			}
			limit(10_000)

			// Each write has one reply: that it is done, or that it is not.
			const refused = "-MISCONF Errors writing to the AOF file: file too large"
			c := dialTo(t, "tcp", p.addr)
			acked := 0
			reply := "+OK"
			for ; reply == "+OK" && acked < 1000; acked++ {
				reply = c.cmd(fmt.Sprintf("SET key:%d v", acked))
			}
			acked--
			if reply != refused {
				t.Fatalf("after %d writes: %s", acked, reply)
			}
			c.expectEnd() // that one is executed, and not saved

			// From now on nothing is executed, what only reads is, and the connection stays.
			c = dialTo(t, "tcp", p.addr)
			for _, line := range []string{"SET x 1", "DEL key:0", "INCR n", "FLUSHALL", "EXPIRE key:0 1"} {
				if reply := c.cmd(line); reply != refused {
					t.Errorf("%s: %s", line, reply)
				}
			}
			if reply := c.cmd("GET key:0"); reply != "$1 v" {
				t.Errorf("GET: %s", reply)
			}
			if reply := c.cmd("INFO persistence"); !strings.Contains(reply, "aof_enabled:1 aof_last_write_status:err ") {
				t.Errorf("INFO: %s", reply)
			}
			if reply := c.cmd("EXISTS x n"); reply != ":0" {
				t.Errorf("what was refused is there: %s", reply)
			}

			limit(unix.RLIM_INFINITY)
			for end := deadline(); reply != "+OK" && time.Now().Before(end); {
				if reply = c.cmd("SET after 1"); reply != "+OK" && reply != refused {
					t.Fatal(reply)
				}
			}
			if reply != "+OK" {
				t.Fatal("it does not recover")
			}

			// The command that was cut in two is whole again.
			p.Process.Kill()
			p.Wait()
			l := openLogged(t, path)
			defer l.close()
			got := contents(l.server)
			for i := range acked {
				if got[fmt.Sprintf("0:key:%d", i)] == "" {
					t.Errorf("key:%d of %d is missing", i, acked)
				}
			}
			if got["0:after"] == "" || len(got) < acked+1 || len(got) > acked+2 {
				t.Errorf("%d keys, %d acknowledged", len(got), acked)
			}
		})
	}
}

// Who stops the server learns from its exit code that the file is not what it
// should be.
func TestAFileThatCannotBeSavedAtTheEndMakesForExitCode1(t *testing.T) {
	t.Parallel()
	p := startProcess(t, 0, "127.0.0.1:0", "-appendonly", "yes", "-appendfilename", tempFile(t))
	limit := &unix.Rlimit{Cur: 100, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, limit, nil); err != nil {
		t.Fatal(err)
	}
	c := dialTo(t, "tcp", p.addr)
	c.cmd("SET key " + strings.Repeat("v", 200))
	if err := p.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}

	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit code 1", err)
	}
	if said := p.stderr.String(); !strings.Contains(said, "\nkv: write ") {
		t.Errorf("it says: %s", said)
	}
}

// The order of the system calls is what "always" promises: the file is written
// and synced, and then the reply leaves.
func TestAlwaysSyncsBeforeItReplies(t *testing.T) {
	p := startProcess(t, 0, "127.0.0.1:0", "-appendonly", "yes", "-appendfsync", "always", "-appendfilename", tempFile(t))
	log := filepath.Join(t.TempDir(), "strace")
	p.tamper(t, "-s", "200", "-o", log, "-e", "trace=write,fsync,fdatasync,sendto")

	c := dialTo(t, "tcp", p.addr)
	const n = 50
	for i := range n {
		if reply := c.cmd(fmt.Sprintf("SET key mark%d", i)); reply != "+OK" {
			t.Fatal(reply)
		}
	}
	p.Process.Kill()
	p.Wait()
	p.traced()

	file, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	calls := regexp.MustCompile(`(write)\(\d+, "(?:\*2.{0,40})?\*3.*mark|(sync)(?:\(\d+\) += 0| resumed>.* = 0)|(sendto)\(\d+, "\+OK`)
	for _, m := range calls.FindAllStringSubmatch(string(file), -1) {
		order += strings.Join(m[1:], "") + " "
	}
	if want := strings.Repeat("write sync sendto ", n); order != want {
		t.Errorf("%.400s\n%.2000s", order, file)
	}
}
