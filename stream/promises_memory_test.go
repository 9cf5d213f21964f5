package stream_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

// allocations returns how many one call of fn makes.
func (e *env) allocations(what string, fn func()) {
	e.Helper()
	for range 50 {
		fn() // tables and pools reach their size
	}
	if n := testing.AllocsPerRun(200, fn); n != 0 {
		e.Errorf("%s: %v allocations", what, n)
	}
}

func (e *env) step() {
	if _, err := e.el.ProcessEvents(aetest.Iteration | ae.DontWait); err != nil {
		e.Fatal(err)
	}
}

var memoryPromises = []promise{
	{"NoAllocations", "an echo, a flush, a timeout that is put off and a broadcast to clients that keep up allocate nothing", both, func(e *env) {
		h := *echoHandler
		h.Idle = time.Hour
		_, peer := e.pair(&h)
		for _, size := range []int{64, 4 << 10} {
			message, buf := make([]byte, size), make([]byte, 8<<10)
			e.allocations(fmt.Sprintf("echo of %d bytes", size), func() {
				anet.Write(peer, message)
				for got := 0; got < size; {
					e.step()
					n, _ := anet.Read(peer, buf)
					got += max(n, 0)
				}
			})
		}

		c, peer := e.pair(&stream.Handler{Idle: time.Hour, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		line, buf := make([]byte, 200), make([]byte, 64<<10)
		e.allocations("flush of several writes", func() {
			for range 10 {
				c.Write(line)
			}
			for got := 0; got < 2000; {
				e.step()
				n, _ := anet.Read(peer, buf)
				got += max(n, 0)
			}
		})

		half := make([]byte, 100)
		calls := 0
		_, parts := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int {
			calls++
			return len(p) / 200 * 200
		}))
		e.allocations("a message in two parts", func() {
			for range 2 {
				anet.Write(parts, half)
				for n := calls; calls == n; {
					e.step()
				}
			}
		})

		var peers []int
		for range 20 {
			_, p := e.pair(&h)
			peers = append(peers, p)
		}
		e.allocations("broadcast", func() {
			for c := range e.l.All() {
				c.Write(line)
			}
			for _, p := range peers {
				for got := 0; got < len(line); {
					e.step()
					n, _ := anet.Read(p, buf)
					got += max(n, 0)
				}
			}
			anet.Read(peer, buf)
			anet.Read(parts, buf)
		})
	}},
	{"TimeoutPutOff", "a timeout that is put off by traffic allocates nothing", both, func(e *env) {
		h := *echoHandler
		h.Idle = 150 * time.Millisecond
		c, peer := e.pair(&h)
		buf, message := make([]byte, 64), []byte("x")
		echo := func() {
			anet.Write(peer, message)
			for n := 0; n <= 0 && c.Open(); {
				e.step()
				n, _ = anet.Read(peer, buf)
			}
		}
		for range 100 {
			echo()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		echoes := 0
		for end := time.Now().Add(600 * time.Millisecond); time.Now().Before(end); echoes++ {
			echo()
		}
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n > uint64(echoes)/20+20 {
			e.Errorf("%d allocations in %d echoes", n, echoes)
		}
		if !c.Open() {
			e.Error("idle in spite of traffic")
		}
	}},
	{"BufferOnlyWhileBytesWait", "a connection in which nothing waits has no buffer, after much input and output too", both, func(e *env) {
		got := 0
		h := stream.Handler{Data: func(c *stream.Conn, p []byte) int {
			if len(p) < 1<<20 {
				c.Need(1 << 20)
				return 0
			}
			got += len(p)
			return len(p)
		}}
		before := testutil.Heap()
		var conns []*stream.Conn
		for range 10 {
			c, peer := e.pair(&h)
			conns = append(conns, c)
			rest := make([]byte, 1<<20)
			got = 0
			e.until("the message", func() bool {
				n, _ := anet.Write(peer, rest)
				rest = rest[max(n, 0):]
				return got == 1<<20
			})
			c.Write(make([]byte, 1<<20))
			n := 0
			e.until("the output", func() bool { s, _ := aetest.Receive(peer); n += len(s); return n == 1<<20 })
		}
		if grown := testutil.Heap() - before; grown > 3<<20 {
			e.Errorf("%d bytes of heap for %d connections without a byte", grown, len(conns))
		}
		runtime.KeepAlive(conns)
	}},
	{"SmallRestSmallBuffer", "a few bytes that are left of a big input do not hold its buffer", both, func(e *env) {
		const n, size = 20, 1 << 20
		done := 0
		h := stream.Handler{
			Open: func(c *stream.Conn) { c.Need(size) },
			Data: func(c *stream.Conn, p []byte) int {
				if len(p) < size {
					return 0
				}
				done++
				return size - 1
			},
		}
		before := testutil.Heap()
		for i := range n {
			_, peer := e.pair(&h)
			rest := make([]byte, size)
			e.until("the message", func() bool {
				n, _ := anet.Write(peer, rest)
				rest = rest[max(n, 0):]
				return done == i+1
			})
		}
		if grown := testutil.Heap() - before; grown > n*size/4 {
			e.Errorf("%d bytes of heap for %d connections with a byte each", grown, n)
		}
	}},
	{"SpareIsBounded", "a loop keeps little of what much output that waits has taken", both, func(e *env) {
		c, _ := e.pair(&stream.Handler{Limit: 64 << 20, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		before := testutil.Heap()
		for range 16 << 20 / 4096 {
			c.Write(make([]byte, 4096))
		}
		c.Abort()
		e.poll()
		if grown := testutil.Heap() - before; grown > 2<<20 {
			e.Errorf("%d bytes of heap for nothing", grown)
		}
	}},
	{"FewBytesFewBytes", "a few bytes that wait take little more memory", both, func(e *env) {
		const n = 200
		e.l.BeforeSend(func() bool { return false })
		var conns []*stream.Conn
		for range n {
			c, _ := e.pair(&stream.Handler{Open: func(*stream.Conn) {}})
			conns = append(conns, c)
		}
		before := testutil.Heap()
		for _, c := range conns {
			c.Write([]byte("a few bytes"))
		}
		if grown := testutil.Heap() - before; grown > n*2048 {
			e.Errorf("%d bytes of heap for %d connections", grown, n)
		}
		runtime.KeepAlive(conns)
	}},
	{"NeedAlone", "Need costs no memory before the bytes come", both, func(e *env) {
		_, peer := e.pair(&stream.Handler{Open: func(c *stream.Conn) { c.Need(64 << 20) }, Data: func(_ *stream.Conn, p []byte) int { return len(p) }})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			aetest.Send(e, peer, strings.Repeat("x", 1000))
			e.poll()
		}
		runtime.ReadMemStats(&after)
		if total := after.TotalAlloc - before.TotalAlloc; total > 1<<20 {
			e.Errorf("%d bytes allocated for 10,000", total)
		}
	}},
	{"ClosedIsCollected", "a connection that has ended is garbage, with its Handler and its data", tcpOnly, func(e *env) {
		var refs []weak.Pointer[stream.Conn]
		var handlers []weak.Pointer[stream.Handler]
		func() {
			for _, end := range []func(c *stream.Conn, peer int){
				func(c *stream.Conn, _ int) { c.Abort() },
				func(c *stream.Conn, peer int) { c.Close(); testutil.CloseNow(e, peer) },
				func(_ *stream.Conn, peer int) { testutil.CloseNow(e, peer) },
				func(c *stream.Conn, _ int) { fd, _, _ := c.Detach(); e.own(fd) },
				func(c *stream.Conn, _ int) { c.Pause(); e.poll(); c.Abort() },
				func(c *stream.Conn, _ int) { c.SetDeadline(time.Now()) },
			} {
				var r record
				h := r.of(stream.Handler{Idle: time.Hour, Data: func(c *stream.Conn, p []byte) int { c.Write(p); return 0 }})
				c, peer := e.pair(h)
				c.Data = c
				aetest.Send(e, peer, "some input that waits")
				e.poll()
				refs = append(refs, weak.Make(c))
				handlers = append(handlers, weak.Make(h))
				end(c, peer)
			}
			a, _ := e.pair(&stream.Handler{Open: func(*stream.Conn) {}})
			b := e.l.Dial("unix", "/nobody/is/here", time.Minute, &stream.Handler{Open: func(*stream.Conn) {}})
			stream.Join(a, b)
			refs = append(refs, weak.Make(a), weak.Make(b))
		}()
		e.until("the ends", func() bool { return e.l.Len() == 0 })
		time.AfterFunc(0, func() {})      // forces nothing to stay on this stack
		e.runFor(1200 * time.Millisecond) // past a look for resets
		left := 0
		for range 20 {
			runtime.GC()
			left = 0
			for _, r := range refs {
				if r.Value() != nil {
					left++
				}
			}
			for _, h := range handlers {
				if h.Value() != nil {
					left++
				}
			}
			if left == 0 {
				return
			}
			e.poll()
		}
		e.Errorf("%d of %d connections and Handlers are not garbage", left, len(refs)+len(handlers))
	}},
	{"IdleConnection", "an idle connection with an idle timeout costs the process at most 256 bytes", both, func(e *env) {
		if raceEnabled {
			e.Skip("the race detector needs memory of its own")
		}
		n := 4000
		if os.Getenv("AE_SOAK") != "" {
			n = 15_000
		}
		if ae.APIName() == "select" {
			n = 500
		}
		each := e.idleBytes(n)
		e.Logf("%d idle connections: %d bytes each", n, each)
		limit := 256
		if n < 15_000 {
			limit += 64 // the process has other things to do
		}
		if each > limit && n > 1000 {
			e.Errorf("%d bytes a connection", each)
		}
	}},
}
