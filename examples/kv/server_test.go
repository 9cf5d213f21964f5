package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp/resptest"
)

func TestAPipelineIsAnsweredInOrder(t *testing.T) {
	const n = 10_000
	s := startServer(t)
	c := dial(t, s)

	var in, want strings.Builder
	for i := range n {
		in.WriteString(array("SET", "key:"+strconv.Itoa(i%100), strconv.Itoa(i)))
		in.WriteString(array("GET", "key:"+strconv.Itoa(i%100)))
		fmt.Fprintf(&want, "+OK\r\n$%d\r\n%d\r\n", len(strconv.Itoa(i)), i)
	}
	go c.Write([]byte(in.String()))

	got := make([]byte, want.Len())
	if _, err := io.ReadFull(c.r, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Error("the replies differ")
	}
}

func TestCommandsArriveInPiecesOfOneByte(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	for _, b := range array("SET", "key", "value") + "GET key\r\n" {
		c.send(string(b))
	}
	if got := c.reply() + " " + c.reply(); got != "+OK $5 value" {
		t.Errorf("got %q", got)
	}
}

func TestABigValueMakesTheRoundTrip(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	value := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	value = append(value, "the end"...)

	go c.Write([]byte(array("SET", "key", string(value)) + array("GET", "key") + array("PING")))
	if got := c.reply(); got != "+OK" {
		t.Fatal(got)
	}
	if got := c.reply(); got != fmt.Sprintf("$%d %s", len(value), value) {
		t.Error("another value came back")
	}
	if got := c.reply(); got != "+PONG" {
		t.Error(got)
	}
}

func TestMalformedInputIsAnsweredAndTheConnectionClosed(t *testing.T) {
	s := startServer(t)
	for _, tt := range resptest.Malformed {
		c := dial(t, s)
		c.send("PING\r\n" + tt.Input)
		if got := c.reply(); got != "+PONG" {
			t.Fatal(got)
		}
		want := "-ERR Protocol error: " + strings.ReplaceAll(tt.Error, "\r", " ")
		if got := c.reply(); got != want {
			t.Errorf("%.40q: got %q, want %q", tt.Input, got, want)
		}
		c.expectEnd()
	}
}

func TestQuitClosesAfterItsReply(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	c.send("PING\r\nQUIT\r\nPING\r\n")
	if got := c.reply() + c.reply(); got != "+PONG+OK" {
		t.Errorf("got %q", got)
	}
	c.expectEnd()
}

func TestAWebPageCannotSendCommands(t *testing.T) {
	s := startServer(t)
	for _, line := range []string{"POST / HTTP/1.1\r\n", "Host: 127.0.0.1:6380\r\n"} {
		c := dial(t, s)
		c.send(line)
		c.expectEnd()
	}
}

func TestAPeerThatFinishedSendingGetsItsReplies(t *testing.T) {
	const size = 8 << 20
	s := startServer(t)
	c := dial(t, s)
	c.send(array("SET", "key", strings.Repeat("v", size)))
	c.reply()

	c.send(array("GET", "key") + array("PING"))
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := len(c.reply()); got < size {
		t.Errorf("a reply of %d bytes, want more than %d", got, size)
	}
	if got := c.reply(); got != "+PONG" {
		t.Error(got)
	}
	c.expectEnd()
}

