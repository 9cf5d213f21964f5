package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

// gate is a GetCertificate that waits for clients that ask for "blocked.test".
type gate struct {
	asked chan *tls.ClientHelloInfo
	open  chan struct{}
	err   error // what it says once it is open
}

func newGate() *gate {
	return &gate{asked: make(chan *tls.ClientHelloInfo, 100), open: make(chan struct{})}
}

func (g *gate) config() *tls.Config {
	return &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == "blocked.test" {
			g.asked <- hello
			if <-g.open; g.err != nil {
				return nil, g.err
			}
		}
		cert := leaf()
		return &cert, nil
	}}
}

// blocked has a client begin a handshake that the gate stops.
func (g *gate) blocked(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c := dial(t, addr)
	config := clientConfig()
	config.ServerName = "blocked.test"
	done := make(chan bool)
	go func() {
		defer close(done)
		tls.Client(c, config).Handshake()
	}()
	t.Cleanup(func() { c.Close(); <-done })
	wait(t, g.asked, "GetCertificate")
	return c
}

// TestCallbackThatWaits has others served, though one token is all there is.
func TestCallbackThatWaits(t *testing.T) {
	r := newRig(t)
	g := newGate()
	addr := r.serve(g.config(), tlsstream.Limits{Computing: 1}, echo())
	var blocked []net.Conn
	for range 3 {
		blocked = append(blocked, g.blocked(t, addr))
	}
	for range 10 {
		exchange(t, dialTLS(t, addr, clientConfig()), "hello")
	}
	close(g.open)
	for _, c := range blocked {
		c.SetReadDeadline(testutil.Deadline())
	}
	exchange(t, dialTLS(t, addr, clientConfig()), "hello")
}

func TestCallbackThatPanics(t *testing.T) {
	for name, c := range map[string]struct {
		do func()
		is func(error) bool
	}{
		"Panic": {func() { panic("oh") }, func(err error) bool {
			var p *tlsstream.PanicError
			return errors.As(err, &p) && p.Value == "oh" && len(p.Stack) > 0
		}},
		"Goexit": {runtime.Goexit, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			config := serverConfig()
			bad := true
			config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				if bad {
					c.do()
				}
				return nil, nil
			}
			h, ended := ends()
			addr := r.serve(config, tlsstream.Limits{Handshakes: 1, Computing: 1}, h)
			conn := tls.Client(dial(t, addr), clientConfig())
			if err := conn.Handshake(); err == nil {
				t.Error("the handshake has succeeded")
			}
			conn.Close()
			if err := wait(t, ended, "Close"); !c.is(err) {
				t.Errorf("ended with %v", err)
			}
			bad = false
			exchange(t, dialTLS(t, addr, clientConfig()), "the slot and the token are free")
		})
	}
}

// TestSlotsAreGoroutines has a slot taken until the goroutine has ended, and not only
// as long as there is a connection.
func TestSlotsAreGoroutines(t *testing.T) {
	r := newRig(t)
	g := newGate()
	h, ended := ends()
	addr := r.serve(g.config(), tlsstream.Limits{Handshakes: 1}, h)
	gone := g.blocked(t, addr)
	gone.SetLinger(0)
	gone.Close()
	wait(t, ended, "Close")

	before := runtime.NumGoroutine()
	var waiting []*tls.Conn
	for range 5 {
		waiting = append(waiting, tls.Client(dial(t, addr), clientConfig()))
	}
	raw := dial(t, addr) // gives up while it waits
	raw.Write(clientHello())
	raw.CloseWrite()
	results := make(chan error, len(waiting))
	for _, c := range waiting {
		go func() { results <- c.Handshake() }()
	}
	r.do(func() {})
	if n := runtime.NumGoroutine(); n > before+len(waiting) {
		t.Errorf("%d goroutines, before %d and %d clients", n, before, len(waiting))
	}
	raw.Close()
	close(g.open)
	for range waiting {
		if err := wait(t, results, "a handshake"); err != nil {
			t.Error(err)
		}
	}
}

// TestGivingUpLeavesTheQueue has clients reset while they wait.
func TestGivingUpLeavesTheQueue(t *testing.T) {
	r := newRig(t)
	g := newGate()
	h, ended := ends()
	var conns []*stream.Conn
	e := must(tlsstream.Server(g.config(), tlsstream.Limits{Handshakes: 1}))
	var addr string
	r.do(func() {
		addr = must(r.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: func(c *stream.Conn) stream.Layer {
			conns = append(conns, c)
			return e.Layer(c)
		}}, h)).Addr()
	})
	g.blocked(t, addr)
	for range 10 {
		dial(t, addr).Write(clientHello())
	}
	until(t, "a queue of ten", func() bool { return e.Waiting() == 10 })
	r.do(func() {
		for _, c := range conns[2:] {
			c.Abort()
		}
	})
	for range 9 {
		wait(t, ended, "Close")
	}
	if n := e.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
	// The last one gives up when its turn has come, and it does not know yet.
	r.do(func() {
		g.err = errors.New("no certificate")
		close(g.open)
		until(t, "its turn", func() bool { return e.Waiting() == 0 })
		conns[1].Abort()
	})
	exchange(t, dialTLS(t, addr, clientConfig()), "the slot is free")
}

