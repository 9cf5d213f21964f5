package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// running is a Group that runs.
type running struct {
	*stream.Group
	ln     *stream.Listener
	stop   context.CancelFunc
	result chan any // what Run returned, or panicked with
}

// group runs a Group of n loops that listens on the row's network.
func (e *env) group(n int, cfg stream.ListenConfig, prepare func(g *stream.Group), handler func(l *stream.Loop) *stream.Handler) *running {
	e.Helper()
	g, err := stream.NewGroup(n)
	e.must(err)
	if prepare != nil {
		prepare(g)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Group: g, stop: stop, result: make(chan any, 1)}
	ln, err := g.Listen(e.network, e.address(), cfg, handler)
	if err != nil {
		stop()
		g.Run(ctx, 0)
		if errors.Is(err, errors.ErrUnsupported) {
			e.Skip(err)
		}
		e.Fatal(err)
	}
	r.ln = ln
	go func() {
		defer func() {
			if v := recover(); v != nil {
				r.result <- v
			}
		}()
		r.result <- g.Run(ctx, 200*time.Millisecond)
	}()
	return r
}

// end stops the group and waits for Run's result.
func (e *env) end(r *running) any {
	e.Helper()
	r.stop()
	select {
	case v := <-r.result:
		return v
	case <-time.After(testutil.Patience):
		e.Fatal("Run does not end")
		return nil
	}
}

// client is an echo client of package net.
func (e *env) client(r *running) net.Conn {
	e.Helper()
	c, err := net.DialTimeout(e.network, r.ln.Addr(), testutil.Patience)
	e.must(err)
	c.SetDeadline(testutil.Deadline())
	return c
}

func (e *env) echo(c net.Conn) {
	e.Helper()
	_, err := io.WriteString(c, "echo")
	e.must(err)
	_, err = io.ReadFull(c, make([]byte, 4))
	e.must(err)
}

// atRest returns the loops of a Group that does not run, and its listener.
func (e *env) atRest(n int, choose func(netip.AddrPort) int) ([]*stream.Loop, *stream.Listener) {
	e.Helper()
	g, err := stream.NewGroup(n)
	e.must(err)
	g.Choose = choose
	ln, err := g.Listen(e.network, e.address(), stream.ListenConfig{}, func(*stream.Loop) *stream.Handler { return echoHandler })
	e.must(err)
	e.Cleanup(func() {
		for _, l := range g.Loops() {
			l.Close()
			l.EventLoop().Close()
		}
	})
	return g.Loops(), ln
}

