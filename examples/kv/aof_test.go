package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A logged server has an append-only file, and a client without a connection.
type logged struct {
	*server
	t    *testing.T
	path string
	c    *client
}

// openLogged loads the file, and fails the test if that fails.
func openLogged(t *testing.T, path string) *logged {
	t.Helper()
	l, err := tryOpenLogged(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpenLogged(t *testing.T, path string) (*logged, error) {
	t.Helper()
	cfg := defaultConfig()
	cfg.appendFsync = "no" // to sync is another test's business
	s, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.log = slog.New(slog.DiscardHandler)
	if err := s.openAOF(path); err != nil {
		s.el.Close()
		return nil, err
	}
	return &logged{s, t, path, &client{srv: s, db: s.dbs[0], index: -1}}, nil
}

// cmd executes a command, as if it had come alone, and returns its reply.
func (l *logged) cmd(line string) string {
	l.t.Helper()
	l.c.execute([]byte(array(words(line)...)))
	reply := string(l.c.out.Buf)
	l.beforeSleep(l.el)
	l.c.out.Buf = l.c.out.Buf[:0]
	return strings.TrimSpace(reply)
}

func (l *logged) size() int64 {
	l.t.Helper()
	info, err := os.Stat(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	return info.Size()
}

// contents returns all that is in the dbs.
func contents(s *server) map[string]string {
	all := make(map[string]string)
	now := s.clock().UnixMilli()
	for i, d := range s.dbs {
		d.Each(func(key, value []byte, when int64) {
			if when == 0 || now <= when {
				all[fmt.Sprintf("%d:%s", i, key)] = fmt.Sprintf("%s until %d", value, when)
			}
		})
	}
	return all
}

// reopened closes the server and returns another with the same file.
func (l *logged) reopened() *logged {
	l.t.Helper()
	l.close()
	return openLogged(l.t, l.path)
}

func tempFile(t *testing.T) string { return filepath.Join(t.TempDir(), "kv.aof") }

func TestTheFileHoldsWhatChangedAndNothingElse(t *testing.T) {
	tests := []struct{ command, logged string }{
		{"SET a 1", "SELECT 0|SET a 1"},
		{"SET a 2 EX 100", "SET a 2 PXAT 1700000100000"},
		{"SET a 3 KEEPTTL", "SET a 3 KEEPTTL"},
		{"SET a 4 PXAT 1800000000000", "SET a 4 PXAT 1800000000000"},
		{"SET a 5 NX", ""},
		{"SET a", ""},
		{"GET a", ""},
		{"DEL b c", ""},
		{"EXPIRE a 10", "PEXPIREAT a 1700000010000"},
		{"EXPIRE a 20 NX", ""},
		{"EXPIRE b 20", ""},
		{"PERSIST a", "PERSIST a"},
		{"PERSIST a", ""},
		{"SETEX a 7 x", "SET a x PXAT 1700000007000"},
		{"GETEX a PX 9000", "PEXPIREAT a 1700000009000"},
		{"GETDEL a", "DEL a"},
		{"INCR n", "SET n 1 KEEPTTL"},
		{"INCR n n", ""},
		{"INCRBYFLOAT n 1.5", "SET n 2.5 KEEPTTL"},
		{"INCR n", ""},
		{"APPEND s abc", "SETRANGE s 0 abc"},
		{"SETRANGE s 1 xy", "SETRANGE s 1 xy"},
		{`SETRANGE s 1 ""`, ""},
		{"SETRANGE s -1 x", ""},
		{"MSET k 1 l 2", "MULTI|SET k 1|SET l 2|EXEC"},
		{"MSET k 1", "SET k 1"},
		{"RENAME k kk", "RENAME k kk"},
		{"RENAMENX kk l", ""},
		{"RENAMENX kk k", "RENAME kk k"},
		{"DEL k missing l", "MULTI|DEL k|DEL l|EXEC"},
		{"SET t old PX 5", "SET t old PXAT 1700000000005"},
		{"+10ms", ""},
		{"APPEND t new", "MULTI|DEL t|SETRANGE t 0 new|EXEC"},
		{"PEXPIRE t 5", "PEXPIREAT t 1700000000015"},
		{"+10ms", ""},
		{"GET t", "DEL t"},
		{"SET t 1", "SET t 1"},
		{"EXPIRE t -1", "DEL t"},
		{"SELECT 3", ""},
		{"SET a 1", "SELECT 3|SET a 1"},
		{"SELECT 5", ""},
		{"FLUSHDB", ""},
		{"FLUSHALL", "MULTI|SELECT 0|FLUSHDB|SELECT 3|FLUSHDB|EXEC"},
	}

	l := openLogged(t, tempFile(t))
	defer l.close()
	clock := newClock()
	l.clock = func() time.Time { return time.UnixMilli(clock.now.Load()) }
	for _, tt := range tests {
		if d, err := time.ParseDuration(strings.TrimPrefix(tt.command, "+")); err == nil {
			clock.advance(d)
			continue
		}
		before := l.size()
		reply := l.cmd(tt.command)
		file, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}

		want := ""
		for _, line := range strings.Split(tt.logged, "|") {
			if line != "" {
				want += array(words(line)...)
			}
		}
		if got := string(file[before:]); got != want {
			t.Errorf("%s (%s)\ngot  %q\nwant %q", tt.command, reply, got, want)
		}
	}
}

func TestAKeyThatNobodyAsksForIsLoggedWhenItExpires(t *testing.T) {
	l := openLogged(t, tempFile(t))
	defer l.close()
	clock := newClock()
	l.clock = func() time.Time { return time.UnixMilli(clock.now.Load()) }
	l.cmd("SET a 1 PX 5")
	clock.advance(time.Second)
	l.expireKeys(l.el, 0)
	l.beforeSleep(l.el)
	file, err := os.ReadFile(l.path)
	if want := array("DEL", "a"); err != nil || !strings.HasSuffix(string(file), want) {
		t.Errorf("%v, %q does not end in %q", err, file, want)
	}
}

// smallLine is a line without offsets that make the largest values.
func (g generator) smallLine() string {
	for {
		if line := g.line(); !strings.Contains(line, "53687") {
			return line
		}
	}
}

func TestTheDataIsTheSameAfterLoading(t *testing.T) {
	l := openLogged(t, tempFile(t))
	g := generator{rand.New(rand.NewPCG(9, 9))}
	for round := range 20 {
		for range 1000 {
			l.cmd(g.smallLine())
		}
		big := strings.Repeat(strconv.Itoa(round), resp.BigArg+round)
		for _, line := range []string{"SELECT 2", "SET big " + big, "APPEND big " + big, "SETRANGE big 70000 xyz",
			"SET big2 " + big, "SET big2 small", "MSET m " + big + " n " + big, "SELECT 0"} {
			l.cmd(line)
		}

		want := contents(l.server)
		l = l.reopened()
		if diff := cmp.Diff(want, contents(l.server)); diff != "" || len(want) < 3 {
			t.Fatalf("round %d, %d keys: %.2000s", round, len(want), diff)
		}
	}
	l.close()
}

// A step is what the file and the data were after a command.
type step struct {
	size int64
	data map[string]string
}

// script makes a file of commands of every kind, and returns the steps.
func script(t *testing.T, path string) []step {
	t.Helper()
	l := openLogged(t, path)
	defer l.close()
	steps := []step{{0, map[string]string{}}}
	for _, line := range []string{"SET first 1", "SET b 22222222222 EX 1000", "INCR n", "MSET x 1 y 2 z 3", "SELECT 1", "APPEND s hello",
		"SETRANGE s 1 EY", "SET b twelve-bytes", "DEL b s", "SET b x PXAT 32503680000000", "PEXPIREAT b 32503680000001", "PERSIST b", "SELECT 0",
		"FLUSHALL", "MSET k 1 l 2", "SET last 100"} {
		l.cmd(line)
		steps = append(steps, step{l.size(), contents(l.server)})
	}
	return steps
}

// stride is how far apart the bytes are that a test looks at: one, if KV_KILLS asks
// for all of it; else a prime number, so that each place in a command has its turn.
func stride() int { return either(os.Getenv("KV_KILLS") != "", 1, 7) }

func TestAFileThatEndsAnywhereIsCutWhereItIsWhole(t *testing.T) {
	path := tempFile(t)
	steps := script(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	for n := 0; n <= len(whole); n += stride() {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		want := steps[0]
		for _, s := range steps {
			if s.size <= int64(n) {
				want = s
			}
		}

		l := openLogged(t, path)
		if diff := cmp.Diff(want.data, contents(l.server)); diff != "" {
			t.Fatalf("the first %d bytes: %s", n, diff)
		}
		// SELECT may be whole where what follows is not.
		if got := l.size(); got < want.size || got > want.size+int64(len(array("SELECT", "0"))) {
			t.Fatalf("%d bytes were cut to %d, want %d", n, got, want.size)
		}

		// It goes on from there.
		l.cmd("SET more 1")
		l = l.reopened()
		want.data = contents(l.server)
		if want.data["0:more"] == "" {
			t.Fatalf("after %d bytes: what was written later is lost", n)
		}
		l.close()
	}
}

// No byte that is damaged may cost what stands behind it: either it only changes
// what is stored, or the file is refused.
func TestADamagedByteIsNoReasonToDropWhatFollows(t *testing.T) {
	path := tempFile(t)
	steps := script(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	last := steps[len(steps)-2].size // where the last command begins
	tried, refused := 0, 0
	for at := int64(0); at < last; at += int64(stride()) {
		for _, b := range []byte{'9', whole[at] ^ 1} {
			if b == whole[at] {
				continue
			}
			tried++
			damaged := bytes.Clone(whole)
			damaged[at] = b
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}

			l, err := tryOpenLogged(t, path)
			after, _ := os.ReadFile(path)
			if !bytes.Equal(after, damaged) {
				t.Fatalf("%q at byte %d, instead of %q: the file has %d bytes of %d", b, at, whole[at], len(after), len(whole))
			}
			if err == nil {
				l.close()
				continue
			}
			refused++
			if !strings.Contains(err.Error(), "corrupt: the command at byte ") {
				t.Fatalf("%q at byte %d: %v", b, at, err)
			}
		}
	}
	if refused < tried/2 {
		t.Errorf("only %d of the damaged files were refused", refused)
	}
}

func TestACorruptFileIsRefusedInOneLineWithTheOffset(t *testing.T) {
	good := array("SELECT", "0") + array("SET", "a", "1")
	tests := []struct{ damage, want string }{
		{"junk\r\n", "there is 'j' where '*' should be"},
		{"\x00\x00\x00\x00", `there is '\x00' where '*' should be`},
		{"*0\r\n", "it is empty"},
		{"*3\r\n$3\r\nSET\r\n$1\r\nab\r\n$1\r\n1\r\n", "an argument in it does not end where its length says"},
		{"*3\r\n$3\r\nSET\r\n$900\r\na\r\n$1\r\n1\r\n", "a length in it goes beyond commands that follow"},
		{"*3\r\n$3\r\nSET\r\n$a\r\n", "a length in it is no number, or too large"},
		{"*3\r\n$3\r\nSET\r\n$999999999\r\n", "a length in it is no number, or too large"},
		{"*3\r\n$3\nSET\r\n", "a line in it does not end in CR LF"},
		{array("GET", "a"), `"GET" is no command that changes data`},
		{array("SET", "a"), `wrong number of arguments for "set"`},
		{array("SET", "a", "b") + array("INCR", "a"), "ERR value is not an integer or out of range"},
		{array("MULTI") + array("SET", "a", "b") + array("EXEX"), `"EXEX" is no command that changes data`},
		{array("EXEC"), `"EXEC" is no command that changes data`},
	}
	for _, tt := range tests {
		path := tempFile(t)
		file := good + tt.damage + array("SET", "b", "1")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		line := failedStart(t, "-appendonly", "yes", "-appendfilename", path)
		if !strings.Contains(line, tt.want) || !strings.Contains(line, path+" is corrupt: the command at byte ") {
			t.Errorf("%q: said %q", tt.damage, line)
		}
		if !strings.HasPrefix(tt.damage, "*3\r\n$3\r\nSET\r\n$1\r\nb") && strings.Count(tt.damage, "*") < 2 &&
			!strings.Contains(line, fmt.Sprintf("byte %d:", len(good))) {
			t.Errorf("%q: said %q, want byte %d", tt.damage, line, len(good))
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != file {
			t.Errorf("%q: the file was changed", tt.damage)
		}
	}
}

// failedStart runs the program, which must fail, and returns what it says.
func failedStart(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), "KV_TEST_RUN=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()

	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v: %v", args, err)
	}
	line := stderr.String()
	if stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "kv: ") {
		t.Errorf("%v: said %q, %q", args, line, &stdout)
	}
	return line
}

func TestAFileThatCannotBeUsedIsRefusedInOneLine(t *testing.T) {
	dir := t.TempDir()
	used := filepath.Join(dir, "used")
	l := openLogged(t, used)
	defer l.close()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}

	for path, want := range map[string]string{
		dir:                           "is a directory",
		filepath.Join(dir, "no", "x"): "no such file or directory",
		used:                          "is in use by another process",
		fifo:                          "is not a regular file",
	} {
		if line := failedStart(t, "-appendonly", "yes", "-appendfilename", path); !strings.Contains(line, want) {
			t.Errorf("%s: said %q", path, line)
		}
	}

	// What the process that uses the file is writing aside is left alone.
	aside := filepath.Join(dir, "used.rewrite")
	if err := os.WriteFile(aside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failedStart(t, "-appendonly", "yes", "-appendfilename", used)
	if _, err := os.Stat(aside); err != nil {
		t.Error(err)
	}
	if line := failedStart(t, "-addr", "unix:"); !strings.Contains(line, "needs a path") {
		t.Errorf("said %q", line)
	}
	if line := failedStart(t, "-appendfsync", "sometimes"); !strings.Contains(line, "everysec, always, no") {
		t.Errorf("said %q", line)
	}
}

func TestAFileThatHasGrownIsCompactedAtStart(t *testing.T) {
	path := tempFile(t)
	l := openLogged(t, path)
	for i := range 50_000 {
		l.cmd(fmt.Sprintf("SET key:%d %d", i%100, i))
	}
	l.cmd("SET dies x PX 1")
	l.cmd("SET lives x PXAT 32503680000000")
	l.cmd("SELECT 7")
	l.cmd("SET big " + strings.Repeat("x", resp.BigArg))
	for end := deadline(); l.c.db.Now <= 1 || len(contents(l.server)) != 102; {
		if time.Now().After(end) {
			t.Fatalf("%d keys", len(contents(l.server)))
		}
	}
	want, before := contents(l.server), l.size()

	// A crash in the middle of an earlier compaction left this.
	left := path + ".rewrite"
	if err := os.WriteFile(left, []byte(array("SET", "wrong", "1")+"*3\r\n$3"), 0o600); err != nil {
		t.Fatal(err)
	}

	l = l.reopened()
	compacted := l.size()
	if compacted > before/10 {
		t.Errorf("%d bytes of %d are left", compacted, before)
	}
	if diff := cmp.Diff(want, contents(l.server)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}

	// What comes afterwards goes to the new file, which is good as it is.
	l.cmd("SET more 1")
	want = contents(l.server)
	l = l.reopened()
	defer l.close()
	if diff := cmp.Diff(want, contents(l.server)); diff != "" {
		t.Error(diff)
	}
	if l.size() <= compacted {
		t.Errorf("%d bytes, %d before the last command", l.size(), compacted)
	}
}

// socketClient gives the server a client whose other end is fd.
func socketClient(t *testing.T, s *server) (c *client, fd int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { anet.Close(fds[1]) })
	for _, fd := range fds {
		if err := anet.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.loop.Adopt(fds[0], s.handlers[normalClass]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.el.ProcessEvents(ae.FileEvents | ae.DontWait | ae.CallBeforeSleep); err != nil { // it opens
		t.Fatal(err)
	}
	return s.clients[len(s.clients)-1], fds[1]
}

// Without the barrier, the client that can be written to again would be sent the
// reply to what it sent in the same iteration, before that is saved.
func TestNoReplyOvertakesTheFile(t *testing.T) {
	l := openLogged(t, tempFile(t))
	defer l.close()
	c, peer := socketClient(t, l.server)
	iteration := func(flags ae.Flags) {
		t.Helper()
		if _, err := l.el.ProcessEvents(ae.FileEvents | ae.DontWait | flags); err != nil {
			t.Fatal(err)
		}
	}
	send := func(line string) {
		t.Helper()
		if _, err := anet.Write(peer, []byte(array(words(line)...))); err != nil {
			t.Fatal(err)
		}
	}

	// More output than the socket takes, so that the client waits for it. (What is
	// sent must fit: FreeBSD's unix sockets take 8,192 bytes.)
	send("SET big " + strings.Repeat("x", 4_000))
	iteration(0)
	for l.el.FileEvents(c.conn.FD())&ae.Writable == 0 {
		send("GET big")
		iteration(0)
		iteration(ae.CallBeforeSleep)
	}

	// Now both: there is room again, and a command.
	in := make([]byte, 1<<20)
	var got []byte
	receive := func() {
		for {
			n, err := anet.Read(peer, in)
			if err != nil {
				return
			}
			got = append(got, in[:n]...)
		}
	}
	receive()
	size := l.size()
	send("SET key value")
	iteration(0)
	if len(c.out.Buf) == 0 {
		t.Fatal("the command was not executed together with the write")
	}
	receive()
	if l.size() != size {
		t.Fatal("the command was saved before the loop was to sleep: nothing is tested")
	}
	if bytes.HasSuffix(got, []byte("+OK\r\n")) {
		t.Fatal("its reply was sent before it was saved")
	}

	iteration(ae.CallBeforeSleep)
	receive()
	if l.size() == size || !bytes.HasSuffix(got, []byte("+OK\r\n")) {
		t.Errorf("%d bytes were saved, and the last reply is %q", l.size()-size, got[max(0, len(got)-20):])
	}
}

func TestASignalSavesEverything(t *testing.T) {
	for _, policy := range fsyncPolicies {
		path := tempFile(t)
		p := startProcess(t, 0, "127.0.0.1:0", "-appendonly", "yes", "-appendfilename", path, "-appendfsync", policy)
		c := dialTo(t, "tcp", p.addr)
		for i := range 100 {
			c.cmd(fmt.Sprintf("SET k%d v", i))
		}
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, &p.stderr)
		}

		l := openLogged(t, path)
		if n := len(contents(l.server)); n != 100 {
			t.Errorf("%s: %d keys", policy, n)
		}
		l.close()
	}
}

func TestLoggingAllocatesNothing(t *testing.T) {
	l := openLogged(t, tempFile(t))
	defer l.close()
	_, peer := socketClient(t, l.server)
	in := []byte(strings.Repeat(array("SET", "key", "value")+array("SET", "key", "value", "EX", "100")+array("INCR", "n"), 16))
	out := make([]byte, 1<<16)
	round := func() {
		if n, err := anet.Write(peer, in); n < len(in) {
			t.Fatal(n, err)
		}
		for range 2 {
			if _, err := l.el.ProcessEvents(ae.FileEvents | ae.DontWait | ae.CallBeforeSleep); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := anet.Read(peer, out); err != nil || !bytes.HasPrefix(out[:n], []byte("+OK\r\n+OK\r\n:")) {
			t.Fatalf("got %q, %v", out[:n], err)
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations for %d commands", n, 48)
	}
}