// TestTokensAreForComputing has clients stop in the middle of a handshake, where it
// waits for them.
func TestTokensAreForComputing(t *testing.T) {
	r := newRig(t)
	e := must(tlsstream.Server(serverConfig(), tlsstream.Limits{Computing: 1}))
	addr := r.listen(e, echo())
	for range 3 {
		c := dial(t, addr)
		c.Write(clientHello())
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the token", func() bool { return e.Computing() == 0 })
}

// TestTokensAreCounted has many handshakes compute, two at once.
func TestTokensAreCounted(t *testing.T) {
	r := newRig(t)
	var e *tlsstream.Endpoint
	var most atomic.Int64
	config := serverConfig()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		most.Store(max(most.Load(), int64(e.Computing())))
		return nil, nil
	}
	e = must(tlsstream.Server(config, tlsstream.Limits{Computing: 2}))
	addr := r.listen(e, echo())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c := tls.Client(dial(t, addr), clientConfig())
			if err := c.Handshake(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n < 1 || n > 2 {
		t.Errorf("%d compute at once", n)
	}
}

// TestLongHello is for a ClientHello that is longer than what may wait.
func TestLongHello(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		for i := range 150 {
			client.NextProtos = append(client.NextProtos, fmt.Sprintf("%0255d", i))
		}
		server.NextProtos = client.NextProtos[140:]
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, echo()), client)
		exchange(t, c, "hello")
		if p := c.ConnectionState().NegotiatedProtocol; p != client.NextProtos[140] {
			t.Errorf("agreed on %q", p)
		}
	})
}

// TestWaitingTimesOut is for clients whose turn does not come.
func TestWaitingTimesOut(t *testing.T) {
	r := newRig(t)
	g := newGate()
	defer close(g.open)
	h, ended := ends()
	addr := r.serve(g.config(), tlsstream.Limits{Handshakes: 1, Timeout: 100 * time.Millisecond}, h)
	g.blocked(t, addr)
	dial(t, addr).Write(clientHello())
	for range 2 {
		if err := wait(t, ended, "Close"); err != stream.ErrTimeout {
			t.Errorf("ended with %v", err)
		}
	}
}

// TestContextEndsWithTheConnection lets a callback notice that nobody waits any more.
func TestContextEndsWithTheConnection(t *testing.T) {
	r := newRig(t)
	asked := make(chan context.Context, 1)
	config := serverConfig()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- hello.Context()
		<-hello.Context().Done()
		return nil, hello.Context().Err()
	}
	h, ended := ends()
	addr := r.serve(config, tlsstream.Limits{}, h)
	for _, end := range []func(c *net.TCPConn){
		func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		func(*net.TCPConn) {
			r.do(func() { r.l.Close() })
		},
	} {
		c := dial(t, addr)
		c.Write(clientHello())
		ctx := wait(t, asked, "the callback")
		end(c)
		wait(t, ended, "Close")
		wait(t, ctx.Done(), "the context")
	}
}

// TestEndDuringAHandshake ends connections, and the loop, while the goroutine runs on;
// what it does then must not reach the descriptor's next owner.
func TestEndDuringAHandshake(t *testing.T) {
	r := newRig(t)
	g := newGate()
	var conns []*stream.Conn
	h, ended := ends()
	e := must(tlsstream.Server(g.config(), tlsstream.Limits{}))
	var addr string
	r.do(func() {
		ln := must(r.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: func(c *stream.Conn) stream.Layer {
			conns = append(conns, c)
			return e.Layer(c)
		}}, h))
		addr = ln.Addr()
	})
	for range 10 {
		g.blocked(t, addr)
	}
	fds := map[int]bool{}
	r.do(func() {
		for i, c := range conns {
			fds[c.FD()] = true
			if i%2 == 0 {
				c.Abort()
			} else {
				c.Close() // nothing was written: at once
			}
		}
	})
	for range conns {
		wait(t, ended, "Close")
	}
	// Others get the numbers, and see nothing of what the goroutines still do.
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	reused := 0
	var others []*stream.Conn
	var peers []net.Conn
	for range 20 {
		peers = append(peers, dial(t, ln.Addr().String()))
		other := must(ln.Accept()).(*net.TCPConn)
		r.do(func() { others = append(others, adopt(t, r.l, other, echo())) })
		other.Close()
	}
	r.do(func() {
		for _, c := range others {
			if fds[c.FD()] {
				reused++
			}
		}
	})
	if reused == 0 {
		t.Error("no number came back: nothing was tested")
	}
	goroutines := runtime.NumGoroutine()
	close(g.open)
	testutil.GoroutinesComeTo(t, goroutines-10)
	for _, c := range peers {
		exchange(t, c, "undisturbed")
	}
}