// A client that sends and sends and does not read must cost no more than its
// limit, and hold nobody up; when it reads at last, everything is there.
func TestAClientThatDoesNotReadIsNotReadFrom(t *testing.T) {
	t.Parallel()
	const n, size = 10_000, 10_000
	s := startServer(t)
	slow, other := dial(t, s), dial(t, s)
	slow.cmd("SET key " + strings.Repeat("v", size))

	input := []byte(strings.Repeat(array("GET", "key"), n))
	sent := make(chan error, 1)
	go func() {
		_, err := slow.Write(input)
		sent <- err
	}()

	// It has come to rest when nothing has been sent for many iterations.
	last := int64(-1)
	for quiet := 0; quiet < 100; quiet++ {
		s.do(t, func() {
			if s.stats.sent != last {
				quiet, last = 0, s.stats.sent
			}
			for _, c := range s.clients {
				if waiting := c.waiting(); waiting > outputLimit+batch+2*size {
					t.Errorf("%d bytes wait for the client", waiting)
				}
			}
		})
	}
	s.do(t, func() {
		if read := s.stats.received; read >= int64(len(input)) {
			t.Errorf("all %d bytes of its commands were read", read)
		}
	})
	if got := other.cmd("PING"); got != "+PONG" {
		t.Errorf("another client: %q", got)
	}

	for range n {
		if got := len(slow.reply()); got != len("$10000 ")+size {
			t.Fatalf("a reply of %d bytes", got)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got := slow.cmd("PING"); got != "+PONG" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestAnIdleClientHoldsNoBuffers(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	big := strings.Repeat("x", 100_000)
	c.send(array("SET", "key", big))
	c.reply()
	c.send(array("ECHO", big) + array("DEL", "key"))
	c.reply()
	c.reply()

	s.do(t, func() {
		cl := s.clients[0]
		if cl.waiting() != 0 || cl.left != 0 || cl.req.Size() > 64*24 {
			t.Errorf("output %d, input %d, arguments %d", cl.waiting(), cl.left, cl.req.Size())
		}
		for _, arg := range cl.req.Args[:cap(cl.req.Args)] {
			if arg != nil {
				t.Errorf("an argument of %d bytes is kept", len(arg))
			}
		}
	})
}

// The whole way of a request, from its socket to its reply, allocates nothing.
func TestGetAndSetAllocateNothing(t *testing.T) {
	s, err := newServer(defaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	_, peer := socketClient(t, s)

	in := []byte(strings.Repeat(array("SET", "key", "value")+array("GET", "key")+array("INCR", "n")+"GET key\r\n", 16))
	out := make([]byte, 1<<16)
	round := func() {
		if n, err := anet.Write(peer, in); n < len(in) {
			t.Fatal(n, err)
		}
		for range 2 {
			if _, err := s.el.ProcessEvents(ae.FileEvents | ae.DontWait | ae.CallBeforeSleep); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := anet.Read(peer, out); err != nil || !bytes.HasPrefix(out[:n], []byte("+OK\r\n$5\r\nvalue\r\n:")) {
			t.Fatalf("got %q, %v", out[:n], err)
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations for %d commands", n, 64)
	}
}

func TestClosedConnectionsLeaveNothingBehind(t *testing.T) {
	s := startServer(t)
	for range 3 {
		conns := make([]*conn, 100)
		for i := range conns {
			conns[i] = dial(t, s)
			conns[i].send("*2\r\n$4\r\nECHO\r\n$5\r\nhal")
		}
		last := dial(t, s)
		last.cmd("PING")
		for i, c := range conns {
			if i%2 == 0 {
				c.Conn.(*net.TCPConn).SetLinger(0) // a reset instead of an end
			}
			c.Close()
		}
		for n := -1; n != 1; {
			s.do(t, func() { n = len(s.clients) })
		}
		last.Close()
		for n := -1; n != 0; {
			s.do(t, func() { n = len(s.clients) })
		}
	}
}

// A process is this program, run by itself.
type process struct {
	*exec.Cmd
	addr   string
	stdout *bufio.Reader
	stderr bytes.Buffer
	traced func() // waits for who traces it, if anybody does
}

// startProcess runs the program with at most nofile descriptors, if that is not 0.
func startProcess(t *testing.T, nofile int, addr string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], append([]string{"-addr", addr}, args...)...)}
	p.Env = append(os.Environ(), "KV_TEST_RUN=1", "KV_TEST_NOFILE="+strconv.Itoa(nofile))
	p.Stderr = &p.stderr
	p.begin(t)
	return p
}

// begin starts the process and waits until it listens.
func (p *process) begin(t *testing.T) {
	t.Helper()
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})

	p.stdout = bufio.NewReader(stdout)
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		p.Wait()
		t.Fatalf("no line that says where it listens: %v\n%s", err, &p.stderr)
	}
	p.addr = strings.TrimSpace(strings.TrimPrefix(line, "kv: listening on "))
}

