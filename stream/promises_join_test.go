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

// joined returns two joined connections and their peers.
func (e *env) joined(ra, rb *record, h stream.Handler) (a, b *stream.Conn, pa, pb int) {
	e.Helper()
	a, pa = e.tightPair(ra.of(h))
	b, pb = e.tightPair(rb.of(h))
	stream.Join(a, b)
	return a, b, pa, pb
}

var joinPromises = []promise{
	{"BothWays", "bytes go both ways, in order, also 4 MiB to a slow reader", both, func(e *env) {
		var ra, rb record
		_, _, pa, pb := e.joined(&ra, &rb, stream.Handler{})
		aetest.Send(e, pa, "to b")
		e.receive(pb, "to b")
		aetest.Send(e, pb, "to a")
		e.receive(pa, "to a")
		const total = 4 << 20
		result := make(chan int, 1)
		go func() {
			n, got := 0, 0
			buf := make([]byte, 3001)
			for got < total {
				m, err := anet.Read(pb, buf)
				if err == anet.ErrWouldBlock {
					ae.Wait(pb, ae.Readable, testutil.Patience)
					continue
				} else if err != nil {
					break
				}
				for i := range m {
					if buf[i] == byte((got+i)*7>>3) {
						n++
					}
				}
				got += m
			}
			result <- n
		}()
		message := make([]byte, total)
		for i := range message {
			message[i] = byte(i * 7 >> 3)
		}
		right := -1
		e.until("4 MiB", func() bool {
			n, _ := anet.Write(pa, message)
			message = message[max(n, 0):]
			select {
			case right = <-result:
			default:
			}
			return right >= 0
		})
		if right != total {
			e.Errorf("%d bytes of %d are right", right, total)
		}
	}},
	{"BackPressure", "nothing grows for a side that does not read, and the other direction goes on", both, func(e *env) {
		var ra, rb record
		a, b, pa, pb := e.joined(&ra, &rb, stream.Handler{High: 50_000, Drained: func(*stream.Conn) {}})
		sent := 0
		for range 500 {
			n, _ := anet.Write(pa, make([]byte, 20_000))
			sent += max(n, 0)
			e.poll()
		}
		if b.Queued() > 50_000+64<<10 || e.el.FileEvents(a.FD())&ae.Readable != 0 {
			e.Errorf("%d queued", b.Queued())
		}
		aetest.Send(e, pb, "other way")
		e.receive(pa, "other way")
		if n := e.runFor(50 * time.Millisecond); n > 10 {
			e.Errorf("%d iterations in 50 ms", n)
		}
		got := 0
		e.until("all", func() bool { s, _ := aetest.Receive(pb); got += len(s); return got == sent })
		e.poll()
		if ra.count("Drained")+rb.count("Drained") > 0 {
			e.Error("Drained of a joined connection")
		}
	}},
	{"FullSide", "a side that has reached High when it is joined stops the other's input, not its own", both, func(e *env) {
		h := stream.Handler{High: 1000, Data: func(_ *stream.Conn, p []byte) int { return len(p) }}
		a, pa := e.tightPair(&h)
		b, pb := e.tightPair(&h)
		a.Write(make([]byte, 100_000))
		e.poll()
		stream.Join(a, b)
		e.poll()
		if m := e.el.FileEvents(b.FD()); m&ae.Readable != 0 {
			e.Error("input is read for a side that is full")
		}
		aetest.Send(e, pa, "its own")
		e.receive(pb, "its own")
		aetest.Send(e, pb, "!")
		e.receive(pa, string(make([]byte, 100_000))+"!")
	}},
	{"HalfCloses", "the end of one side is passed on after its bytes, and the other direction goes on", both, func(e *env) {
		var ra, rb record
		_, _, pa, pb := e.joined(&ra, &rb, stream.Handler{})
		aetest.Send(e, pa, "request")
		e.must(anet.CloseWrite(pa))
		if got, end := e.receiveAll(pb); got != "request" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		aetest.Send(e, pb, "reply")
		e.receive(pa, "reply")
		e.must(anet.CloseWrite(pb))
		if _, end := e.receiveAll(pa); end != io.EOF {
			e.Errorf("%v", end)
		}
		e.ended(&ra, nil)
		e.ended(&rb, nil)
	}},
	{"Resets", "a reset is passed on as a reset", tcpOnly, func(e *env) {
		var ra, rb record
		_, _, pa, pb := e.joined(&ra, &rb, stream.Handler{})
		aetest.Reset(e, pa)
		if _, end := e.receiveAll(pb); end != unix.ECONNRESET {
			e.Errorf("the other side sees %v", end)
		}
		e.ended(&ra, unix.ECONNRESET)
		e.ended(&rb, unix.ECONNRESET)
	}},
	{"IdleIsNoReset", "a side that idles ends the other with ErrIdle, and neither peer sees a reset", both, func(e *env) {
		var ra, rb record
		a, pa := e.pair(ra.of(stream.Handler{Idle: 50 * time.Millisecond}))
		b, pb := e.pair(rb.of(stream.Handler{}))
		stream.Join(a, b)
		for _, p := range []int{pa, pb} {
			if _, end := e.receiveAll(p); end != io.EOF {
				e.Errorf("a peer sees %v", end)
			}
		}
		e.ended(&ra, stream.ErrIdle)
		e.ended(&rb, stream.ErrIdle)
	}},
	{"WaitingInput", "input that waits when Join is called is passed on: what Data leaves, and what it had left before", both, func(e *env) {
		for _, inside := range []bool{true, false} {
			var b *stream.Conn
			a, pa := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
				if !strings.Contains(string(p), "\n") {
					return 0
				}
				if inside {
					stream.Join(c, b)
				}
				return strings.IndexByte(string(p), '\n') + 1
			}))
			var pb int
			b, pb = e.pair(&stream.Handler{Open: func(*stream.Conn) {}})
			aetest.Send(e, pa, "head\nbody")
			e.poll()
			if !inside {
				a.Need(100)
				stream.Join(a, b)
			}
			e.receive(pb, "body")
			a.Abort()
		}
	}},
	{"DialledSide", "a side that still connects may be joined: a proxy in a few lines; one that cannot connect ends the other", both, func(e *env) {
		back := e.listen(stream.ListenConfig{}, echoHandler)
		to := back.Addr()
		var rf record
		front := e.listen(stream.ListenConfig{PerConn: 2}, rf.of(stream.Handler{Open: func(c *stream.Conn) {
			stream.Join(c, e.l.Dial(e.network, to, time.Minute, &stream.Handler{Open: func(*stream.Conn) {}}))
		}}))
		c := e.connect(front.Addr())
		aetest.Send(e, c, "through")
		e.receive(c, "through")
		to = testutil.ShortDir(e) + "/nobody"
		if e.network == "tcp" {
			fd, err := anet.Listen("tcp", "127.0.0.1:0")
			e.must(err)
			to = anet.LocalString(fd)
			unix.Close(fd)
		}
		c2 := e.connect(front.Addr())
		if _, end := e.receiveAll(c2); end == nil {
			e.Error("no end")
		}
	}},
	{"DetachParts", "Detach of one side closes the other", both, func(e *env) {
		var ra, rb record
		a, _, _, pb := e.joined(&ra, &rb, stream.Handler{})
		fd, _, _ := a.Detach()
		e.own(fd)
		if _, end := e.receiveAll(pb); end != io.EOF {
			e.Errorf("%v", end)
		}
		testutil.CloseNow(e, pb)
		e.ended(&rb, nil)
	}},
	{"OneClosed", "Close of one side sends what waits for both, and ends both without error", both, func(e *env) {
		var ra, rb record
		a, _, pa, pb := e.joined(&ra, &rb, stream.Handler{})
		aetest.Send(e, pa, strings.Repeat("x", 1000))
		e.receive(pb, strings.Repeat("x", 1000))
		a.Write([]byte("bye"))
		a.Close()
		aetest.Send(e, pb, "late")
		if got, end := e.receiveAll(pa); got != "bye" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		testutil.CloseNow(e, pa)
		e.ended(&ra, nil)
		if _, end := e.receiveAll(pb); end != io.EOF {
			e.Errorf("%v", end)
		}
		testutil.CloseNow(e, pb)
		e.ended(&rb, nil)
	}},
}
