package stream_test

import (
	"io"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

var endsPromises = []promise{
	{"EOFIsNoClose", "after the peer's end what is pending goes out, and more can be written", both, func(e *env) {
		var r record
		pending := strings.Repeat("p", 1<<20)
		_, peer := e.pair(r.of(stream.Handler{
			Data: func(c *stream.Conn, p []byte) int { c.Write([]byte(pending)); return len(p) },
			EOF:  func(c *stream.Conn) { c.Write([]byte("more")); c.Close() },
		}))
		aetest.Send(e, peer, "request")
		e.must(anet.CloseWrite(peer))
		if got, end := e.receiveAll(peer); got != pending+"more" || end != io.EOF {
			e.Errorf("%d bytes, %v", len(got), end)
		}
		e.ended(&r, nil)
	}},
	{"NilEOFCloses", "without EOF the peer's end is Close, after all that is pending", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{}))
		c.Write([]byte(strings.Repeat("p", 1<<20)))
		e.must(anet.CloseWrite(peer))
		if got, end := e.receiveAll(peer); len(got) != 1<<20 || end != io.EOF {
			e.Errorf("%d bytes, %v", len(got), end)
		}
		e.ended(&r, nil)
	}},
	{"CloseWrite", "CloseWrite sends the end after what is queued, and input goes on; both ends make an end without error", both, func(e *env) {
		var r record
		got := ""
		h := collect(&got)
		h.EOF = func(*stream.Conn) {}
		c, peer := e.pair(r.of(h))
		c.Write([]byte(strings.Repeat("q", 1<<20)))
		c.CloseWrite()
		c.CloseWrite()
		if _, err := c.Write([]byte("x")); err != stream.ErrClosed {
			e.Errorf("Write after CloseWrite: %v", err)
		}
		if s, end := e.receiveAll(peer); len(s) != 1<<20 || end != io.EOF {
			e.Errorf("%d bytes, %v", len(s), end)
		}
		aetest.Send(e, peer, "still read")
		e.until("input", func() bool { return got == "still read" })
		e.must(anet.CloseWrite(peer))
		e.ended(&r, nil)
	}},
	{"CloseWithUnreadInput", "a peer that still sends when we close gets every byte", both, func(e *env) {
		var r record
		const reply = 4 << 20
		_, peer := e.pair(r.of(stream.Handler{Data: func(c *stream.Conn, p []byte) int {
			c.Write(make([]byte, reply))
			c.Close()
			return 0
		}}))
		result := make(chan int, 1)
		go func() {
			got := 0
			request := make([]byte, 8<<20) // much more than anybody reads
			buf := make([]byte, 10_000)
			for {
				anet.Write(peer, request[:20_000])
				n, err := anet.Read(peer, buf)
				got += n
				if err == anet.ErrWouldBlock {
					ae.Wait(peer, ae.Readable, testutil.Patience)
				} else if err != nil {
					result <- got
					return
				}
			}
		}()
		got := -1
		e.until("the end", func() bool {
			select {
			case got = <-result:
			default:
			}
			return got >= 0
		})
		if got != reply {
			e.Errorf("%d bytes of %d arrived", got, reply)
		}
		e.must(anet.CloseWrite(peer))
		e.ended(&r, nil)
	}},
	{"CloseOfASlowReader", "Close waits for a peer that takes a little now and then for longer than Linger: progress counts", both, func(e *env) {
		var r record
		const total, linger = 40_000, 300 * time.Millisecond
		c, peer := e.narrowPair(r.of(stream.Handler{Linger: linger}), 4<<10)
		c.Write([]byte(strings.Repeat("s", total)))
		c.Close()
		start, got, slice := time.Now(), 0, total/20
		var end error
		e.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			var n int
			n, end = anet.Read(peer, make([]byte, slice))
			if got += n; end != nil && end != anet.ErrWouldBlock {
				return ae.NoMore
			}
			return 50 * time.Millisecond
		})
		e.until("the end", func() bool { return end != nil && end != anet.ErrWouldBlock })
		if got != total || end != io.EOF || time.Since(start) < 3*linger {
			e.Errorf("%d bytes of %d, %v, after %v", got, total, end, time.Since(start))
		}
		e.must(anet.CloseWrite(peer))
		e.ended(&r, nil)
	}},
	{"CloseOfADeadReader", "Close ends with ErrLinger when the peer takes nothing for Linger, not earlier and not twice as late", both, func(e *env) {
		for _, size := range []int{1 << 20, 3000} { // more than the kernel takes, and less
			var r record
			const linger = 300 * time.Millisecond
			c, peer := e.tightPair(r.of(stream.Handler{Linger: linger}))
			c.Write(make([]byte, size))
			e.poll()
			start := time.Now()
			c.Close()
			e.until("Close", r.closed)
			if d := time.Since(start); d < linger || d > 2*linger-10*time.Millisecond {
				e.Errorf("%d bytes: ended after %v", size, d)
			}
			if c.Queued() != 0 || e.network == "unix" || size > 10_000 {
				e.ended(&r, stream.ErrLinger)
			}
			testutil.CloseNow(e, peer)
		}
	}},
	{"CloseWaitsForTheEnd", "after all was sent Close waits for the peer's end no longer than Linger, and that is no error", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{Linger: 100 * time.Millisecond}))
		c.Write([]byte("bye"))
		start := time.Now()
		c.Close()
		if got, end := e.receiveAll(peer); got != "bye" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		e.ended(&r, nil)
		if d := time.Since(start); d < 100*time.Millisecond {
			e.Errorf("ended after %v", d)
		}
	}},
	{"CloseOfAPausedOne", "Close of a paused connection reads on to the peer's end", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{Linger: time.Hour, Data: func(*stream.Conn, []byte) int { return 0 }}))
		c.Pause()
		aetest.Send(e, peer, "input")
		c.Write([]byte("bye"))
		c.Close()
		if got, end := e.receiveAll(peer); got != "bye" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
	}},
	{"CloseDropsInput", "after Close there is no Data and no EOF, whatever comes", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{
			Data: func(_ *stream.Conn, p []byte) int { return 0 },
			EOF:  func(*stream.Conn) {},
		}))
		aetest.Send(e, peer, "waits")
		e.poll()
		c.Pause()
		c.Close()
		c.Resume()
		n := len(r.calls)
		aetest.Send(e, peer, "comes")
		e.poll()
		e.must(anet.CloseWrite(peer))
		e.ended(&r, nil)
		if len(r.calls) != n+1 {
			e.Errorf("calls after Close: %v", r.calls[n:])
		}
	}},
	{"AbortIsAReset", "Abort is a reset for the peer, at once, and ErrAborted here", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{}))
		c.Write(make([]byte, 1<<20))
		e.poll()
		c.Abort()
		if c.Open() || c.FD() != -1 || c.Queued() != 0 {
			e.Errorf("open %v, descriptor %d, queued %d", c.Open(), c.FD(), c.Queued())
		}
		_, end := e.receiveAll(peer)
		if e.network == "tcp" && end != unix.ECONNRESET {
			e.Errorf("the peer sees %v", end)
		}
		e.ended(&r, stream.ErrAborted)
	}},
	{"PeersResetIsTold", "a reset by the peer ends with ECONNRESET", tcpOnly, func(e *env) {
		var r record
		_, peer := e.pair(r.of(stream.Handler{EOF: func(*stream.Conn) { e.Error("EOF") }}))
		aetest.Reset(e, peer)
		e.ended(&r, unix.ECONNRESET)
	}},
	{"DetachLosesNothing", "Detach hands over the descriptor and all that waits, and no callback follows", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{Data: func(*stream.Conn, []byte) int { return 0 }}))
		aetest.Send(e, peer, "input")
		e.until("Data", func() bool { return r.count("Data") == 1 })
		output := strings.Repeat("output", 2000)
		c.Write([]byte(output[:3000]))
		c.Write([]byte(output[3000:]))
		n := len(r.calls)
		fd, in, out := c.Detach()
		e.own(fd)
		if string(in) != "input" || string(out) != output {
			e.Errorf("%q, %d bytes of %d", in, len(out), len(output))
		}
		if c.Open() || e.l.Len() != 0 || e.el.FileEvents(fd) != ae.None {
			e.Errorf("open %v, %d connections, watched for %d", c.Open(), e.l.Len(), e.el.FileEvents(fd))
		}
		aetest.Send(e, fd, "raw")
		e.receive(peer, "raw")
		e.poll()
		if len(r.calls) != n {
			e.Errorf("calls after Detach: %v", r.calls[n:])
		}
		if fd, _, _ := c.Detach(); fd != -1 {
			e.Errorf("a second Detach returns %d", fd)
		}
	}},
	{"CloseFromTheStart", "a connection that is closed before its Open sends what was written, and only Close is called", both, func(e *env) {
		var r record
		fd, peer := e.sockets()
		e.own(peer)
		c := e.adopt(fd, r.of(stream.Handler{}))
		c.Write([]byte("short"))
		c.Close()
		if got, end := e.receiveAll(peer); got != "short" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
		if len(r.calls) != 1 {
			e.Errorf("calls: %v", r.calls)
		}
	}},
}
