package stream

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// Whoever hands a connection over in a callback must not find the old loop at work
// on it afterwards: the other may run already. Here it does not run, and what the
// old loop does shows.
func TestMoveToInsideCallbacks(t *testing.T) {
	for name, set := range map[string]func(h *Handler, move func(*Conn)){
		"Open":     func(h *Handler, move func(*Conn)) { h.Open = move },
		"EOF":      func(h *Handler, move func(*Conn)) { h.EOF = move },
		"Drained":  func(h *Handler, move func(*Conn)) { h.High, h.Drained = 1, move },
		"Idled":    func(h *Handler, move func(*Conn)) { h.Idle, h.Idled = time.Millisecond, move },
		"Shutdown": func(h *Handler, move func(*Conn)) { h.Shutdown = move },
	} {
		t.Run(name, func(t *testing.T) {
			from, to := newRig(t), newRig(t)
			moved := false
			h := &Handler{Data: allOf}
			set(h, func(c *Conn) {
				if moved {
					return
				}
				moved = true
				c.Write([]byte("hello"))
				if err := c.MoveTo(to.l); err != nil {
					t.Error(err)
				}
			})
			a, peer, err := anet.SocketPair()
			if err != nil {
				t.Fatal(err)
			}
			from.own(peer)
			c := from.adopt(a, h)
			switch name {
			case "EOF":
				anet.CloseWrite(peer)
			case "Drained":
				anet.SetSendBuffer(a, 1)
				c.Write(make([]byte, 1<<20))
				from.settled()
			case "Shutdown":
				from.l.Shutdown(time.Hour, nil)
			}
			from.until("MoveTo", func() bool {
				aetest.Receive(peer)
				return moved
			})
			from.settled()
			if to.el.FileEvents(a) != ae.None {
				t.Error("the old loop has registered something with the new one")
			}
			if n := len(to.l.work) + len(from.l.work); n > 0 {
				t.Errorf("%d entries of work", n)
			}
			if from.l.Len() != 0 {
				t.Errorf("the old loop counts %d", from.l.Len())
			}

			got := ""
			to.until("output", func() bool {
				s, _ := aetest.Receive(peer)
				got += s
				return strings.HasSuffix(got, "hello")
			})
			if to.l.Len() != 1 {
				t.Errorf("the new loop counts %d", to.l.Len())
			}
		})
	}
}

func TestMoveToInsideOpenOfAnAcceptedConnection(t *testing.T) {
	from, to := newRig(t), newRig(t)
	var c *Conn
	ln, err := from.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{
		Open: func(o *Conn) {
			c = o
			c.Write([]byte("hello"))
			c.Pause() // which there is nobody left to see
			c.MoveTo(to.l)
		},
		Data: allOf,
	})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := anet.Connect("tcp", ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	from.own(peer)
	from.until("Open", func() bool { return c != nil })
	from.settled()
	if to.el.FileEvents(c.FD()) != ae.None {
		t.Error("the old loop has registered something with the new one")
	}
	got := ""
	to.until("output", func() bool {
		s, _ := aetest.Receive(peer)
		got += s
		return got == "hello"
	})
	c.Abort()
	to.settled()
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
}

func TestMoveToALoopThatEndsBeforeItArrives(t *testing.T) {
	from, to := newRig(t), newRig(t)
	var end error
	var calls int
	c, peer := from.pair(&Handler{Data: allOf, Close: func(_ *Conn, err error) { calls, end = calls+1, err }})
	fd := c.FD()
	if err := c.MoveTo(to.l); err != nil {
		t.Fatal(err)
	}
	to.el.Close()
	if calls != 1 || !errors.Is(end, ae.ErrClosed) {
		t.Errorf("Close was called %d times, with %v", calls, end)
	}
	if testutil.IsOpen(fd) || to.l.Len() != 0 || from.l.Len() != 0 {
		t.Errorf("open %v, counts %d and %d", testutil.IsOpen(fd), to.l.Len(), from.l.Len())
	}
	if _, err := aetest.Receive(peer); err == nil {
		t.Error("the peer sees no end")
	}
}

