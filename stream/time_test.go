package stream

import (
	"errors"
	"math"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
)

func TestIdleForEverIsNever(t *testing.T) {
	r := newRig(t)
	var end error
	c, _ := r.pair(&Handler{Data: allOf, Idle: math.MaxInt64, Linger: math.MaxInt64, Close: func(_ *Conn, err error) { end = err }})
	over := false
	r.el.CreateTimeEvent(60*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		c.Close()
		r.el.CreateTimeEvent(60*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			over = true
			return ae.NoMore
		})
		return ae.NoMore
	})
	r.until("time", func() bool { return over })
	if end != nil || r.l.Len() != 1 {
		t.Errorf("it ended with %v, Len is %d", end, r.l.Len())
	}
	c.Abort()
}

// The time of an iteration can be older than the Loop.
func TestOnInsideALongCallback(t *testing.T) {
	el, err := ae.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	for start := el.Now(); time.Since(start) < 50*time.Millisecond; {
		runtime.Gosched()
	}
	r := &rig{t, el, On(el)}
	defer r.l.Close()
	idled := false
	r.pair(&Handler{Data: allOf, Idle: time.Millisecond, Idled: func(*Conn) { idled = true }})
	r.until("Idled", func() bool { return idled })
}

// Whoever recovers from a callback's panic can go on with the loop: all of it.
func TestTimeoutsGoOnAfterAPanicInIdled(t *testing.T) {
	r := newRig(t)
	idled := map[*Conn]int{}
	h := &Handler{Data: allOf, Idle: time.Millisecond, Idled: func(c *Conn) {
		if idled[c]++; len(idled) == 1 && idled[c] == 1 {
			panic("Idled")
		}
	}}
	a, _ := r.pair(h)
	b, _ := r.pair(h)
	func() {
		defer func() { recover() }()
		r.until("a panic", func() bool { return false })
	}()
	r.until("Idled of both, again and again", func() bool { return idled[a] > 2 && idled[b] > 2 })
}

// Nor does the rest wait for the next time of the one that has panicked.
func TestTimeoutsGoOnAtOnceAfterAPanicInIdled(t *testing.T) {
	r := newRig(t)
	r.l.epoch = r.l.epoch.Add(-2 * time.Hour)
	idled := 0
	h := &Handler{Data: allOf, Idle: time.Hour, Idled: func(c *Conn) {
		if idled++; idled == 1 {
			panic("Idled")
		}
	}}
	for range 2 {
		c, _ := r.pair(h)
		c.last = 0
		r.l.time(c)
	}
	func() {
		defer func() { recover() }()
		r.until("a panic", func() bool { return false })
	}()
	r.until("Idled of the other", func() bool { return idled == 2 })
}

func TestADialThatHasFailedIsGarbage(t *testing.T) {
	r := newRig(t)
	closed := false
	dial := func() weak.Pointer[Conn] {
		c := r.l.Dial("unix", "/nowhere/at/all", time.Hour, &Handler{Close: func(*Conn, error) { closed = true }})
		c.SetDeadline(time.Now().Add(time.Hour)) // after its end: nothing
		return weak.Make(c)
	}
	first := dial()
	second := func() weak.Pointer[Conn] {
		c := r.l.Dial("tcp", aetest.ClosedPort(t), 0, &Handler{Close: func(*Conn, error) { closed = true }})
		c.SetDeadline(time.Now().Add(time.Hour))
		return weak.Make(c)
	}()
	r.until("Close", func() bool { return closed && r.l.Len() == 0 })
	r.settled()
	runtime.GC()
	if first.Value() != nil || second.Value() != nil {
		t.Error("a dial that has failed is held until its deadline")
	}
}

// Idled must not come before Open.
func TestNothingComesBeforeOpen(t *testing.T) {
	r := newRig(t)
	var calls []string
	note := func(s string) func(*Conn) { return func(*Conn) { calls = append(calls, s) } }
	a, b, err := anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	r.own(b)
	r.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		if _, err := r.l.Adopt(a, &Handler{Open: note("Open"), Idle: 1, Idled: note("Idled"), Shutdown: note("Shutdown")}); err != nil {
			t.Error(err)
		}
		r.l.Shutdown(time.Hour, nil)
		for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
			runtime.Gosched()
		}
		r.el.ProcessEvents(ae.AllEvents | ae.DontWait)
		r.el.ProcessEvents(ae.AllEvents | ae.DontWait)
		return ae.NoMore
	})
	r.until("calls", func() bool { return len(calls) > 2 })
	if calls[0] != "Open" {
		t.Errorf("calls %q", calls)
	}
}

// The peer of a paused connection may reset it at any time.
func TestResetsAreLookedForAgain(t *testing.T) {
	r := newRig(t)
	c, _ := r.tcp(&Handler{Data: allOf})
	c.Pause()
	r.settled()
	if !r.l.looking || r.l.lookForResets(r.el, 0) != blindLook {
		t.Error("there is no other look")
	}
	c.Resume()
	if r.l.lookForResets(r.el, 0) != ae.NoMore || r.l.looking {
		t.Error("there is another look though nobody is paused")
	}
}

func TestDialOnAClosedLoopIsNotOpen(t *testing.T) {
	for _, address := range []string{"localhost:1", "127.0.0.1:1", "[::1]:1", "bad"} {
		r := newRig(t)
		r.el.Close()
		c := r.l.Dial("tcp", address, time.Second, &Handler{Close: func(*Conn, error) {}})
		if c.Open() {
			t.Errorf("%s: it is open", address)
		}
		if r.l.Len() != 0 {
			t.Errorf("%s: Len is %d", address, r.l.Len())
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: Write: %v", address, err)
		}
	}
}

// A byte that moves after another's callback has run for long has not moved before
// it: Idle is never early.
func TestIdleIsNotEarlyAfterALongCallback(t *testing.T) {
	const idle = 200 * time.Millisecond
	r := newRig(t)
	moved := map[*Conn]time.Time{}
	early := time.Duration(0)
	ends, slow := 0, true
	h := &Handler{
		Idle: idle,
		Data: func(c *Conn, p []byte) int {
			moved[c] = time.Now()
			if slow {
				slow = false
				for time.Since(moved[c]) < idle*5/4 {
					runtime.Gosched()
				}
			}
			return len(p)
		},
		Close: func(c *Conn, err error) {
			ends++
			if !errors.Is(err, ErrIdle) {
				t.Errorf("it ended with %v", err)
			}
			early = max(early, idle-time.Since(moved[c]))
		},
	}
	var peers []int
	for range 3 {
		_, peer := r.pair(h)
		peers = append(peers, peer)
	}
	for _, peer := range peers {
		aetest.Send(r.t, peer, "x")
	}
	r.until("the ends", func() bool { return ends == 3 })
	if early > 0 {
		t.Errorf("%v early", early)
	}
}
