package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
)

// start runs the server in this process until the test ends, and returns where
// it listens. stop ends it earlier, and returns what serve returned.
func start(t testing.TB, addr string) (network, at string, stop func() error) {
	t.Helper()
	addrs, stop := testutil.Serve(t, 1, func(ctx context.Context, out io.Writer) error { return serve(ctx, addr, "", out) })
	if strings.HasPrefix(addr, "unix:") {
		return "unix", strings.TrimPrefix(addr, "unix:"), stop
	}
	return "tcp", addrs[0], stop
}

func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, addr, testutil.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(testutil.Deadline())
	return c
}

// roundTrip fails the test unless c is served.
func roundTrip(t testing.TB, c net.Conn, msg string) {
	t.Helper()
	c.SetDeadline(testutil.Deadline())
	if _, err := io.WriteString(c, msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(msg))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != msg {
		t.Fatalf("sent %q, received %q: %v", msg, buf, err)
	}
}

func TestTheLoopCanBeWatched(t *testing.T) {
	addrs, _ := testutil.Serve(t, 2, func(ctx context.Context, out io.Writer) error {
		return serve(ctx, "127.0.0.1:0", "127.0.0.1:0", out)
	})
	roundTrip(t, dial(t, "tcp", addrs[0]), "seen")
	resp, err := http.Get(addrs[1] + "?text")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "loop echo") {
		t.Errorf("the page says %q, %v", text, err)
	}
	http.DefaultClient.CloseIdleConnections()

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := serve(context.Background(), "127.0.0.1:0", taken.Addr().String(), io.Discard); err == nil {
		t.Error("a page where somebody listens already is no error")
	}
}

// noise is n bytes that do not repeat, the same for the same seed.
func noise(seed uint64, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), n)
}

// exchange sends n bytes on c while it reads them back, and compares hashes.
func exchange(t testing.TB, c net.Conn, seed uint64, n int64, chunk int) {
	t.Helper()
	c.SetDeadline(time.Now().Add(4 * testutil.Patience))
	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(c, sent)}, noise(seed, n), make([]byte, chunk))
		failed <- err
	}()
	got, err := io.CopyBuffer(struct{ io.Writer }{received}, io.LimitReader(c, n), make([]byte, chunk))
	if err := errors.Join(err, <-failed); err != nil || got != n {
		t.Fatalf("%d bytes of %d came back: %v", got, n, err)
	}
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("the %d bytes that came back are not those that were sent", n)
	}
}

// pitfall 19: evio#72, lori#304
func TestSixtyFourMebibytesThroughTinyBuffers(t *testing.T) {
	for where, size := range map[string]int{
		"unix:" + socketPath(t): 4 << 10,
		"127.0.0.1:0":           64 << 10, // with less, TCP waits for its acknowledgements
	} {
		network, addr, _ := start(t, where)
		c := dial(t, network, addr)
		buffers := c.(interface {
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		})
		if err := errors.Join(buffers.SetReadBuffer(size), buffers.SetWriteBuffer(size)); err != nil {
			t.Fatal(err)
		}
		exchange(t, c, 1, 64<<20, 8<<10)
	}
}

func TestManyClientsAtOnceGetTheirOwnBytes(t *testing.T) {
	network, addr, _ := start(t, "127.0.0.1:0")
	done := make(chan bool)
	const clients = 50
	for i := range clients {
		c := dial(t, network, addr)
		go func() {
			defer func() { done <- true }()
			exchange(t, c, uint64(i), 200_000+int64(i)*1001, 1000+i*97)
		}()
	}
	for range clients {
		<-done
	}
}

// A peer that sends and never reads costs the server one buffer: the server
// stops reading, so the peer gets stuck. The others do not notice.
func TestAPeerThatNeverReadsGetsStuck(t *testing.T) {
	network, addr, _ := start(t, "127.0.0.1:0")
	good := dial(t, network, addr)
	bad := dial(t, network, addr)
	junk := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	sent := 0
	hello := strings.Repeat("hello", 4<<10) // more than one read of the server takes
	for stuck := false; !stuck; {
		roundTrip(t, good, hello) // gives the server time to take more, if it would
		bad.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := bad.Write(junk[sent%16:]) // after part of a write, too
		sent += n
		stuck = n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if sent > 256<<20 {
			t.Fatalf("the server took %d bytes from a peer that does not read", sent)
		}
	}

	// What was taken is kept: it all comes back once the peer reads.
	bad.SetDeadline(testutil.Deadline())
	if err := bad.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(bad)
	if err != nil || len(got) != sent {
		t.Fatalf("%d bytes of %d came back: %v", len(got), sent, err)
	}
	for i, b := range got {
		if b != junk[i%16] {
			t.Fatalf("byte %d is %q, want %q", i, b, junk[i%16])
		}
	}
}

