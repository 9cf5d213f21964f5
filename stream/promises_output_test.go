package stream_test

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

var outputPromises = []promise{
	{"WriteKeepsNothing", "Write does not keep the caller's slice", both, func(e *env) {
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		p := []byte("small")
		if n, err := c.Write(p); n != 5 || err != nil {
			e.Errorf("Write: %d, %v", n, err)
		}
		copy(p, "XXXXX")
		e.receive(peer, "small")

		big := []byte(strings.Repeat("b", 3<<20))
		if n, err := c.Write(big); n != len(big) || err != nil {
			e.Errorf("Write: %d, %v", n, err)
		}
		clear(big)
		e.receive(peer, strings.Repeat("b", 3<<20))
	}},
	{"OrderOfWrites", "small and big writes arrive in the order in which they were made", both, func(e *env) {
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		var want strings.Builder
		for i := range 60 {
			s := strings.Repeat(string(rune('a'+i%26)), []int{1, 300, 20_000, 5, 100_000}[i%5])
			want.WriteString(s)
			c.Write([]byte(s))
			if i%7 == 0 {
				e.poll()
			}
		}
		e.receive(peer, want.String())
	}},
	{"OneSendForData", "what Data writes to its connection leaves in one send", tcpOnly, func(e *env) {
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			for range 10 {
				c.Write([]byte("reply\n"))
			}
			return len(p)
		}))
		before := segmentsSent(e, c.FD())
		aetest.Send(e, peer, "request")
		e.receive(peer, strings.Repeat("reply\n", 10))
		if n := segmentsSent(e, c.FD()) - before; n != 1 {
			e.Errorf("%d segments for 10 replies", n)
		}
	}},
	{"OneSendBeforeSleep", "what timers, posts and other connections write leaves together before the loop sleeps", tcpOnly, func(e *env) {
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		_, other := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { c.Write([]byte("data ")); return len(p) }))
		aetest.Send(e, other, "x")
		before := segmentsSent(e, c.FD())
		c.Write([]byte("first "))
		e.el.Post(func(*ae.EventLoop) { c.Write([]byte("post ")) })
		e.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			c.Write([]byte("timer"))
			return ae.NoMore
		})
		_, err := e.el.ProcessEvents(ae.AllEvents | ae.DontWait) // no BeforeSleep: one iteration's work
		e.must(err)
		e.receive(peer, "first data post timer")
		if n := segmentsSent(e, c.FD()) - before; n != 1 {
			e.Errorf("%d segments", n)
		}
	}},
	{"WritableAfterRefusal", "Writable is watched only while the kernel has refused output", both, func(e *env) {
		c, peer := e.tightPair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		c.Write([]byte("small"))
		e.poll()
		if m := e.el.FileEvents(c.FD()); m != ae.Readable {
			e.Errorf("watched for %d after a small write", m)
		}
		c.Write(make([]byte, 1<<20))
		e.poll()
		if m := e.el.FileEvents(c.FD()); m&ae.Writable == 0 {
			e.Errorf("watched for %d while output waits", m)
		}
		got := 0
		e.until("all", func() bool {
			s, err := aetest.Receive(peer)
			e.must(err)
			got += len(s)
			return got == 1<<20+5
		})
		e.poll()
		if m := e.el.FileEvents(c.FD()); m&ae.Writable != 0 || c.Queued() != 0 {
			e.Errorf("watched for %d after all was sent, %d queued", m, c.Queued())
		}
	}},
	{"SlowReaderIsDropped", "what the kernel refuses beyond Limit ends with ErrSlow, and a peer that keeps up is not dropped", both, func(e *env) {
		var slow, fast record
		cs, _ := e.pair(slow.of(stream.Handler{Limit: 100_000}))
		cf, peer := e.pair(fast.of(stream.Handler{Limit: 100_000}))
		var err error
		got, sent := 0, 0
		e.until("ErrSlow", func() bool {
			sent += 50_000
			cf.Write(make([]byte, 50_000))
			if _, e := cs.Write(make([]byte, 50_000)); e != nil && err == nil {
				err = e
			}
			e.poll()
			for got < sent && cf.Open() {
				s, _ := aetest.Receive(peer)
				got += len(s)
				e.poll()
			}
			return err != nil
		})
		if !errors.Is(err, stream.ErrSlow) {
			e.Errorf("Write: %v", err)
		}
		e.ended(&slow, stream.ErrSlow)
		if fast.closed() || got != sent {
			e.Errorf("the fast one has %d of %d bytes, closed: %v, %v", got, sent, fast.closed(), fast.err)
		}
		if _, err := cs.Write([]byte("x")); err != stream.ErrClosed {
			e.Errorf("Write after the end: %v", err)
		}
	}},
	{"LimitAsksTheKernel", "what the kernel takes is not beyond Limit, however little that is", both, func(e *env) {
		c, peer := e.pair(&stream.Handler{Limit: 1000, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		for range 3 {
			if _, err := c.Write([]byte(strings.Repeat("x", 600))); err != nil {
				e.Errorf("Write: %v", err)
			}
		}
		e.receive(peer, strings.Repeat("x", 1800))
	}},
	{"LimitByDefault", "what waits is bounded without a Limit too", both, func(e *env) {
		var r record
		c, _ := e.tightPair(r.of(stream.Handler{}))
		for range 20 {
			c.Write(make([]byte, 1<<20))
		}
		e.ended(&r, stream.ErrSlow)
	}},
	{"AllOfItOrAnError", "Write takes all of p, or returns an error and the connection ends", both, func(e *env) {
		var r record
		c, peer := e.tightPair(r.of(stream.Handler{Limit: 64 << 10}))
		if n, err := c.Write(make([]byte, 8<<20)); n != 0 || !errors.Is(err, stream.ErrSlow) || c.Open() {
			e.Errorf("%d, %v, open %v", n, err, c.Open())
		}
		e.ended(&r, stream.ErrSlow)
		if _, end := e.receiveAll(peer); e.network == "tcp" && end == io.EOF {
			e.Error("a message that was cut off looks complete")
		}
	}},
	{"LeastBuffer64MiB", "64 MiB through the least send buffer to a slow reader arrive as they were sent", both, func(e *env) {
		const total = 64 << 20
		block := make([]byte, 60_000)
		for i := range block {
			block[i] = byte(i * i >> 3)
		}
		sentHash, gotHash := sha256.New(), sha256.New()
		sent := 0
		pump := func(c *stream.Conn) {
			for sent < total && c.Queued() < 64<<10 {
				p := block[:min(len(block), total-sent)]
				block[sent%len(block)]++
				sentHash.Write(p)
				sent += len(p)
				if _, err := c.Write(p); err != nil {
					e.Fatal(err)
				}
			}
			if sent == total {
				c.Close()
			}
		}
		var r record
		fd, peer := e.sockets()
		e.own(peer)
		e.must(anet.SetSendBuffer(fd, 1))
		result := make(chan int, 1)
		go readSlowly(peer, gotHash, result)
		c := e.adopt(fd, r.of(stream.Handler{Open: pump, Drained: pump, Data: func(*stream.Conn, []byte) int { return 0 }}))
		got := -1
		e.until("64 MiB", func() bool {
			if c.Open() && c.Queued() < 16<<10 {
				pump(c) // it may never have been High
			}
			select {
			case got = <-result:
			default:
			}
			return got >= 0
		})
		if got != total || string(gotHash.Sum(nil)) != string(sentHash.Sum(nil)) {
			e.Errorf("%d bytes of %d arrived, or others", got, total)
		}
		e.must(anet.CloseWrite(peer))
		e.ended(&r, nil)
	}},
	{"NoDoubling", "output that waits takes little more memory than it has bytes", both, func(e *env) {
		c, _ := e.pair(&stream.Handler{Limit: 64 << 20, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		before := testutil.Heap()
		for range 32 << 20 / 4096 {
			c.Write(make([]byte, 4096))
		}
		e.poll()
		if grown, waiting := testutil.Heap()-before, c.Queued(); waiting < 16<<20 || grown > waiting+waiting/8+2<<20 {
			e.Errorf("%d bytes of heap for %d that wait", grown, waiting)
		}
	}},
	{"BeforeSend", "BeforeSend runs before a batch of sends, with all of what it covers written and none of it sent", both, func(e *env) {
		written, calls := 0, 0
		var peers []int
		for range 3 {
			_, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
				written++
				c.Write([]byte("reply"))
				return len(p)
			}))
			peers = append(peers, peer)
		}
		e.l.BeforeSend(func() bool {
			calls++
			if written != 3 {
				e.Errorf("called after %d of 3 requests", written)
			}
			for _, p := range peers {
				if s, _ := aetest.Receive(p); s != "" {
					e.Error("a reply was sent before")
				}
			}
			return true
		})
		for _, p := range peers {
			aetest.Send(e, p, "request")
		}
		for _, p := range peers {
			e.receive(p, "reply")
		}
		if calls != 1 {
			e.Errorf("called %d times for one batch", calls)
		}
	}},
	{"BeforeSendBeyondLimit", "BeforeSend comes before much output too, and what the kernel refuses then beyond Limit ends with ErrSlow", both, func(e *env) {
		for _, size := range []int{50_000, 300_000} {
			var r record
			c, peer := e.tightPair(r.of(stream.Handler{Limit: 100_000}))
			synced := false
			e.l.BeforeSend(func() bool { synced = true; return true })
			if _, err := c.Write(make([]byte, size)); err != nil {
				e.Errorf("%d bytes: Write: %v", size, err)
			}
			if s, err := aetest.Receive(peer); s != "" || err != nil || synced {
				e.Errorf("%d bytes: the peer has %d inside Write, %v", size, len(s), err)
			}
			if size > 100_000 {
				e.ended(&r, stream.ErrSlow)
			} else {
				e.receive(peer, string(make([]byte, size)))
			}
			if !synced {
				e.Errorf("%d bytes: BeforeSend was not called", size)
			}
		}
	}},
	{"BeforeSendCoversCallbacks", "what a Close or Drained writes goes out only after another BeforeSend", both, func(e *env) {
		var c, victim *stream.Conn
		dirty, broken := false, false
		h := &stream.Handler{
			Data: func(_ *stream.Conn, p []byte) int { return len(p) },
			Close: func(*stream.Conn, error) {
				if c != nil && c.Open() {
					dirty = true
					c.Write([]byte("late"))
				}
			},
		}
		victim, _ = e.pair(h)
		var peer int
		c, peer = e.pair(h)
		e.l.BeforeSend(func() bool { dirty = false; return true })
		victim.Write([]byte("x"))
		c.Write([]byte("early"))
		victim.Abort()
		got := ""
		e.until("late", func() bool {
			s, _ := aetest.Receive(peer)
			if got += s; strings.Contains(got, "late") && dirty {
				broken = true
			}
			return len(got) == 9
		})
		if broken {
			e.Error("sent without BeforeSend")
		}
	}},
	{"BeforeSendForOutputAlone", "BeforeSend is not called when nothing is to be sent", both, func(e *env) {
		calls := 0
		e.l.BeforeSend(func() bool { calls++; return true })
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		aetest.Send(e, peer, "x")
		c.CloseWrite()
		e.poll()
		if calls != 0 {
			e.Errorf("called %d times", calls)
		}
	}},
	{"BeforeSendHolds", "output that BeforeSend holds back waits, does not spin, and stops input at High", both, func(e *env) {
		hold, got := true, 0
		e.l.BeforeSend(func() bool { return !hold })
		c, peer := e.tightPair(&stream.Handler{High: 1000, Data: func(c *stream.Conn, p []byte) int {
			got += len(p)
			c.Write(p)
			return len(p)
		}})
		for range 5 {
			aetest.Send(e, peer, strings.Repeat("x", 500))
			e.poll()
		}
		if s, _ := aetest.Receive(peer); s != "" {
			e.Errorf("received %q", s)
		}
		if got > 1500 || c.Queued() != got {
			e.Errorf("input of %d bytes though %d wait and High is 1000", got, c.Queued())
		}
		if n := e.runFor(100 * time.Millisecond); n > 20 {
			e.Errorf("%d iterations in 100 ms", n)
		}
		hold = false
		e.el.Post(func(*ae.EventLoop) {})
		e.receive(peer, strings.Repeat("x", 2500))

		// Refused output that is held back must not spin either.
		wide, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		wide.Write(make([]byte, 12<<20))
		e.poll()
		hold = true
		for range 5 {
			e.runFor(5 * time.Millisecond)
			aetest.Receive(peer)
		}
		if n := e.runFor(100 * time.Millisecond); n > 20 {
			e.Errorf("refused, then held: %d iterations in 100 ms", n)
		}
	}},
	{"FailureInsideData", "a write that fails inside Data is an error, later ones ErrClosed, and Close comes once after Data", both, func(e *env) {
		var r record
		var errs []error
		inside := false
		var peer int
		_, peer = e.pair(r.of(stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				inside = true
				defer func() { inside = false }()
				if e.network == "tcp" {
					aetest.Reset(e, peer)
				} else {
					testutil.CloseNow(e, peer)
				}
				for range 3 {
					_, err := c.Write(make([]byte, 100_000))
					errs = append(errs, err)
				}
				c.Pause()
				c.Resume()
				c.CloseWrite()
				c.Close()
				return 0
			},
			Close: func(*stream.Conn, error) {
				if inside {
					e.Error("Close was called inside Data")
				}
			},
		}))
		aetest.Send(e, peer, "x")
		e.until("Close", r.closed)
		if len(errs) != 3 || errs[0] == nil || errs[2] != stream.ErrClosed {
			e.Errorf("Write: %v", errs)
		}
		e.ended(&r, errs[0])
	}},
}

// readSlowly reads a peer to its end, a little at a time, and sends how much it was.
func readSlowly(fd int, h hash.Hash, result chan<- int) {
	buf := make([]byte, 3001)
	total := 0
	for {
		quickAck(fd)
		n, err := anet.Read(fd, buf)
		if err == anet.ErrWouldBlock {
			ae.Wait(fd, ae.Readable, testutil.Patience)
			continue
		}
		h.Write(buf[:n])
		total += n
		if err != nil {
			result <- total
			return
		}
	}
}