// Whoever takes the messages may end before the server does.
func TestTheServerGoesOnWhenNobodyTakesItsMessages(t *testing.T) {
	p := &process{Cmd: exec.Command(os.Args[0], "-addr", "127.0.0.1:0")}
	p.Env = append(os.Environ(), "KV_TEST_RUN=1")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = writer
	p.begin(t)
	writer.Close()
	reader.Close()

	c := dialTo(t, "tcp", p.addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\n\r\n") // this is worth a message
	c.expectEnd()
	if reply := dialTo(t, "tcp", p.addr).cmd("PING"); reply != "+PONG" {
		t.Error(reply)
	}
}

// Whoever takes the messages may also do nothing at all. (30)
func TestTheServerGoesOnWhenNobodyReadsItsMessages(t *testing.T) {
	t.Parallel()
	p := &process{Cmd: exec.Command(os.Args[0], "-addr", "127.0.0.1:0")}
	p.Env = append(os.Environ(), "KV_TEST_RUN=1")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	// Full, and blocking for those who write: Fd makes it so.
	if err := writer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = writer.Write(make([]byte, size))
		}
	}
	writer.Fd()
	p.Stderr = writer
	p.begin(t)

	for range 200 {
		c := dialTo(t, "tcp", p.addr)
		c.send("POST / HTTP/1.1\r\n\r\n")
		c.expectEnd()
	}
	dialTo(t, "tcp", p.addr).expect("PING", "+PONG")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWhatClientsCanBringAboutIsLoggedOnceAMinute(t *testing.T) {
	clock := newClock()
	var said bytes.Buffer
	s := startServer(t, clock.install, func(s *server) { s.log = slog.New(slog.NewTextHandler(&said, nil)) })
	logged := func(want int) {
		t.Helper()
		for range 10 {
			c := dial(t, s)
			c.send("POST / HTTP/1.1\r\n\r\n")
			c.expectEnd()
		}
		s.do(t, func() {
			if got := strings.Count(said.String(), "\n"); got != want {
				t.Errorf("%d messages, want %d:\n%s", got, want, &said)
			}
		})
	}
	logged(1)
	clock.advance(59 * time.Second)
	logged(1)
	clock.advance(time.Second)
	logged(2)
}

// The name that was given is the name. (35)
func TestAnAbstractNameIsNoFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has them")
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"@", fmt.Sprintf("@kv-test-%d", os.Getpid())} {
		files := []string{name, "unix"} // that is what anet calls the first
		for _, file := range files {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := startServerOn(t, "unix:"+name)
		if s.address != "unix:"+name {
			t.Errorf("it says that it listens on %s, not %s", s.address, name)
		}
		s.stop()
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// limitDescriptors is called in the child.
func limitDescriptors(nofile string) {
	n, _ := strconv.Atoi(nofile)
	if n == 0 {
		return
	}
	if err := lowerNofile(n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func TestWithoutDescriptorsTheOthersAreServedAndNewOnesLater(t *testing.T) {
	const limit, more = 64, 20
	p := startProcess(t, limit, "127.0.0.1:0")

	var served []*conn
	for {
		c := dialTo(t, "tcp", p.addr)
		c.send("PING\r\n")
		c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.r.Peek(1); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			c.SetDeadline(deadline())
			served = append(served, c) // the first that has to wait
			break
		}
		c.reply()
		c.SetDeadline(deadline())
		served = append(served, c)
		if len(served) > limit {
			t.Fatal("the limit is not reached")
		}
	}
	waiting := served[len(served)-1:]
	served = served[:len(served)-1]
	for range more {
		c := dialTo(t, "tcp", p.addr)
		c.send("PING\r\n")
		waiting = append(waiting, c)
	}

	for _, c := range served {
		if got := c.cmd("PING"); got != "+PONG" {
			t.Fatalf("a client that was there before: %q", got)
		}
	}
	for _, c := range served {
		c.Close()
	}
	for _, c := range waiting {
		if got := c.reply(); got != "+PONG" {
			t.Fatalf("a client that had to wait: %q", got)
		}
	}
}

func TestTheProgramEndsCleanlyOnASignal(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		path := filepath.Join(shortDir(t), "s")
		p := startProcess(t, 0, "unix:"+path)
		if p.addr != "unix:"+path {
			t.Errorf("it says %q", p.addr)
		}
		c := dialTo(t, "unix", path)
		if got := c.cmd("PING"); got != "+PONG" {
			t.Fatal(got)
		}

		if err := p.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		c.expectEnd()
		if err := p.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", sig, err, &p.stderr)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the socket is still there: %v", sig, err)
		}
	}
}

