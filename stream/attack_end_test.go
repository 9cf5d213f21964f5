package stream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
)

// Loop.Close in each callback: it comes back, and every connection's Close is
// called once, that of the one whose callback it was included.
func TestLoopCloseInsideCallbacks(t *testing.T) {
	for name, set := range map[string]func(h *Handler, stop func(*Conn)){
		"Open":     func(h *Handler, stop func(*Conn)) { h.Open = stop },
		"Data":     func(h *Handler, stop func(*Conn)) { h.Data = func(c *Conn, p []byte) int { stop(c); return 0 } },
		"EOF":      func(h *Handler, stop func(*Conn)) { h.EOF = stop },
		"Drained":  func(h *Handler, stop func(*Conn)) { h.High, h.Drained = 1, stop },
		"Idled":    func(h *Handler, stop func(*Conn)) { h.Idle, h.Idled = 1, stop },
		"Shutdown": func(h *Handler, stop func(*Conn)) { h.Shutdown = stop },
		"Close":    func(h *Handler, stop func(*Conn)) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			closes := map[*Conn]int{}
			armed := false
			stop := func(c *Conn) {
				if armed {
					armed = false
					r.within("Loop.Close", r.l.Close)
				}
			}
			h := &Handler{Data: allOf}
			set(h, stop)
			h.Close = func(c *Conn, err error) {
				closes[c]++
				if name == "Close" {
					stop(c)
				}
			}
			var peers []int
			for range 3 {
				a, b, err := anet.SocketPair()
				if err != nil {
					t.Fatal(err)
				}
				armed = name == "Open"
				peers = append(peers, r.own(b))
				if _, err := r.l.Adopt(a, h); err != nil {
					t.Fatal(err)
				}
			}
			for c := range r.l.All() {
				if name != "Drained" {
					continue
				}
				anet.SetSendBuffer(c.FD(), 1)
				c.Write(make([]byte, 1<<20))
			}
			armed = true
			for _, peer := range peers {
				r.send(peer, "abc")
				if name == "EOF" {
					anet.CloseWrite(peer)
				}
			}
			if name == "Shutdown" {
				r.l.Shutdown(time.Hour, nil)
			}
			if name == "Close" {
				for c := range r.l.All() {
					c.Abort()
				}
			}
			r.until("Loop.Close", func() bool {
				for _, peer := range peers {
					r.received(peer)
				}
				return !armed
			})
			r.settled()
			if len(closes) != 3 || r.l.Len() != 0 {
				t.Errorf("Close was called for %d connections, Len is %d", len(closes), r.l.Len())
			}
			for _, n := range closes {
				if n != 1 {
					t.Errorf("Close was called %d times for one connection", n)
				}
			}
		})
	}
}

// A callback may run the loop until what it wrote was answered.
func TestOpenRunsTheLoopUntilItIsAnswered(t *testing.T) {
	r := newRig(t)
	ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{
		Data: func(c *Conn, p []byte) int { c.Write(p); return len(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	c := r.l.Dial("tcp", ln.Addr(), rigPatience, &Handler{
		Open: func(c *Conn) {
			c.Write([]byte("hello"))
			r.until("the echo", func() bool { return got == "hello" })
			got += "!"
		},
		Data: func(c *Conn, p []byte) int { got += string(p); return len(p) },
	})
	r.until("Open", func() bool { return got == "hello!" })
	c.Abort()
}

// Data may run the loop until its output is gone.
func TestDataRunsTheLoopUntilItsOutputIsGone(t *testing.T) {
	r := newRig(t)
	finished, got := false, 0
	c, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		c.Write(make([]byte, 4<<20))
		r.until("output", func() bool {
			for i := 0; i < 100; i++ {
				s, _ := r.received(c.Data.(int))
				got += len(s)
			}
			return c.Queued() == 0
		})
		finished = true
		return len(p)
	}})
	c.Data = peer
	r.send(peer, "go")
	r.until("Data", func() bool { return finished })
	if s, _ := r.received(peer); got+len(s) != 4<<20 {
		t.Errorf("%d bytes came", got+len(s))
	}
}

