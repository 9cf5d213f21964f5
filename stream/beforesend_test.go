package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
)

// A group commit: nothing leaves that was written after the log was last synced,
// not even by a callback that runs among the sends.
func TestBeforeSendComesBeforeWhatCallbacksOfTheBatchWrite(t *testing.T) {
	r := newRig(t)
	logged, synced := 0, 0
	var b *Conn
	a, _ := r.pair(&Handler{Close: func(*Conn, error) {
		logged++
		b.Write([]byte("2"))
	}})
	b, peer := r.pair(&Handler{Data: allOf})
	got := ""
	check := func() {
		s, _ := aetest.Receive(peer)
		if got += s; strings.Contains(got, "2") && synced < logged {
			t.Error("a reply has left before the log was synced")
		}
	}
	r.l.BeforeSend(func() bool {
		check()
		synced = logged
		return true
	})
	a.Abort()
	b.Write([]byte("1"))
	r.look()
	check()
	r.settled()
	if check(); got != "12" {
		t.Errorf("%q came", got)
	}
}

// A peer that has room again must not keep the loop awake while output is held.
func TestHeldOutputDoesNotSpinTheLoop(t *testing.T) {
	r := newRig(t)
	c, peer := r.pair(&Handler{Data: allOf})
	anet.SetSendBuffer(c.FD(), 1)
	c.Write(make([]byte, 1<<20))
	r.settled()
	if c.Queued() == 0 {
		t.Fatal("the kernel has taken all")
	}
	hold := true
	r.l.BeforeSend(func() bool { return !hold })
	c.Write([]byte("x"))
	r.look()
	aetest.Receive(peer)
	over, iterations := false, 0
	remove := r.el.AddBeforeSleep(func(*ae.EventLoop) { iterations++ })
	r.el.CreateTimeEvent(50*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		over = true
		return ae.NoMore
	})
	r.until("time", func() bool { return over })
	remove()
	if iterations > 10 {
		t.Errorf("%d iterations while output was held", iterations)
	}
	hold = false
	r.until("output", func() bool {
		aetest.Receive(peer)
		return c.Queued() == 0
	})
}

// Whoever sends requests while the log is slow must not fill the memory.
func TestHeldOutputStopsInputAtHigh(t *testing.T) {
	r := newRig(t)
	hold := true
	drained := 0
	c, peer := r.tcp(&Handler{
		High:    10_000,
		Data:    func(c *Conn, p []byte) int { c.Write(p); return len(p) },
		Drained: func(*Conn) { drained++ },
	})
	r.l.BeforeSend(func() bool { return !hold })
	most := 0
	for range 300 {
		anet.Write(peer, make([]byte, 10_000))
		r.look()
		most = max(most, c.Queued())
	}
	if most > 10_000+readSize {
		t.Errorf("%d bytes were queued", most)
	}
	hold = false
	for range 300 {
		r.look()
		aetest.Receive(peer)
	}
	if c.Queued() > 0 || drained == 0 {
		t.Errorf("%d bytes are queued still, Drained was called %d times", c.Queued(), drained)
	}
}

// A connection whose output is held can be ended by another's callback.
func TestAHeldConnectionEndsBeforeTheLoopSleeps(t *testing.T) {
	r := newRig(t)
	r.l.BeforeSend(func() bool { return false })
	closed := false
	held, _ := r.pair(&Handler{Data: allOf, Close: func(*Conn, error) { closed = true }})
	a, _ := r.pair(&Handler{Data: allOf, Close: func(*Conn, error) { held.Abort() }})
	held.Write([]byte("x"))
	a.Abort()
	r.look()
	if !closed {
		t.Error("Close was not called")
	}
}