func TestTheProgramSaysInOneLineWhyItCannotStart(t *testing.T) {
	s := startServer(t)
	path := filepath.Join(shortDir(t), "s")
	startServerOn(t, "unix:"+path)
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		args []string
		want string
	}{
		{[]string{"-addr", s.addr}, "address already in use"},
		{[]string{"-addr", "unix:" + path}, "address already in use"},
		{[]string{"-addr", "unix:" + file}, "address already in use"},
		{[]string{"-addr", "unix:/nonexistent/dir/s"}, "no such file or directory"},
		{[]string{"-addr", "127.0.0.1:99999"}, "port"},
		{[]string{"-addr", "nonsense"}, "port"},
		{[]string{"-foo"}, "-foo"},
		{[]string{"-maxclients", "x"}, "argument couldn't be parsed into an integer"},
		{[]string{"-maxclients", "0"}, "argument must be between 1 and"},
		{[]string{"-maxmemory", "much"}, "argument must be a memory value"},
		{[]string{"-protected-mode", "maybe"}, "argument must be 'yes' or 'no'"},
		{[]string{"-loglevel", "loud"}, "argument(s) must be one of the following: debug"},
		{[]string{"-client-output-buffer-limit", "normal 1"}, "buffer limit configuration"},
		{[]string{"foo"}, "foo"},
	}
	for _, tt := range tests {
		cmd := exec.Command(os.Args[0], tt.args...)
		cmd.Env = append(os.Environ(), "KV_TEST_RUN=1")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()

		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%v: %v", tt.args, err)
		}
		line := stderr.String()
		if stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "kv: ") || !strings.Contains(line, tt.want) {
			t.Errorf("%v: said %q", tt.args, line)
		}
		t.Logf("%v: %s", tt.args, line)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	s := startServerOn(t, "unix:"+path)
	if got := dial(t, s).cmd("PING"); got != "+PONG" {
		t.Error(got)
	}
}

func TestHelpIsNoError(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"-h"}, &out); err != nil || !strings.Contains(out.String(), "-addr") {
		t.Errorf("%v, %q", err, out.String())
	}
}

// BenchmarkExecute is what a command costs without the system calls.
func BenchmarkExecute(b *testing.B) {
	const pipeline = 64
	for _, name := range []string{"GET", "SET", "INCR"} {
		b.Run(name, func(b *testing.B) {
			s, err := newServer(defaultConfig())
			if err != nil {
				b.Fatal(err)
			}
			defer s.close()
			c := &client{srv: s, db: s.dbs[0], index: -1}
			args := map[string][]string{"GET": {"GET", "key:000000000001"}, "SET": {"SET", "key:000000000001", "xxx"}, "INCR": {"INCR", "counter:1"}}[name]
			c.execute([]byte(array("SET", "key:000000000001", "xxx")))
			input := []byte(strings.Repeat(array(args...), pipeline))

			b.ReportAllocs()
			for i := 0; i < b.N; i += pipeline {
				c.execute(input)
				c.out.Buf = c.out.Buf[:0]
			}
		})
	}
}