var groupPromises = []promise{
	{"FewestConnections", "each connection goes to the loop with the fewest, of equals each in turn, and the counts are exact", both, func(e *env) {
		r := e.group(3, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler { return echoHandler })
		var clients []net.Conn
		for range 9 {
			c := e.client(r)
			e.echo(c)
			clients = append(clients, c)
		}
		for i, l := range r.Loops() {
			if l.Len() != 3 {
				e.Errorf("loop %d has %d of 9 connections", i, l.Len())
			}
		}
		for _, c := range clients {
			c.Close()
		}
		for deadline := testutil.Deadline(); r.ln.Len() > 0 && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		if v := e.end(r); v != nil {
			e.Errorf("Run: %v", v)
		}
		if r.ln.Len() != 0 {
			e.Errorf("%d connections are counted", r.ln.Len())
		}
	}},
	{"CountsAtTheDecision", "a connection counts for its loop from the moment at which that is chosen, and when it has ended no longer", both, func(e *env) {
		loops, ln := e.atRest(3, nil)
		var clients []int
		for range 9 {
			clients = append(clients, e.connect(ln.Addr()))
		}
		untilOn(e, loops[0].EventLoop(), "all", func() bool { return ln.Len() == 9 })
		for i, l := range loops {
			if l.Len() != 3 {
				e.Errorf("loop %d has %d of 9 connections", i, l.Len())
			}
		}
		for _, c := range clients {
			testutil.CloseNow(e, c)
		}
		for i, l := range loops {
			untilOn(e, l.EventLoop(), "the ends", func() bool { return l.Len() == 0 })
			if want := 6 - 3*i; ln.Len() != want {
				e.Errorf("the listener counts %d, want %d", ln.Len(), want)
			}
		}

		var served [3]int
		for range 6 {
			c := e.connect(ln.Addr())
			untilOn(e, loops[0].EventLoop(), "one", func() bool { return ln.Len() == 1 })
			testutil.CloseNow(e, c)
			for i, l := range loops {
				if l.Len() == 1 {
					served[i]++
					untilOn(e, l.EventLoop(), "its end", func() bool { return ln.Len() == 0 })
				}
			}
		}
		if served != [3]int{2, 2, 2} {
			e.Errorf("of equal loops each has not had its turn: %v", served)
		}
	}},
	{"HandOverToTheDead", "a hand-over to a loop that has ended closes the connection and counts it as lost", both, func(e *env) {
		loops, ln := e.atRest(2, func(netip.AddrPort) int { return 1 })
		loops[1].Close()
		e.must(loops[1].EventLoop().Close())
		c := e.connect(ln.Addr())
		untilOn(e, loops[0].EventLoop(), "the loss", func() bool { return ln.Lost() == 1 })
		if _, end := e.receiveAll(c); end == nil || ln.Len() != 0 || loops[1].Len() != 0 {
			e.Errorf("%v; the listener counts %d, the loop %d", end, ln.Len(), loops[1].Len())
		}
	}},
	{"HandlersShareNothing", "each loop has the Handler that was made for it", both, func(e *env) {
		var wrong atomic.Int64
		r := e.group(3, stream.ListenConfig{}, nil, func(l *stream.Loop) *stream.Handler {
			return &stream.Handler{Data: func(c *stream.Conn, p []byte) int {
				if c.Loop() != l {
					wrong.Add(1)
				}
				c.Write(p)
				return len(p)
			}}
		})
		for range 6 {
			c := e.client(r)
			e.echo(c)
			defer c.Close()
		}
		e.end(r)
		if wrong.Load() != 0 {
			e.Errorf("%d calls on another loop", wrong.Load())
		}
	}},
	{"Choose", "Choose picks the loop", tcpOnly, func(e *env) {
		r := e.group(3, stream.ListenConfig{}, func(g *stream.Group) {
			g.Choose = func(peer netip.AddrPort) int { return 2 }
		}, func(*stream.Loop) *stream.Handler { return echoHandler })
		c := e.client(r)
		e.echo(c)
		if n := r.Loops()[2].Len(); n != 1 {
			e.Errorf("%d connections", n)
		}
		c.Close()
		e.end(r)
	}},
	{"ReusePort", "with ReusePort each loop accepts for itself, and all are served", tcpOnly, func(e *env) {
		cfg := stream.ListenConfig{}
		cfg.ReusePort = true
		r := e.group(2, cfg, nil, func(*stream.Loop) *stream.Handler { return echoHandler })
		for range 20 {
			c := e.client(r)
			e.echo(c)
			c.Close()
		}
		if v := e.end(r); v != nil {
			e.Errorf("Run: %v", v)
		}
	}},
	{"DrainsAll", "the end of Run tells every connection on every loop, and loses nothing", both, func(e *env) {
		r := e.group(3, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler {
			return &stream.Handler{
				Data:     func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) },
				Shutdown: func(c *stream.Conn) { c.Write([]byte("bye")); c.Close() },
			}
		})
		var clients []net.Conn
		for range 7 {
			c := e.client(r)
			e.echo(c)
			clients = append(clients, c)
		}
		for range 3 {
			clients = append(clients, e.client(r)) // some in the backlog
		}
		r.stop()
		for i, c := range clients {
			if s, err := io.ReadAll(c); string(s) != "bye" || err != nil {
				e.Errorf("%d: %q, %v", i, s, err)
			}
			c.Close()
		}
		if v := e.end(r); v != nil {
			e.Errorf("Run: %v", v)
		}
	}},
	{"GraceEnds", "connections that do not end are cut off after the grace", both, func(e *env) {
		var closed atomic.Int64
		r := e.group(2, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler {
			h := *echoHandler
			h.Close = func(_ *stream.Conn, err error) {
				if err == stream.ErrShutdown {
					closed.Add(1)
				}
			}
			return &h
		})
		for range 4 {
			c := e.client(r)
			e.echo(c)
			defer c.Close()
		}
		e.end(r)
		if closed.Load() != 4 {
			e.Errorf("%d of 4 ended with ErrShutdown", closed.Load())
		}
	}},
	{"PanicEndsTheGroup", "a panic on one loop ends the group, and is Run's panic", both, func(e *env) {
		for _, where := range []string{"Data", "Close at the end"} {
			r := e.group(2, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler {
				return &stream.Handler{
					Data: func(c *stream.Conn, p []byte) int {
						if where == "Data" {
							panic("on purpose")
						}
						c.Write(p)
						return len(p)
					},
					Close: func(*stream.Conn, error) {
						if where != "Data" {
							panic("on purpose")
						}
					},
				}
			})
			c := e.client(r)
			c2 := e.client(r)
			io.WriteString(c, "boom")
			if where != "Data" {
				io.ReadFull(c, make([]byte, 4))
				e.echo(c2)
				r.stop()
			}
			select {
			case v := <-r.result:
				if v != "on purpose" {
					e.Errorf("%s: Run: %v", where, v)
				}
			case <-time.After(testutil.Patience):
				e.Fatalf("%s: Run does not end", where)
			}
			c.Close()
			c2.Close()
			r.stop()
		}
	}},
	{"StopEndsTheGroup", "a loop that is stopped ends the group, without error; so does one that was shut down by hand", both, func(e *env) {
		for _, how := range []string{"Stop", "Shutdown"} {
			r := e.group(2, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler { return echoHandler })
			c := e.client(r)
			e.echo(c)
			l := r.Loops()[1]
			if how == "Stop" {
				l.EventLoop().Stop()
			} else {
				e.must(l.EventLoop().Post(func(*ae.EventLoop) { l.Shutdown(time.Millisecond, nil) }))
				r.stop()
			}
			select {
			case v := <-r.result:
				if v != nil {
					e.Errorf("%s: Run: %v", how, v)
				}
			case <-time.After(testutil.Patience):
				e.Fatalf("%s: Run does not end", how)
			}
			c.Close()
			r.stop()
			if err := r.Run(context.Background(), 0); !errors.Is(err, ae.ErrClosed) {
				e.Errorf("%s: a second Run: %v", how, err)
			}
		}
	}},
	{"HandOverStorm", "hand-overs that cross the end of loops lose no descriptor, and end", both, func(e *env) {
		for round := range 4 {
			r := e.group(3, stream.ListenConfig{}, nil, func(*stream.Loop) *stream.Handler { return echoHandler })
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						c, err := net.DialTimeout(e.network, r.ln.Addr(), testutil.Patience)
						if err == nil {
							io.WriteString(c, "x")
							c.Close()
						}
					}
				})
			}
			// The last loop ends by itself, under load, in a moment of its choosing.
			victim := r.Loops()[2].EventLoop()
			n := 0
			victim.Post(func(*ae.EventLoop) {
				victim.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
					if n++; n > 20*round {
						if round%2 == 0 {
							victim.Stop()
						} else {
							victim.Close()
						}
						return ae.NoMore
					}
					return 0
				})
			})
			select {
			case <-r.result:
			case <-time.After(testutil.Patience):
				e.Fatal("Run does not end")
			}
			close(stop)
			wg.Wait()
			r.stop()
			if n := r.ln.Len(); n != 0 {
				e.Errorf("round %d: %d connections are counted, %d lost", round, n, r.ln.Lost())
			}
		}
	}},
	{"BadGroups", "a group of no loops, a nil or bad Handler and a bad address are errors, and leave nothing", tcpOnly, func(e *env) {
		if _, err := stream.NewGroup(0); !errors.Is(err, unix.EINVAL) {
			e.Errorf("NewGroup(0): %v", err)
		}
		if _, err := stream.NewGroup(-3); !errors.Is(err, unix.EINVAL) {
			e.Errorf("NewGroup(-3): %v", err)
		}
		g, err := stream.NewGroup(2)
		e.must(err)
		ok := func(*stream.Loop) *stream.Handler { return echoHandler }
		cfg := stream.ListenConfig{}
		cfg.ReusePort = true
		if _, err := g.Listen("tcp", "127.0.0.1:0", cfg, func(*stream.Loop) *stream.Handler { return nil }); !errors.Is(err, unix.EINVAL) {
			e.Errorf("nil Handler: %v", err)
		}
		if _, err := g.Listen("tcp", "nonsense", cfg, ok); err == nil {
			e.Error("bad address: no error")
		}
		if !e.panicsNow(func() { g.Listen("tcp", "127.0.0.1:0", cfg, nil) }) {
			e.Error("nil func: no panic")
		}
		ctx, stop := context.WithCancel(context.Background())
		stop()
		e.must(g.Run(ctx, 0))
	}},
}