func TestMoveToALoopThatHasEndedChangesNothing(t *testing.T) {
	from, to := newRig(t), newRig(t)
	shutdowns := 0
	c, peer := from.pair(&Handler{
		Data:     func(c *Conn, p []byte) int { c.Write(p); return len(p) },
		Shutdown: func(*Conn) { shutdowns++ },
	})
	to.el.Close()
	from.l.Shutdown(time.Hour, nil)
	from.settled()
	if err := c.MoveTo(to.l); !errors.Is(err, ae.ErrClosed) {
		t.Errorf("MoveTo: %v", err)
	}
	aetest.Send(from.t, peer, "hello")
	from.settled()
	if got, err := aetest.Receive(peer); got != "hello" || err != nil {
		t.Errorf("echo %q, %v", got, err)
	}
	if shutdowns != 1 || from.l.Len() != 1 {
		t.Errorf("Shutdown was called %d times, Len is %d", shutdowns, from.l.Len())
	}
}

// Nobody would ever end it there.
func TestMoveToALoopThatHasShutDown(t *testing.T) {
	from, to := newRig(t), newRig(t)
	done := false
	to.l.Shutdown(time.Hour, func() { done = true })
	to.until("Shutdown", func() bool { return done })
	var end error
	c, _ := from.pair(&Handler{Data: allOf, Close: func(_ *Conn, err error) { end = err }})
	c.MoveTo(to.l)
	to.settled()
	if !errors.Is(end, ErrShutdown) || to.l.Len() != 0 {
		t.Errorf("it ended with %v, Len is %d", end, to.l.Len())
	}
}

func TestMoveToALoopWhoseGraceHasEnded(t *testing.T) {
	from, to := newRig(t), newRig(t)
	var end error
	h := &Handler{Data: allOf, Close: func(c *Conn, err error) {
		if c.Data == nil {
			end = err
		}
	}}
	c, _ := from.pair(h)
	last, _ := to.pair(&Handler{Data: allOf, Close: func(*Conn, error) { c.MoveTo(to.l) }})
	done := false
	to.l.Shutdown(0, func() { done = true })
	to.until("done", func() bool { return done })
	to.settled()
	if !errors.Is(end, ErrShutdown) || to.l.Len() != 0 {
		t.Errorf("it ended with %v, Len is %d", end, to.l.Len())
	}
	_ = last
}

// Each Loop has a clock of its own.
func TestMoveToKeepsTheDeadline(t *testing.T) {
	from, to := newRig(t), newRig(t)
	from.l.epoch = from.l.epoch.Add(-time.Hour)
	var end error
	c, _ := from.pair(&Handler{Data: allOf, Close: func(_ *Conn, err error) { end = err }})
	want := time.Now().Add(30 * time.Millisecond)
	c.SetDeadline(want)
	c.MoveTo(to.l)
	to.settled()
	if got := to.l.epoch.Add(time.Duration(c.deadline())); got.Sub(want).Abs() > time.Millisecond {
		t.Fatalf("the deadline is %v late", got.Sub(want))
	}
	to.until("the deadline", func() bool { return end != nil })
	if !errors.Is(end, ErrTimeout) || time.Now().Before(want) {
		t.Errorf("it ended with %v, %v early", end, time.Until(want))
	}
}

