package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

var pressurePromises = []promise{
	{"ReadingStopsAtHigh", "input stops while Queued is above High, goes on at Low, and Drained says so once", both, func(e *env) {
		echoed := 0
		var r record
		c, peer := e.tightPair(r.of(stream.Handler{High: 20_000, Low: 5_000,
			Data: func(c *stream.Conn, p []byte) int {
				echoed += len(p)
				c.Write([]byte(strings.Repeat("r", 10*len(p))))
				return len(p)
			},
			Drained: func(c *stream.Conn) {
				if c.Queued() > 5_000 {
					e.Errorf("Drained with %d queued", c.Queued())
				}
			},
		}))
		sent := 0
		for range 200 {
			n, _ := anet.Write(peer, make([]byte, 200))
			sent += max(n, 0)
			e.poll()
		}
		if stuck := c.Queued(); stuck < 20_000 || stuck > 20_000+10*64<<10 || r.count("Drained") > 0 {
			e.Errorf("%d queued, Drained %d times", stuck, r.count("Drained"))
		}
		if e.el.FileEvents(c.FD())&ae.Readable != 0 {
			e.Error("input is still read")
		}
		got := 0
		e.until("all", func() bool {
			s, err := aetest.Receive(peer)
			e.must(err)
			got += len(s)
			return got == 10*sent
		})
		e.poll()
		if r.count("Drained") == 0 || e.el.FileEvents(c.FD())&ae.Readable == 0 {
			e.Errorf("Drained %d times, watched for %d", r.count("Drained"), e.el.FileEvents(c.FD()))
		}
	}},
	{"DataThatStopsAtHighGoesOn", "what Data leaves because Queued has reached High comes again, also if the kernel takes all of that at once", both, func(e *env) {
		for _, batches := range []bool{false, true} {
			const messages, size, high = 1000, 16 << 10, 1000
			handled, stops, got := 0, 0, 0
			var peer int
			read := func() {
				s, err := aetest.Receive(peer)
				e.must(err)
				got += len(s)
			}
			_, fd := e.pair(&stream.Handler{High: high, Data: func(c *stream.Conn, p []byte) (used int) {
				for used < len(p) && c.Queued() < high {
					c.Write(make([]byte, size))
					handled++
					used++
				}
				if used < len(p) {
					stops++
					read() // the peer is faster than we are
				}
				return used
			}})
			peer = fd
			if batches {
				e.l.BeforeSend(func() bool { return true })
			}
			aetest.Send(e, peer, strings.Repeat("m", messages))
			e.until("all of it", func() bool {
				read()
				return got == messages*size
			})
			if handled != messages || stops == 0 {
				e.Errorf("%d of %d messages, Data has stopped %d times", handled, messages, stops)
			}
		}
	}},
	{"FullDuplexReadsOn", "with FullDuplex input goes on above High", both, func(e *env) {
		got := ""
		h := collect(&got)
		h.High, h.FullDuplex = 1000, true
		c, peer := e.tightPair(&h)
		c.Write(make([]byte, 1<<20))
		e.poll()
		aetest.Send(e, peer, "still")
		e.until("input", func() bool { return got == "still" })
	}},
	{"TheMarksAreInside", "Queued that is High stops input, and one byte less does not", both, func(e *env) {
		e.l.BeforeSend(func() bool { return false })
		c, _ := e.pair(&stream.Handler{High: 1000, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		for i, want := range []ae.Mask{ae.Readable, ae.None} {
			c.Write(make([]byte, 999-i*998)) // 999, and 1
			e.poll()
			if m := e.el.FileEvents(c.FD()); m != want {
				e.Errorf("watched for %d with %d queued", m, c.Queued())
			}
		}
	}},
	{"PauseAtEveryBoundary", "a connection that pauses after each message gets each once, in order, whoever resumes it", both, func(e *env) {
		for _, how := range []string{"post", "timer", "inside Data", "another connection"} {
			var want, got strings.Builder
			var c, other *stream.Conn
			var kick int
			resume := func() {
				switch how {
				case "post":
					c.Post(func(c *stream.Conn) { c.Resume() })
				case "timer":
					e.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { c.Resume(); return ae.NoMore })
				case "inside Data":
					c.Resume()
				default:
					aetest.Send(e, kick, "x")
				}
			}
			other, kick = e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { c.Resume(); return len(p) }))
			var peer int
			c, peer = e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
				n := strings.IndexByte(string(p), '\n') + 1
				got.Write(p[:n])
				if n > 0 {
					c.Pause()
					resume()
				}
				return n
			}))
			for i := range 100 {
				fmt.Fprintf(&want, "message %d\n", i)
			}
			aetest.Send(e, peer, want.String())
			e.until(how, func() bool { return got.Len() == want.Len() })
			if got.String() != want.String() {
				e.Errorf("%s: other messages arrived", how)
			}
			other.Abort()
			c.Abort()
		}
	}},
	{"PauseCountsByReason", "Pause twice is undone by one Resume, and Resume does not undo what the output holds back", both, func(e *env) {
		got := ""
		h := collect(&got)
		h.High = 1000
		c, peer := e.tightPair(&h)
		c.Pause()
		c.Pause()
		c.Resume()
		aetest.Send(e, peer, "1")
		e.until("input", func() bool { return got == "1" })
		c.Write(make([]byte, 100_000))
		e.poll()
		c.Pause()
		c.Resume()
		aetest.Send(e, peer, "2")
		e.poll()
		if got != "1" {
			e.Error("Resume has undone back-pressure")
		}
		e.until("input", func() bool { aetest.Receive(peer); return got == "12" })
	}},
	{"PauseTakesEffectInData", "after a Pause inside Data there is no Data, also for what waits or has come", both, func(e *env) {
		calls := 0
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int { calls++; c.Pause(); return 1 }))
		aetest.Send(e, peer, "abc")
		e.until("Data", func() bool { return calls == 1 })
		aetest.Send(e, peer, "def")
		if n := e.runFor(50 * time.Millisecond); n > 10 || calls != 1 {
			e.Errorf("%d calls, %d iterations", calls, n)
		}
		c.Resume()
		if calls != 1 {
			e.Error("Resume has called Data")
		}
		e.until("Data", func() bool { return calls == 2 })
	}},
	{"PausedIsOfferedNothing", "a Pause behind a Resume, or before SetHandler, holds for what waits", both, func(e *env) {
		got := ""
		h := collect(&got)
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int { c.Pause(); return 0 }))
		aetest.Send(e, peer, "waits")
		e.until("a pause", func() bool { return e.el.FileEvents(c.FD()) == ae.None })
		c.SetHandler(&h)
		e.poll()
		c.Resume()
		c.Pause()
		e.poll()
		if got != "" {
			e.Errorf("Data had %q", got)
		}
		c.Resume()
		e.until("input", func() bool { return got == "waits" })
	}},
	{"ResumeInOneBatch", "a Resume by whatever callback of the same batch is not forgotten", both, func(e *env) {
		var conns [2]*stream.Conn
		var got [2]string
		var peers [2]int
		for i := range conns {
			conns[i], peers[i] = e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
				got[i] += string(p[:1])
				c.Pause()
				conns[1-i].Resume()
				return 1
			}))
		}
		aetest.Send(e, peers[0], "aaaa")
		aetest.Send(e, peers[1], "bbbb")
		e.until("all", func() bool { return got == [2]string{"aaaa", "bbbb"} })
	}},
	{"ResumeByClose", "a Resume inside a Close of the same batch is not forgotten", both, func(e *env) {
		var c, dying *stream.Conn
		got := ""
		dying, _ = e.pair(&stream.Handler{Close: func(*stream.Conn, error) { c.Resume() }})
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			got += string(p[:1])
			c.Pause()
			return 1
		}))
		aetest.Send(e, peer, "ab")
		e.until("a", func() bool { return got == "a" })
		c.Write([]byte("x"))
		dying.Abort()
		e.until("b", func() bool { return got == "ab" })
		_ = dying
	}},
	{"PausedDoesNotSpin", "a paused connection costs no iterations, whatever its peer does", both, func(e *env) {
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int { return len(p) }))
		c.Pause()
		aetest.Send(e, peer, "x")
		e.must(anet.CloseWrite(peer))
		if n := e.runFor(200 * time.Millisecond); n > 10 {
			e.Errorf("%d iterations in 200 ms", n)
		}
		testutil.CloseNow(e, peer)
		if n := e.runFor(200 * time.Millisecond); n > 10 {
			e.Errorf("after the peer's close: %d iterations in 200 ms", n)
		}
	}},
	{"PausedResetEnds", "a paused connection that is reset ends within about a second, and does not spin", tcpOnly, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{Close: func(*stream.Conn, error) { e.el.Post(func(*ae.EventLoop) {}) }}))
		c.Pause()
		e.poll()
		aetest.Reset(e, peer)
		start := time.Now()
		n := 0
		for ; !r.closed() && time.Since(start) < testutil.Patience; n++ {
			_, err := e.el.ProcessEvents(aetest.Iteration)
			e.must(err)
		}
		e.ended(&r, unix.ECONNRESET)
		if d := time.Since(start); n > 20 || d > 3*time.Second {
			e.Errorf("%d iterations, %v", n, d)
		}
	}},
	{"HalfClosedResetEnds", "so does one that has seen the peer's end and has nothing to send", tcpOnly, func(e *env) {
		var r record
		_, peer := e.pair(r.of(stream.Handler{EOF: func(*stream.Conn) {}}))
		e.must(anet.CloseWrite(peer))
		e.until("EOF", func() bool { return r.count("EOF") == 1 })
		aetest.Reset(e, peer)
		e.until("Close", r.closed)
		if r.err == nil {
			e.Error("no error")
		}
		e.ended(&r, r.err)
	}},
	{"PausedIdles", "a paused connection still idles", both, func(e *env) {
		var r record
		c, _ := e.pair(r.of(stream.Handler{Idle: 50 * time.Millisecond}))
		c.Pause()
		e.ended(&r, stream.ErrIdle)
	}},
}
