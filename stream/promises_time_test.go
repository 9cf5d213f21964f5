package stream_test

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

// slack is how late a time may be on a busy machine.
const slack = 3 * time.Second

var timePromises = []promise{
	{"IdleEnds", "a connection on which nothing moves ends with ErrIdle after Idle, not before", both, func(e *env) {
		var r record
		start := time.Now()
		e.pair(r.of(stream.Handler{Idle: 100 * time.Millisecond}))
		e.ended(&r, stream.ErrIdle)
		if d := time.Since(start); d < 100*time.Millisecond || d > slack {
			e.Errorf("ended after %v", d)
		}
	}},
	{"TheFirstComesFirst", "Idle is not late because of a deadline, or of other connections, that come later", both, func(e *env) {
		var r record
		e.pair(&stream.Handler{Idle: time.Hour, Open: func(*stream.Conn) {}})
		c, _ := e.pair(r.of(stream.Handler{Idle: 50 * time.Millisecond}))
		c.SetDeadline(time.Now().Add(time.Hour))
		start := time.Now()
		e.ended(&r, stream.ErrIdle)
		if d := time.Since(start); d > slack {
			e.Errorf("ended after %v", d)
		}
	}},
	{"MovedBytesPutIdleOff", "each byte in or out puts the end off", both, func(e *env) {
		var r record
		const idle = 200 * time.Millisecond
		c, peer := e.pair(r.of(stream.Handler{Idle: idle, Data: func(_ *stream.Conn, p []byte) int { return len(p) }}))
		var last time.Time
		for i := range 8 {
			if i%2 == 0 {
				aetest.Send(e, peer, "x")
			} else {
				c.Write([]byte("y"))
			}
			last = time.Now()
			e.runFor(idle / 4)
			aetest.Receive(peer)
		}
		if r.closed() {
			e.Fatal("ended though bytes moved")
		}
		e.ended(&r, stream.ErrIdle)
		if d := time.Since(last); d < idle-5*time.Millisecond || d > slack {
			e.Errorf("ended %v after the last byte", d)
		}
	}},
	{"PeersReadingPutsIdleOff", "bytes that the peer takes out of the kernel's buffer count", both, func(e *env) {
		var r record
		const idle = 400 * time.Millisecond
		c, peer := e.narrowPair(r.of(stream.Handler{Idle: idle}), 4<<10)
		c.Write([]byte(strings.Repeat("s", 40_000)))
		e.poll()
		got := 0
		e.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			n, err := anet.Read(peer, make([]byte, 3000))
			if got += max(n, 0); err != nil && err != anet.ErrWouldBlock || got == 40_000 {
				return ae.NoMore
			}
			return 40 * time.Millisecond
		})
		e.until("all", func() bool { return got == 40_000 || r.closed() })
		if r.closed() {
			e.Errorf("ended after %d bytes with %v", got, r.err)
		}
	}},
	{"UnreadOutputPutsIdleOffOnce", "output that lies in the kernel when Idle has passed has it wait for another, and one more if the peer takes some", "unix", func(e *env) {
		const idle = 100 * time.Millisecond
		for _, takes := range []bool{false, true} {
			var r record
			start := time.Now()
			c, peer := e.pair(r.of(stream.Handler{Idle: idle}))
			c.Write(make([]byte, 3000))
			e.poll()
			c.Write(make([]byte, 3000)) // apart: the system counts what it has allocated
			e.poll()
			if n, err := anet.Unsent(c.FD()); n <= 0 {
				e.Skipf("the system does not tell: %d, %v", n, err)
			}
			least := 2 * idle
			if takes {
				least = 3 * idle
				e.el.CreateTimeEvent(idle*3/2, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
					anet.Read(peer, make([]byte, 3000))
					return ae.NoMore
				})
			}
			e.ended(&r, stream.ErrIdle)
			if d := time.Since(start); d < least || d > slack {
				e.Errorf("ended after %v, the peer takes some: %v", d, takes)
			}
		}
	}},
	{"IdledHasALastWord", "Idled may write and close, and the peer gets it; one that stays open gets another Idle", both, func(e *env) {
		var r record
		times := 0
		start := time.Now()
		_, peer := e.pair(r.of(stream.Handler{Idle: 50 * time.Millisecond, Idled: func(c *stream.Conn) {
			if times++; times == 3 {
				c.Write([]byte("bye"))
				c.Close()
			}
		}}))
		if got, _ := e.receiveAll(peer); got != "bye" || times != 3 {
			e.Errorf("received %q, Idled %d times", got, times)
		}
		if d := time.Since(start); d < 150*time.Millisecond {
			e.Errorf("the third Idle is over after %v", d)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
	}},
	{"Deadline", "SetDeadline ends with ErrTimeout, whatever moves, also while Close waits; the zero time undoes it", both, func(e *env) {
		var r, off, closing record
		start := time.Now()
		c, peer := e.pair(r.of(stream.Handler{Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) }}))
		c.SetDeadline(start.Add(150 * time.Millisecond))
		c2, _ := e.pair(off.of(stream.Handler{}))
		c2.SetDeadline(start.Add(10 * time.Millisecond))
		c2.SetDeadline(time.Time{})
		c3, _ := e.pair(closing.of(stream.Handler{Linger: time.Hour}))
		c3.SetDeadline(start.Add(100 * time.Millisecond))
		c3.Close()
		e.until("Close", func() bool {
			anet.Write(peer, []byte("x"))
			aetest.Receive(peer)
			return r.closed()
		})
		if d := time.Since(start); d < 150*time.Millisecond || d > slack {
			e.Errorf("ended after %v", d)
		}
		e.ended(&r, stream.ErrTimeout)
		e.ended(&closing, stream.ErrTimeout)
		if !errors.Is(r.err, os.ErrDeadlineExceeded) || off.closed() {
			e.Errorf("%v; the other: %v", r.err, off.calls)
		}
	}},
	{"DeadlineInThePast", "a deadline that has passed ends the connection, from the loop", both, func(e *env) {
		var r record
		c, _ := e.pair(r.of(stream.Handler{}))
		c.SetDeadline(time.Unix(1, 0))
		if !c.Open() || r.closed() {
			e.Error("ended inside SetDeadline")
		}
		e.ended(&r, stream.ErrTimeout)
	}},
	{"DeadlineMoves", "a deadline holds on another loop too", both, func(e *env) {
		var r record
		time.Sleep(50 * time.Millisecond) // the other loop is that much younger
		el, l := e.newLoop()
		defer func() { l.Close(); el.Close() }()
		fd, peer := e.sockets()
		e.own(peer)
		c, err := l.Adopt(fd, r.of(stream.Handler{}))
		e.must(err)
		el.ProcessEvents(aetest.Iteration | ae.DontWait)
		at := time.Now().Add(100 * time.Millisecond)
		c.SetDeadline(at)
		e.must(c.MoveTo(e.l))
		e.ended(&r, stream.ErrTimeout)
		if d := time.Since(at); d < 0 || d > slack {
			e.Errorf("ended %v after the deadline", d)
		}
	}},
	{"NewIdleCounts", "SetHandler's Idle counts from SetHandler", both, func(e *env) {
		var r record
		c, _ := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		e.runFor(60 * time.Millisecond)
		start := time.Now()
		c.SetHandler(r.of(stream.Handler{Idle: 50 * time.Millisecond}))
		e.ended(&r, stream.ErrIdle)
		if d := time.Since(start); d < 50*time.Millisecond-5*time.Millisecond {
			e.Errorf("ended after %v", d)
		}
	}},
	{"IdleCountsFromTheStart", "a loop whose caller was away for long does not make Idle early", both, func(e *env) {
		var r record
		e.poll()
		e.el.Now()
		time.Sleep(80 * time.Millisecond) // the caller is away
		fd, peer := e.sockets()
		e.own(peer)
		start := time.Now()
		e.adopt(fd, r.of(stream.Handler{Idle: 60 * time.Millisecond}))
		e.ended(&r, stream.ErrIdle)
		if d := time.Since(start); d < 60*time.Millisecond {
			e.Errorf("ended after %v", d)
		}
	}},
}