// TestLoopEndsDuringHandshakes closes it with goroutines in a callback, and others that
// wait for input or their turn.
func TestLoopEndsDuringHandshakes(t *testing.T) {
	r := newRig(t)
	g := newGate()
	h, ended := ends()
	addr := r.serve(g.config(), tlsstream.Limits{Handshakes: 6}, h)
	for range 3 {
		g.blocked(t, addr)
	}
	for range 6 {
		c := dial(t, addr)
		c.Write(clientHello())
	}
	r.do(func() {})
	r.stop()
	for range 9 {
		if err := wait(t, ended, "Close"); !errors.Is(err, stream.ErrShutdown) {
			t.Errorf("ended with %v", err)
		}
	}
	close(g.open)
}

// TestLoopIsForgotten has goroutines end by themselves when their loop was closed and
// nobody has closed what was on it.
func TestLoopIsForgotten(t *testing.T) {
	before := runtime.NumGoroutine()
	el := must(ae.New(1000))
	l := stream.On(el)
	e := must(tlsstream.Server(serverConfig(), tlsstream.Limits{Timeout: time.Millisecond}))
	ln := must(l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: e.Layer}, echo()))
	c := dial(t, ln.Addr())
	c.Write(clientHello())
	for end := testutil.Deadline(); runtime.NumGoroutine() == before; {
		el.ProcessEvents(ae.FileEvents | ae.CallBeforeSleep | ae.DontWait)
		if time.Now().After(end) {
			t.Fatal("no handshake")
		}
	}
	if err := el.Close(); err != nil {
		t.Error(err)
	}
	testutil.GoroutinesComeTo(t, before)
	l.Close()
}

// TestInputOfAHandshakeIsBounded sends much behind a ClientHello that waits for its
// turn. It is not read, and not lost.
func TestInputOfAHandshakeIsBounded(t *testing.T) {
	for _, handshakes := range []int{1, 2} { // waits for a slot, or has one and waits in a callback
		t.Run(fmt.Sprint(handshakes), func(t *testing.T) {
			r := newRig(t)
			g := newGate()
			addr := r.serve(g.config(), tlsstream.Limits{Handshakes: handshakes}, echo())
			if handshakes == 1 {
				g.blocked(t, addr)
			}
			config := clientConfig()
			config.ServerName = "blocked.test"
			c := dial(t, addr)
			hello := helloFor(config)
			c.Write(hello)
			if handshakes == 2 {
				wait(t, g.asked, "GetCertificate")
			}
			c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n := 0
			for junk := make([]byte, 64<<10); n < 64<<20; {
				m, err := c.Write(junk)
				if n += m; err != nil {
					break
				}
			}
			if n >= 64<<20 {
				t.Error("64 MiB were read in front of a handshake")
			}
			close(g.open)
		})
	}
}

// TestChurn has clients come and go in every state, and others be served meanwhile.
func TestChurn(t *testing.T) {
	r := newRig(t)
	addr := r.serve(serverConfig(), tlsstream.Limits{Handshakes: 8, Timeout: testutil.Patience}, echo())
	n := 50
	if testutil.Long() {
		n = 1000
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range n {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(testutil.Deadline())
				left := rnd.IntN(4000)
				if rnd.IntN(3) == 0 {
					left = 1 << 20
				}
				c := tls.Client(&cutOff{Conn: conn, left: left, chop: rnd}, clientConfig())
				if _, err := io.WriteString(c, "hello"); err == nil {
					got := make([]byte, 5)
					if _, err := io.ReadFull(c, got); left == 1<<20 && (err != nil || string(got) != "hello") {
						t.Errorf("%q, %v", got, err)
					}
				}
				if rnd.IntN(2) == 0 {
					conn.(*net.TCPConn).SetLinger(0)
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	r.do(func() {}) // the rig sees to what is left
}

// cutOff is a client's socket that writes in random pieces, and ends after so many
// bytes.
type cutOff struct {
	net.Conn
	left int
	chop *rand.Rand
}

func (c *cutOff) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if c.left <= 0 {
			return n, errors.New("cut off")
		}
		m, err := c.Conn.Write(p[n:min(len(p), n+1+c.chop.IntN(1000), n+c.left)])
		n, c.left = n+m, c.left-m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
