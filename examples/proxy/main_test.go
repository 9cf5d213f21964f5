package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// start runs a proxy in this process until the test ends, and returns where it
// listens. stop ends it earlier, and returns what serve returned.
func start(t testing.TB, cfg config) (addr string, stop func() error) {
	t.Helper()
	cfg.listen = "127.0.0.1:0"
	cfg.loops = max(1, cfg.loops)
	addrs, stop := testutil.Serve(t, 1, func(ctx context.Context, out io.Writer) error { return serve(ctx, cfg, out) })
	return addrs[0], stop
}

func TestTheLoopsCanBeWatched(t *testing.T) {
	cfg := config{listen: "127.0.0.1:0", to: echo(t), loops: 2, watch: "127.0.0.1:0"}
	addrs, _ := testutil.Serve(t, 2, func(ctx context.Context, out io.Writer) error { return serve(ctx, cfg, out) })
	resp, err := http.Get(addrs[1] + "?text")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "loop proxy 1,") || !strings.Contains(string(text), "loop proxy 2,") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// server accepts connections, and has serve called for each on a goroutine.
func server(t testing.TB, serve func(c *net.TCPConn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(testutil.Deadline())
			go serve(c.(*net.TCPConn))
		}
	}()
	return ln.Addr().String()
}

// echo is a server that sends back what it gets, and ends when its client does.
func echo(t testing.TB) string {
	return server(t, func(c *net.TCPConn) {
		io.Copy(c, c)
		c.Close()
	})
}

// accepting is a server whose connections the test has for itself.
func accepting(t testing.TB) (addr string, conns chan *net.TCPConn) {
	conns = make(chan *net.TCPConn, 1000)
	return server(t, func(c *net.TCPConn) { conns <- c }), conns
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, testutil.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(testutil.Deadline())
	return c.(*net.TCPConn)
}

// pair returns both ends of a connection through a new proxy.
func pair(t testing.TB, cfg config) (client, server *net.TCPConn) {
	t.Helper()
	to, conns := accepting(t)
	cfg.to = to
	addr, _ := start(t, cfg)
	client = dial(t, addr)
	server = take(t, conns)
	t.Cleanup(func() { server.Close() })
	return client, server
}

func take(t testing.TB, conns chan *net.TCPConn) *net.TCPConn {
	t.Helper()
	select {
	case c := <-conns:
		return c
	case <-time.After(testutil.Patience):
		t.Fatal("nobody was connected to the server")
		return nil
	}
}

func roundTrip(c net.Conn, msg string) error {
	if _, err := io.WriteString(c, msg); err != nil {
		return err
	}
	buf := make([]byte, len(msg))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != msg {
		return fmt.Errorf("sent %.20q, received %.20q: %w", msg, buf, err)
	}
	return nil
}

// noise is n bytes that do not repeat, the same for the same seed.
func noise(seed, n int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), int64(n))
}

// transfer sends n bytes of noise to one connection and finishes; it returns an
// error unless they, and then the end, come out of the other.
func transfer(from, to *net.TCPConn, seed, n int) error {
	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{io.MultiWriter(from, sent)}, noise(seed, n))
		failed <- errors.Join(err, from.CloseWrite())
	}()
	got, err := io.Copy(struct{ io.Writer }{received}, to)
	if err := errors.Join(err, <-failed); err != nil || got != int64(n) {
		return fmt.Errorf("%d bytes of %d arrived: %w", got, n, err)
	}
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return fmt.Errorf("the %d bytes that arrived are not those that were sent", n)
	}
	return nil
}