func TestHalfCloseGetsTheRestAndThenTheEnd(t *testing.T) {
	for _, where := range []string{"127.0.0.1:0", "unix:" + socketPath(t)} {
		network, addr, _ := start(t, where)
		c := dial(t, network, addr)
		msg := strings.Repeat("last words ", 10_000)
		go func() {
			io.WriteString(c, msg)
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != msg {
			t.Errorf("%s: %d bytes of %d, %v", network, len(got), len(msg), err)
		}
	}
}

func TestAResetConcernsOneClientOnly(t *testing.T) {
	network, addr, _ := start(t, "127.0.0.1:0")
	good := dial(t, network, addr)
	for range 50 {
		bad := dial(t, network, addr).(*net.TCPConn)
		bad.SetLinger(0)
		bad.SetWriteDeadline(time.Now().Add(time.Millisecond))
		bad.Write(make([]byte, 1<<20)) // so that the reset meets a rest, or a read, or neither
		bad.Close()
		roundTrip(t, good, "still there")
	}
}

func TestAByteAtATimeAndSilenceAreServed(t *testing.T) {
	network, addr, _ := start(t, "127.0.0.1:0")
	silent := dial(t, network, addr)
	c := dial(t, network, addr)
	for i := range 300 {
		roundTrip(t, c, string(rune('a'+i%26)))
	}
	roundTrip(t, silent, "at last")
}

func TestAddressInUseIsAnError(t *testing.T) {
	_, addr, _ := start(t, "127.0.0.1:0")
	err := serve(context.Background(), addr, "", io.Discard)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("serve on %s again: %v, want EADDRINUSE", addr, err)
	}
	path := "unix:" + socketPath(t)
	start(t, path)
	if err := serve(context.Background(), path, "", io.Discard); err == nil {
		t.Error("two servers at one unix path")
	}
}

func TestBadAddressesAreErrors(t *testing.T) {
	noLeak := testutil.NoLeak(t)
	for _, addr := range []string{"", "nonsense", "127.0.0.1:99999", "unix:" + strings.Repeat("x", 300), "unix:/nowhere/at/all"} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // should it be taken, it ends at once
		if err := serve(ctx, addr, "", io.Discard); err == nil {
			t.Errorf("%q was taken for an address", addr)
		}
	}
	noLeak()
}

func TestUnixSocketIsServedAndRemoved(t *testing.T) {
	path := socketPath(t)
	for range 2 { // the second finds what the first left, if anything
		network, addr, stop := start(t, "unix:"+path)
		roundTrip(t, dial(t, network, addr), "over a path")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket file is still there: %v", err)
		}
	}
}

func TestShutdownLeavesNothing(t *testing.T) {
	before, goroutines := len(testutil.OpenDescriptors()), runtime.NumGoroutine()
	network, addr, stop := start(t, "127.0.0.1:0")
	var conns []net.Conn
	for range 20 {
		c := dial(t, network, addr)
		roundTrip(t, c, "hello")
		conns = append(conns, c)
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a client of a server that ended reads %v, want EOF", err)
		}
		c.Close()
	}
	if c, err := net.Dial(network, addr); err == nil {
		c.Close()
		t.Error("somebody still listens")
	}
	if after := len(testutil.OpenDescriptors()); after > before {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
	testutil.GoroutinesComeTo(t, goroutines)
}

// The number of a client that has gone may be somebody else's when the server
// ends.
func TestShutdownClosesNobodyElsesDescriptor(t *testing.T) {
	network, addr, stop := start(t, "127.0.0.1:0")
	c := dial(t, network, addr)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %v, want EOF", err)
	}

	var mine []int
	for range 8 { // the lowest free numbers, with that of the client among them
		r, w, err := anet.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, r, w)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, fd := range mine {
		if err := anet.Close(fd); err != nil {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}

func socketPath(t testing.TB) string { return testutil.ShortDir(t) + "/s" }

func TestMain(m *testing.M) { testutil.Main(m) }

// Some tests need the server in a process of its own.
func init() {
	testutil.Child("serve", func() {
		os.Args = []string{"echo", "-addr", "127.0.0.1:0"}
		main()
	})
}
