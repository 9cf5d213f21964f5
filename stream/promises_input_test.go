package stream_test

import (
	"io"
	"runtime"
	"strings"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/stream"
)

var inputPromises = []promise{
	{"RestComesAgain", "what Data does not use stands in front of what comes next", both, func(e *env) {
		var got []string
		c, peer := e.pair(&stream.Handler{Data: func(_ *stream.Conn, p []byte) int {
			got = append(got, string(p))
			return strings.LastIndexByte(string(p), '\n') + 1
		}})
		for _, s := range []string{"on", "e\ntw", "o\n"} {
			aetest.Send(e, peer, s)
			n := len(got)
			e.until("Data", func() bool { return len(got) > n })
		}
		if want := "on,one\ntw,two\n"; strings.Join(got, ",") != want || !c.Open() {
			e.Errorf("Data had %q, want %q", got, want)
		}
	}},
	{"NotCalledWithoutMore", "Data that has left something is not called again until more has come", both, func(e *env) {
		calls := 0
		_, peer := e.pair(&stream.Handler{Data: func(*stream.Conn, []byte) int { calls++; return 0 }})
		aetest.Send(e, peer, "half")
		e.until("Data", func() bool { return calls > 0 })
		for range 10 {
			e.poll()
		}
		if calls != 1 {
			e.Errorf("called %d times", calls)
		}
	}},
	{"RestIsACopy", "what waits does not change with what other connections receive", both, func(e *env) {
		var got [2]string
		h := func(i int) *stream.Handler {
			return &stream.Handler{Data: func(_ *stream.Conn, p []byte) int {
				got[i] = string(p)
				return 0
			}}
		}
		_, p0 := e.pair(h(0))
		_, p1 := e.pair(h(1))
		for i, s := range []string{"a", "b", "c"} {
			aetest.Send(e, p0, strings.Repeat(s, 1000))
			aetest.Send(e, p1, strings.Repeat(strings.ToUpper(s), 1000))
			e.until("both", func() bool { return len(got[0]) == 1000*(i+1) && len(got[1]) == 1000*(i+1) })
		}
		want := strings.Repeat("a", 1000) + strings.Repeat("b", 1000) + strings.Repeat("c", 1000)
		if got[0] != want || got[1] != strings.ToUpper(want) {
			e.Error("input has changed while it waited")
		}
	}},
	{"NeedWaits", "a connection that needs n bytes is not called with less, and that holds for one call", both, func(e *env) {
		var lens []int
		_, peer := e.pair(&stream.Handler{
			Open: func(c *stream.Conn) { c.Need(10) },
			Data: func(_ *stream.Conn, p []byte) int { lens = append(lens, len(p)); return len(p) },
		})
		for range 9 {
			aetest.Send(e, peer, "x")
			e.poll()
		}
		if len(lens) != 0 {
			e.Errorf("called with %d bytes of 10", lens[0])
		}
		aetest.Send(e, peer, "x")
		e.until("Data", func() bool { return len(lens) == 1 })
		aetest.Send(e, peer, "y")
		e.until("Data", func() bool { return len(lens) == 2 })
		if lens[0] != 10 || lens[1] != 1 {
			e.Errorf("called with %v bytes, want 10 and 1", lens)
		}
	}},
	{"NeedIsLinear", "a big message costs its own size a few times, however it comes, and may exceed MaxInput", both, func(e *env) {
		const size = 8 << 20
		var got int
		ok := true
		_, peer := e.pair(&stream.Handler{
			MaxInput: 1000,
			Open:     func(c *stream.Conn) { c.Need(size) },
			Data: func(_ *stream.Conn, p []byte) int {
				got = len(p)
				for i := 0; i < len(p); i += 997 {
					ok = ok && p[i] == byte(i%251)
				}
				return len(p)
			},
		})
		message := make([]byte, size)
		for i := range message {
			message[i] = byte(i % 251)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e.until("the message", func() bool {
			n, err := anet.Write(peer, message[:min(len(message), 100_000)])
			if err != nil && err != anet.ErrWouldBlock {
				e.Fatal(err)
			}
			message = message[n:]
			e.poll()
			return got != 0
		})
		runtime.ReadMemStats(&after)
		if got != size || !ok {
			e.Errorf("Data had %d bytes of %d, right: %v", got, size, ok)
		}
		if total := after.TotalAlloc - before.TotalAlloc; total > 6*size {
			e.Errorf("%d bytes allocated for a message of %d", total, size)
		}
	}},
	{"NestedGetsAnotherBuffer", "Data that runs the loop keeps its input, and is not called again meanwhile", both, func(e *env) {
		var got, other string
		h := collect(&other)
		_, peer2 := e.pair(&h)
		inside := false
		var peer int
		_, peer = e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			if inside {
				e.Error("Data was called inside Data")
			}
			inside = true
			aetest.Send(e, peer2, strings.Repeat("b", 5000))
			aetest.Send(e, peer, "more")
			e.until("the other connection", func() bool { return len(other) == 5000 })
			inside = false
			got += string(p)
			other = ""
			return len(p)
		}))
		aetest.Send(e, peer, strings.Repeat("a", 3000))
		e.until("more", func() bool { return strings.HasSuffix(got, "more") })
		if got != strings.Repeat("a", 3000)+"more" {
			e.Errorf("Data had %.20q and so on", got)
		}
	}},
	{"NestedMoreComesLater", "input that comes while Data runs the loop is there after it", both, func(e *env) {
		var got string
		var peer int
		_, peer = e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			if got == "" {
				aetest.Send(e, peer, "second")
				e.poll()
			}
			got += string(p)
			return len(p)
		}))
		aetest.Send(e, peer, "first")
		e.until("both", func() bool { return got == "firstsecond" })
	}},
	{"EOFLeavesTheRest", "input that Data has not used is not lost by an end of file: Detach and a new Handler have it", both, func(e *env) {
		var rest string
		h2 := collect(&rest)
		_, peer := e.pair(&stream.Handler{
			Data: func(*stream.Conn, []byte) int { return 0 },
			EOF:  func(c *stream.Conn) { c.SetHandler(&h2) },
		})
		aetest.Send(e, peer, "unfinished")
		e.poll()
		e.must(anet.CloseWrite(peer))
		e.until("the rest", func() bool { return rest == "unfinished" })

		var in []byte
		_, peer = e.pair(&stream.Handler{
			Data: func(*stream.Conn, []byte) int { return 0 },
			EOF: func(c *stream.Conn) {
				var fd int
				fd, in, _ = c.Detach()
				e.own(fd)
			},
		})
		aetest.Send(e, peer, "unfinished")
		e.poll()
		e.must(anet.CloseWrite(peer))
		e.until("Detach", func() bool { return string(in) == "unfinished" })
	}},
	{"NewHandlerHasTheRest", "what Data leaves to the Handler that it sets is offered to that at once", both, func(e *env) {
		var rest string
		h2 := collect(&rest)
		_, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			c.SetHandler(&h2)
			return 4
		}))
		aetest.Send(e, peer, "headbody")
		e.until("the body", func() bool { return rest == "body" })
	}},
	{"NilDataDrops", "without Data all input is dropped", both, func(e *env) {
		r := &record{}
		c, peer := e.pair(r.of(stream.Handler{EOF: func(c *stream.Conn) { c.Write([]byte("end")); c.Close() }}))
		aetest.Send(e, peer, "something")
		e.poll()
		e.must(anet.CloseWrite(peer))
		if got, err := e.receiveAll(peer); got != "end" || err != io.EOF {
			e.Errorf("received %q, %v", got, err)
		}
		e.ended(r, nil)
		if c.Open() {
			e.Error("open after the end")
		}
	}},
	{"TooLong", "Data that uses nothing of MaxInput bytes ends the connection with ErrTooLong", both, func(e *env) {
		r := &record{}
		_, peer := e.pair(r.of(stream.Handler{MaxInput: 1000, Data: func(*stream.Conn, []byte) int { return 0 }}))
		aetest.Send(e, peer, strings.Repeat("x", 999))
		e.poll()
		if r.closed() {
			e.Error("ended below MaxInput")
		}
		aetest.Send(e, peer, "x")
		e.ended(r, stream.ErrTooLong)
	}},
	{"TooLongByDefault", "what waits is bounded without a MaxInput too", both, func(e *env) {
		var r record
		_, peer := e.pair(r.of(stream.Handler{Data: func(*stream.Conn, []byte) int { return 0 }}))
		sent := 0
		e.until("the end", func() bool {
			n, _ := anet.Write(peer, make([]byte, 64<<10))
			if sent += max(n, 0); sent > 16<<20 {
				e.Fatalf("%d bytes wait", sent)
			}
			return r.closed()
		})
		e.ended(&r, stream.ErrTooLong)
	}},
	{"LeavingMoreAndMoreIsTooLong", "Data that always takes less than comes does not make the connection's input grow without bound", both, func(e *env) {
		r := &record{}
		c, peer := e.pair(r.of(stream.Handler{MaxInput: 1000, Data: func(*stream.Conn, []byte) int { return 1 }}))
		sent := 0
		e.until("the end", func() bool {
			n, _ := anet.Write(peer, make([]byte, 4096))
			sent += n
			return r.closed()
		})
		if sent < 64<<10 || c.Open() {
			e.Errorf("open %v after %d bytes", c.Open(), sent)
		}
		e.ended(r, stream.ErrTooLong)
	}},
	{"PausedIsNotTooLong", "Data that pauses and uses nothing of much has not met too long a message", both, func(e *env) {
		r := &record{}
		got := 0
		paused := false
		c, peer := e.pair(r.of(stream.Handler{MaxInput: 1000, Data: func(c *stream.Conn, p []byte) int {
			if !paused {
				paused = true
				c.Pause()
				return 0
			}
			got += len(p)
			return len(p)
		}}))
		aetest.Send(e, peer, strings.Repeat("x", 5000))
		e.until("Data", func() bool { return paused })
		e.poll()
		c.Resume()
		e.until("all", func() bool { return got == 5000 })
	}},
	{"TailBeforeEOF", "all that the peer sent before its end comes before EOF, which comes once", both, func(e *env) {
		r := &record{}
		got := 0
		c, peer := e.pair(r.of(stream.Handler{
			Data: func(_ *stream.Conn, p []byte) int { got += len(p); return len(p) },
			EOF: func(*stream.Conn) {
				if got != 100_000 {
					e.Errorf("EOF after %d bytes", got)
				}
			},
		}))
		rest := strings.Repeat("z", 100_000)
		e.until("sent", func() bool {
			n, _ := anet.Write(peer, []byte(rest))
			rest = rest[n:]
			return rest == ""
		})
		e.must(anet.CloseWrite(peer))
		e.until("EOF", func() bool { return r.count("EOF") > 0 })
		e.poll()
		if r.count("EOF") != 1 || !c.Open() {
			e.Errorf("%v", r.calls)
		}
	}},
}

// dataOnly is a Handler that has Data alone.
func dataOnly(data func(c *stream.Conn, p []byte) int) *stream.Handler {
	return &stream.Handler{Data: data}
}