// A panic in one callback of the shutdown loses neither the others nor its end.
func TestShutdownGoesOnAfterAPanic(t *testing.T) {
	for _, where := range []string{"Open", "Shutdown"} {
		t.Run(where, func(t *testing.T) {
			r := newRig(t)
			opened, shut, panicked := 0, 0, false
			boom := func(s string) {
				if s == where && !panicked {
					panicked = true
					panic(where)
				}
			}
			h := &Handler{
				Open:     func(c *Conn) { opened++; boom("Open") },
				Data:     allOf,
				Shutdown: func(c *Conn) { shut++; c.Close(); boom("Shutdown") },
				Linger:   time.Millisecond,
			}
			ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, h)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				peer, err := anet.Connect("tcp", ln.Addr())
				if err != nil {
					t.Fatal(err)
				}
				r.own(peer)
			}
			// Accepted within drain: no iteration has seen them.
			done := false
			r.l.Shutdown(time.Hour, func() { done = true })
			func() {
				defer func() {
					if got := recover(); got != where {
						t.Errorf("panic %v", got)
					}
				}()
				r.l.el.ProcessEvents(rigLook &^ ae.FileEvents)
			}()
			r.until("done", func() bool { return done })
			if opened != 3 || shut != 3 {
				t.Errorf("%d were opened, %d shut down", opened, shut)
			}
			if ln.Len() != 0 {
				t.Errorf("the listener counts %d", ln.Len())
			}
		})
	}
}

// A dial that answers when the loop shuts down already hears of it.
func TestShutdownReachesADialUnderWay(t *testing.T) {
	r := newRig(t)
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.own(ln)
	var calls []string
	r.l.Dial("tcp", anet.LocalString(ln), rigPatience, &Handler{
		Open:     func(c *Conn) { calls = append(calls, "Open") },
		Shutdown: func(c *Conn) { calls = append(calls, "Shutdown"); c.Close() },
		Close:    func(c *Conn, err error) { calls = append(calls, "Close") },
		Linger:   time.Millisecond,
	})
	done := false
	r.l.Shutdown(time.Hour, func() { done = true })
	r.el.ProcessEvents(ae.TimeEvents | ae.DontWait) // drain comes before the answer
	r.until("done", func() bool { return done })
	if got := strings.Join(calls, " "); got != "Open Shutdown Close" {
		t.Errorf("calls %s", got)
	}
}

// groupRig runs a Group of n loops until the test cancels.
type groupRig struct {
	*Group
	cancel context.CancelFunc
	ended  chan any // what Run returned, or panicked with
}

func startGroup(t *testing.T, n int, grace time.Duration, setUp func(g *Group)) *groupRig {
	t.Helper()
	g, err := NewGroup(n)
	if err != nil {
		t.Fatal(err)
	}
	setUp(g)
	ctx, cancel := context.WithCancel(context.Background())
	r := &groupRig{g, cancel, make(chan any, 1)}
	go func() {
		defer func() {
			if v := recover(); v != nil {
				r.ended <- v
			}
		}()
		r.ended <- g.Run(ctx, grace)
	}()
	t.Cleanup(cancel)
	return r
}