func TestBytesPassUnchanged(t *testing.T) {
	for _, loops := range []int{1, 3} {
		addr, _ := start(t, config{to: echo(t), loops: loops})
		var wg sync.WaitGroup
		for i := range 24 {
			size := []int{0, 1, 16 << 10, 1 << 20, 5<<20 + 1}[i%5]
			wg.Go(func() {
				c := dial(t, addr)
				if err := transfer(c, c, i, size); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestHTTPPasses(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(sendBack))
	defer web.Close()
	addr, _ := start(t, config{to: web.Listener.Addr().String()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			client := http.Client{Timeout: testutil.Patience}
			text := strings.Repeat(fmt.Sprint(i, " "), 1+i*20_000)
			for range 10 {
				if err := request(&client, addr, text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func sendBack(w http.ResponseWriter, r *http.Request) {
	if body, err := io.ReadAll(r.Body); err == nil {
		w.Write(body)
	}
}

// request posts text, and returns an error unless it comes back.
func request(client *http.Client, addr, text string) error {
	r, err := client.Post("http://"+addr, "text/plain", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != text {
		return fmt.Errorf("%d bytes of %d came back: %w", len(got), len(text), err)
	}
	return nil
}

// pitfall 4: the end of one direction is not the end of the other.
func TestHalfClosePassesBothWays(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 20} {
		a, b := pair(t, config{})
		for i, way := range [][2]*net.TCPConn{{a, b}, {b, a}} { // the second when the first has ended
			if err := transfer(way[0], way[1], i, size); err != nil {
				t.Errorf("way %d: %v", i, err)
			}
		}
		b, a = pair(t, config{})
		for i, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
			if err := transfer(way[0], way[1], i, size); err != nil {
				t.Errorf("way %d, server first: %v", i, err)
			}
		}
	}
}

func TestResetPassesBothWays(t *testing.T) {
	for _, sent := range []int{0, 1, 100_000} {
		for _, way := range []string{"client to server", "server to client"} {
			a, b := pair(t, config{})
			if way == "server to client" {
				a, b = b, a
			}
			if err := pass(a, b, sent); err != nil {
				t.Fatal(err)
			}
			a.SetLinger(0)
			a.Close()
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s, after %d bytes: a reset arrives as %v", way, sent, err)
			}
		}
	}
}

// pass sends n bytes from one connection to the other.
func pass(from, to net.Conn, n int) error {
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, n))
		failed <- err
	}()
	_, err := io.CopyN(io.Discard, to, int64(n))
	return errors.Join(err, <-failed)
}

func TestAClientWhoseServerRefusesIsClosed(t *testing.T) {
	addr, _ := start(t, config{to: aetest.ClosedPort(t), connect: testutil.Patience})
	for _, text := range []string{"", "hello", strings.Repeat("x", 100_000)} {
		c, err := net.DialTimeout("tcp", addr, testutil.Patience)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // before the dial had looked
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(testutil.Deadline())
		io.WriteString(c, text)
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}

func TestAClientWhoseServerDoesNotAnswerIsClosed(t *testing.T) {
	const timeout = 200 * time.Millisecond
	addr, _ := start(t, config{to: aetest.SilentPort(t), connect: timeout})
	began := time.Now()
	c := dial(t, addr)
	go io.Copy(c, noise(1, 64<<20)) // more than the proxy may keep for a server that it has not reached
	if n, err := io.Copy(io.Discard, c); n > 0 || os.IsTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if took := time.Since(began); took < timeout {
		t.Errorf("closed after %v, before %v", took, timeout)
	}
}

// A side that does not read stops the other, and keeps it all for later.
func TestWhoIsNotReadGetsStuckAndLosesNothing(t *testing.T) {
	for _, way := range []string{"client to server", "server to client"} {
		a, b := pair(t, config{})
		if way == "server to client" {
			a, b = b, a
		}
		sent := sha256.New()
		junk := make([]byte, 64<<10)
		rnd := noise(1, 1<<30)
		total := 0
		for stuck := false; !stuck; {
			io.ReadFull(rnd, junk)
			a.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := a.Write(junk)
			sent.Write(junk[:n])
			total += n
			stuck = errors.Is(err, os.ErrDeadlineExceeded)
			if err != nil && !stuck {
				t.Fatal(err)
			}
			if total > 64<<20 {
				t.Fatalf("%s: the proxy took %d bytes that nobody reads", way, total)
			}
			if err := pass(b, a, 100); err != nil { // the other direction goes on
				t.Fatal(err)
			}
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		received := sha256.New()
		if n, err := io.Copy(struct{ io.Writer }{received}, b); err != nil || n != int64(total) {
			t.Fatalf("%s: %d bytes of %d, %v", way, n, total, err)
		}
		if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			t.Errorf("%s: other bytes", way)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	const idle = time.Second
	a, b := pair(t, config{idle: idle})
	var last time.Time
	for began := time.Now(); time.Since(began) < 2*idle; { // one direction is enough
		last = time.Now()
		if err := pass(b, a, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []net.Conn{a, b} {
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if took := time.Since(last); took < idle {
		t.Errorf("ended after %v of %v", took, idle)
	}
}

// Connections go on while the proxy ends, and are done when they are.
func TestTheProxyEndsWhenItsConnectionsDo(t *testing.T) {
	for _, loops := range []int{1, 3} {
		goroutines := runtime.NumGoroutine()
		addr, stop := start(t, config{to: echo(t), grace: testutil.Patience, loops: loops})
		var clients []*net.TCPConn
		for range 10 {
			clients = append(clients, dial(t, addr))
		}
		ended := make(chan error, 1)
		go func() { ended <- stop() }()
		refused(t, addr)
		for i, c := range clients {
			if err := roundTrip(c, "before"); err != nil { // also who waited in the backlog
				t.Error(err)
			}
			if err := transfer(c, c, i, 1<<20); err != nil {
				t.Error(err)
			}
			c.Close()
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(testutil.Patience / 2):
			t.Fatal("the proxy waits for nobody")
		}
		testutil.GoroutinesComeTo(t, goroutines+2) // the server's goes on
	}
}

// refused waits until nobody listens.
func refused(t testing.TB, addr string) {
	t.Helper()
	for end := testutil.Deadline(); ; {
		c, err := net.DialTimeout("tcp", addr, testutil.Patience)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			c.Close()
		}
		if time.Now().After(end) {
			t.Fatal("the proxy still listens")
		}
	}
}

func TestTheGraceEnds(t *testing.T) {
	const grace = 200 * time.Millisecond
	to, conns := accepting(t)
	addr, stop := start(t, config{to: to, grace: grace})
	a := dial(t, addr)
	b := take(t, conns)
	defer b.Close()
	if err := pass(a, b, 10); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < grace {
		t.Errorf("ended after %v, before %v", took, grace)
	}
	for _, c := range []net.Conn{a, b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("what was cut off ends with %v", err)
		}
	}
}

// pitfall 27: who has a request under way, or sends the next on a connection that
// it has, does not notice.
func TestNoRequestFailsWhileTheProxyEnds(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(sendBack))
	defer web.Close()
	for _, loops := range []int{1, 2} {
		addr, stop := start(t, config{to: web.Listener.Addr().String(), grace: testutil.Patience, loops: loops})
		ending := make(chan bool)
		var running, done sync.WaitGroup
		for range 32 {
			running.Add(1)
			done.Go(func() {
				client := http.Client{Timeout: testutil.Patience, Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				err := request(&client, addr, "the first")
				running.Done()
				for more := 20; more > 0 && err == nil; { // once the end has begun
					err = request(&client, addr, "another")
					select {
					case <-ending:
						more--
					default:
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		close(ending)
		if err := stop(); err != nil {
			t.Error(err)
		}
		done.Wait()
	}
}

// spawn runs a proxy in a process of its own, with a limit on its descriptors if
// that is not 0.
func spawn(t testing.TB, nofile int, args ...string) (addr string, cmd *exec.Cmd) {
	t.Helper()
	cmd = testutil.Command(nil, "proxy", append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	if nofile > 0 {
		testutil.LimitDescriptors(cmd, nofile)
	}
	addrs, _ := testutil.Spawn(t, cmd, 1, cmd.StderrPipe)
	return addrs[0], cmd
}

func TestSignalsEndTheProcessWell(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		addr, cmd := spawn(t, 0, "-to", echo(t), "-connect-timeout", "5s", "-idle", "1m", "-grace", "1m", "-loops", "2")
		c := dial(t, addr)
		if err := roundTrip(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		refused(t, addr)
		if err := transfer(c, c, 1, 1<<20); err != nil {
			t.Error(err)
		}
		c.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

// pitfall 25: a client takes two descriptors, and is closed if there is but one.
func TestOutOfDescriptorsClientsWait(t *testing.T) {
	const limit, clients = 64, 100
	for _, loops := range []string{"1", "3"} {
		to := echo(t)
		_, port, _ := net.SplitHostPort(to)
		for _, to := range []string{to, "localhost:" + port} { // which may be two addresses
			addr, _ := spawn(t, limit, "-to", to, "-loops", loops)
			var all []*net.TCPConn
			for range clients {
				all = append(all, dial(t, addr))
			}
			for i, c := range all {
				if err := roundTrip(c, fmt.Sprint("client ", i)); err != nil {
					t.Fatalf("client %d: %v", i, err)
				}
				c.Close()
			}
		}
	}
}

func TestBadArguments(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		code int
		args string
	}{
		{2, "more"},
		{2, "-nothing"},
		{1, "-listen nonsense"},
		{1, "-listen " + taken.Addr().String()},
		{1, "-listen 127.0.0.1:0 -to nonsense"},
		{1, "-listen 127.0.0.1:0 -to 127.0.0.1:99999"},
		{1, "-listen 127.0.0.1:0 -idle -1s"},
		{1, "-listen 127.0.0.1:0 -loops 0"},
	} {
		code, out := testutil.Exit(t, testutil.Command(nil, "proxy", strings.Fields(c.args)...))
		if code != c.code || out == "" {
			t.Errorf("proxy %s: exit code %d, %q; want %d", c.args, code, out, c.code)
		}
	}
}

func TestMain(m *testing.M) { testutil.Main(m) }

func init() { testutil.Child("proxy", main) }
