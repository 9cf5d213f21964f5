package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp/resptest"
	"github.com/aeloop/ae/internal/testutil"
)

// TestMain lets a test run this program as a process of its own: see startProcess.
func TestMain(m *testing.M) {
	if os.Getenv("KV_TEST_RUN") != "" {
		limitDescriptors(os.Getenv("KV_TEST_NOFILE"))
		main()
		os.Exit(0)
	}
	testutil.Waiting()
	os.Exit(m.Run())
}

var (
	deadline = testutil.Deadline
	shortDir = testutil.ShortDir
)

type testServer struct {
	*server
	network, addr string
	stop          func() // returns when the server is closed
}

// startServer runs a server in this process until the test ends. configure may
// change it before it runs.
func startServer(t testing.TB, configure ...func(*server)) *testServer {
	t.Helper()
	return startServerOn(t, "127.0.0.1:0", configure...)
}

func startServerOn(t testing.TB, addr string, configure ...func(*server)) *testServer {
	t.Helper()
	s, err := newServer(defaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	s.log = slog.New(slog.DiscardHandler)
	for _, f := range configure {
		f(s)
	}
	if err := s.listen(addr); err != nil {
		s.close()
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := s.el.Run(ctx)
		s.close()
		done <- err
	}()

	var stopped atomic.Bool
	ts := &testServer{server: s, network: s.network, addr: strings.TrimPrefix(s.address, "unix:")}
	ts.stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}
	t.Cleanup(ts.stop)
	return ts
}

// do runs f on the goroutine of the loop and waits for it.
func (s *testServer) do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	if err := s.el.Post(func(*ae.EventLoop) { f(); close(done) }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(time.Until(deadline())):
		t.Fatal("the loop does not run posted functions")
	}
}

// A clock stands still until it is told to go on.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(1_700_000_000_000)
	return c
}

func (c *clock) advance(d time.Duration) { c.now.Add(d.Milliseconds()) }
func (c *clock) install(s *server) {
	s.clock = func() time.Time { return time.UnixMilli(c.now.Load()) }
}

// A conn is a client that sees replies as they are on the wire.
type conn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, s *testServer) *conn { return dialTo(t, s.network, s.addr) }

func dialTo(t testing.TB, network, addr string) *conn {
	t.Helper()
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(deadline()); err != nil {
		t.Fatal(err)
	}
	return &conn{nc, t, bufio.NewReaderSize(nc, 1<<16)}
}

// send writes bytes as they are.
func (c *conn) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// cmd sends a command of the words of a line, and returns its reply. "" is an
// empty word.
func (c *conn) cmd(line string) string {
	c.t.Helper()
	c.send(array(words(line)...))
	return c.reply()
}

// reply returns the next reply, whole, with spaces instead of line ends.
func (c *conn) reply() string {
	c.t.Helper()
	var raw bytes.Buffer
	if err := resptest.ReadReply(c.r, &raw); err != nil {
		c.t.Fatalf("reading a reply: %v (after %q)", err, raw.String())
	}
	return strings.TrimSuffix(strings.ReplaceAll(raw.String(), "\r\n", " "), " ")
}

// expectEnd fails unless the server has closed the connection.
func (c *conn) expectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

func words(line string) []string {
	list := strings.Fields(line)
	for i, w := range list {
		if w == `""` {
			list[i] = ""
		}
	}
	return list
}

var array = resptest.Command

// requireTool finds a program that the tests need and the package does not.
func requireTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testutil.SkipUnlessCI(t, "%s is not installed", name)
	}
	return path
}