func (g *groupRig) wait(t *testing.T) any {
	t.Helper()
	select {
	case v := <-g.ended:
		for i, l := range g.loops {
			if n := l.Len(); n != 0 {
				t.Errorf("loop %d counts %d", i, n)
			}
		}
		return v
	case <-time.After(rigPatience):
		buf := make([]byte, 1<<20)
		t.Fatalf("Run does not end:\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// A loop panics while a connection is on its way to it.
func TestAGroupEndsThoughAConnectionIsOnItsWayToALoopThatPanics(t *testing.T) {
	var ln *Listener
	g := startGroup(t, 2, time.Second, func(g *Group) {
		g.Choose = func(netip.AddrPort) int { return 1 }
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(c *Conn) {
				for deadline := time.Now().Add(rigPatience); ln.Len() < 3 && time.Now().Before(deadline); {
					runtime.Gosched()
				}
				panic("Open")
			}}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if v := g.wait(t); v != "Open" {
		t.Errorf("Run ended with %v", v)
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
}

func TestAPanicWhileAGroupDrainsIsNotSilent(t *testing.T) {
	var ln *Listener
	opened := make(chan bool, 1)
	g := startGroup(t, 2, time.Second, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { opened <- true }, Shutdown: func(*Conn) { panic("Shutdown") }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	c, err := net.Dial("tcp", ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-opened
	g.cancel()
	if v := g.wait(t); v != "Shutdown" {
		t.Errorf("Run ended with %v", v)
	}
}

// Every Close panics: the descriptors are closed nevertheless, and counted.
func TestAGroupWhoseCloseCallbacksPanicLeavesNothing(t *testing.T) {
	before := descriptors()
	var ln *Listener
	opened := make(chan bool, 8)
	g := startGroup(t, 2, 0, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { opened <- true }, Close: func(*Conn, error) { panic("Close") }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	var clients []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
		<-opened
	}
	g.cancel()
	if v := g.wait(t); v != "Close" {
		t.Errorf("Run ended with %v", v)
	}
	for _, c := range clients {
		c.Close()
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func TestAGroupEndsThoughALoopWasShutDownAlready(t *testing.T) {
	for _, finished := range []bool{false, true} {
		t.Run(fmt.Sprint(finished), func(t *testing.T) {
			g := startGroup(t, 2, time.Second, func(*Group) {})
			down := make(chan bool, 1)
			g.loops[1].el.Post(func(*ae.EventLoop) {
				g.loops[1].Shutdown(0, func() { down <- true })
				if !finished {
					g.cancel()
				}
			})
			if finished {
				<-down
				g.cancel()
			}
			if v := g.wait(t); v != nil {
				t.Errorf("Run ended with %v", v)
			}
			if !finished {
				<-down
			}
		})
	}
}

// One of several listeners is closed by a callback of the drain.
func TestAListenerThatIsClosedWhileTheLoopDrains(t *testing.T) {
	r := newRig(t)
	opened := 0
	for range 2 {
		var ln *Listener
		ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{Open: func(*Conn) { opened++; ln.Close() }})
		if err != nil {
			t.Fatal(err)
		}
		peer, err := anet.Connect("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		r.own(peer)
	}
	r.l.acceptRest()
	if opened != 2 || len(r.l.lns) != 0 {
		t.Errorf("%d of 2 were accepted, %d listeners are left", opened, len(r.l.lns))
	}
}

func TestChooseThatPanicsLeavesNoDescriptor(t *testing.T) {
	before := descriptors()
	var ln *Listener
	g := startGroup(t, 2, time.Second, func(g *Group) {
		g.Choose = func(netip.AddrPort) int { panic("Choose") }
		var err error
		if ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler { return &Handler{Data: allOf} }); err != nil {
			t.Fatal(err)
		}
	})
	c, err := net.Dial("tcp", ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if v := g.wait(t); v != "Choose" {
		t.Errorf("Run ended with %v", v)
	}
	c.Close()
	if after := descriptors(); after > before || ln.Len() != 0 {
		t.Errorf("%d descriptors, before %d; the listener counts %d", after, before, ln.Len())
	}
}

// runtime.Goexit in a callback ends the goroutine of its loop. The others end too.
func TestAGroupEndsWithGoexit(t *testing.T) {
	var ln *Listener
	g := startGroup(t, 2, 0, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { runtime.Goexit() }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if c, err := net.Dial("tcp", ln.Addr()); err == nil { // it may be reset by then
		defer c.Close()
	}
	if v, _ := g.wait(t).(error); v == nil {
		t.Error("Run says nothing of it")
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
}