// Two are due at once; the Idled of the one moves the other.
func TestMoveToOfAConnectionThatIsDueInTheSamePass(t *testing.T) {
	from, to := newRig(t), newRig(t)
	var conns [3]*Conn
	idled := 0
	h := &Handler{Data: allOf, Idle: 1, Idled: func(c *Conn) {
		if idled++; idled > 1 {
			return
		}
		for _, other := range conns {
			if other != c {
				other.MoveTo(to.l)
			}
		}
	}}
	for i := range conns {
		a, b, err := anet.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		from.own(b)
		if conns[i], err = from.l.Adopt(a, h); err != nil {
			t.Fatal(err)
		}
	}
	from.until("Idled", func() bool { return idled > 0 })
	if idled != 1 {
		t.Errorf("Idled was called %d times, for connections of another loop", idled)
	}
	to.settled()
	if from.l.Len() != 1 || to.l.Len() != 2 {
		t.Errorf("counts %d and %d", from.l.Len(), to.l.Len())
	}
}

// Connections wander between loops, while other goroutines post to them.
func TestMoveToStorm(t *testing.T) {
	t.Parallel()
	const conns, moves = 20, 200
	var loops [3]*Loop
	var wg sync.WaitGroup
	for i := range loops {
		el, err := ae.New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		loops[i] = On(el)
	}
	stop := func() {
		for _, l := range loops {
			l.el.Post(func(el *ae.EventLoop) { el.Stop() })
		}
	}
	guard := time.AfterFunc(testutil.Patience, func() { panic("the storm does not end") })
	defer guard.Stop()

	var left, closes atomic.Int32
	left.Store(conns)
	wander := func(c *Conn) {
		n := c.Data.(*rand.Rand)
		if n.IntN(moves) == 0 {
			c.Close()
			return
		}
		if n.IntN(2) == 0 {
			c.Write([]byte("x"))
		}
		if err := c.MoveTo(loops[n.IntN(len(loops))]); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("MoveTo: %v", err)
		}
	}
	h := &Handler{
		Data: allOf,
		Idle: time.Millisecond, Idled: wander,
		Linger: time.Millisecond,
		Close: func(c *Conn, err error) {
			closes.Add(1)
			if left.Add(-1) == 0 {
				stop()
			}
		},
	}
	var all []*Conn
	for i := range conns {
		a, b, err := anet.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer anet.Close(b)
		c, err := loops[0].Adopt(a, h)
		if err != nil {
			t.Fatal(err)
		}
		c.Data = rand.New(rand.NewPCG(uint64(i), 1))
		all = append(all, c)
	}
	for _, l := range loops {
		wg.Go(func() {
			if err := l.el.Main(); err != nil {
				t.Error(err)
			}
			l.Close()
			l.el.Close()
		})
	}
	var posted, ran atomic.Int32
	wg.Go(func() {
		for left.Load() > 0 {
			for _, c := range all {
				err := c.Post(func(c *Conn) {
					ran.Add(1)
					if c.Open() {
						wander(c)
					}
				})
				if err == nil {
					posted.Add(1)
				}
			}
			for left.Load() > 0 && ran.Load() < posted.Load()-conns {
				runtime.Gosched()
			}
		}
	})
	wg.Wait()
	if closes.Load() != conns {
		t.Errorf("Close was called %d times for %d connections", closes.Load(), conns)
	}
	if posted.Load() != ran.Load() {
		t.Errorf("%d functions were posted, %d ran", posted.Load(), ran.Load())
	}
	for i, l := range loops {
		if l.Len() != 0 {
			t.Errorf("loop %d counts %d", i, l.Len())
		}
	}
}

func TestMoveToOnTheWay(t *testing.T) {
	from, to := newRig(t), newRig(t)
	c, _ := from.pair(&Handler{Data: allOf})
	if err := c.MoveTo(to.l); err != nil {
		t.Fatal(err)
	}
	if err := c.MoveTo(from.l); !errors.Is(err, unix.EINVAL) {
		t.Errorf("MoveTo of one that has not arrived: %v", err)
	}
	to.settled()
	from.settled()
	if from.l.Len() != 0 || to.l.Len() != 1 {
		t.Errorf("counts %d and %d", from.l.Len(), to.l.Len())
	}
}
