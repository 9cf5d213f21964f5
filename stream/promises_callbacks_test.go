package stream_test

import (
	"slices"
	"strings"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

// acts are what a callback may do to a connection that ends it.
var acts = map[string]func(c *stream.Conn){
	"Close":      func(c *stream.Conn) { c.Close() },
	"Abort":      func(c *stream.Conn) { c.Abort() },
	"CloseTwice": func(c *stream.Conn) { c.Close(); c.Abort(); c.Close() },
	"Everything": func(c *stream.Conn) {
		c.Pause()
		c.Write([]byte("last"))
		c.CloseWrite()
		c.Resume()
		c.SetDeadline(time.Now())
		c.Need(3)
		c.Close()
		c.Write([]byte("too late"))
		c.Abort()
	},
	"Slow": func(c *stream.Conn) { c.Write(make([]byte, 8<<20)) },
}

// places are the callbacks, and how a row has each called.
var places = map[string]func(e *env, c *stream.Conn, peer int){
	"Open":     func(*env, *stream.Conn, int) {},
	"Data":     func(e *env, _ *stream.Conn, peer int) { aetest.Send(e, peer, "x") },
	"EOF":      func(e *env, _ *stream.Conn, peer int) { e.must(anet.CloseWrite(peer)) },
	"Idled":    func(*env, *stream.Conn, int) {},
	"Shutdown": func(e *env, _ *stream.Conn, _ int) { e.l.Shutdown(10*time.Millisecond, nil) },
	"Close":    func(_ *env, c *stream.Conn, _ int) { c.Abort() },
	"Drained": func(e *env, c *stream.Conn, peer int) {
		c.Write(make([]byte, 1<<20))
		e.poll()
		e.until("drained", func() bool { aetest.Receive(peer); return c.Queued() == 0 })
	},
}

// handlerAt returns a Handler that calls fn in one place.
func handlerAt(place string, fn func(c *stream.Conn)) stream.Handler {
	h := stream.Handler{
		Linger: 20 * time.Millisecond,
		Limit:  2 << 20,
		Data:   func(_ *stream.Conn, p []byte) int { return len(p) },
	}
	switch place {
	case "Open":
		h.Open = fn
	case "Data":
		h.Data = func(c *stream.Conn, p []byte) int { fn(c); return len(p) }
	case "EOF":
		h.EOF = fn
	case "Idled":
		h.Idle, h.Idled = 10*time.Millisecond, fn
	case "Shutdown":
		h.Shutdown = fn
	case "Close":
		h.Close = func(c *stream.Conn, _ error) { fn(c) }
	case "Drained":
		h.High, h.Drained = 1000, fn
	}
	return h
}

var callbackPromises = []promise{
	{"CloseOnceAndLast", "whatever ends whatever in whichever callback, each Close comes once, last, and not inside a method", both, func(e *env) {
		for place, bring := range places {
			for act, do := range acts {
				e.closeOnceAndLast(act+" in "+place+", itself", place, bring, do, true)
				if act == "Close" || act == "Abort" {
					e.closeOnceAndLast(act+" in "+place+", another", place, bring, do, false)
				}
			}
		}
	}},
	{"CloseAfterData", "the Close of a connection that its Data ends comes when that has returned, though it runs the loop", both, func(e *env) {
		var r record
		_, peer := e.pair(r.of(stream.Handler{Data: func(c *stream.Conn, p []byte) int {
			c.Abort()
			if e.poll(); r.closed() {
				e.Error("Close was called inside Data")
			}
			return 0
		}}))
		aetest.Send(e, peer, "x")
		e.ended(&r, stream.ErrAborted)
	}},
	{"DeadMethods", "after its Close callback the methods of a connection do nothing", both, func(e *env) {
		var r record
		c, _ := e.pair(r.of(stream.Handler{}))
		c.Abort()
		e.ended(&r, stream.ErrAborted)
		n := len(r.calls)
		if _, err := c.Write([]byte("x")); err != stream.ErrClosed {
			e.Errorf("Write: %v", err)
		}
		c.Pause()
		c.Resume()
		c.CloseWrite()
		c.Close()
		c.Abort()
		c.Need(1)
		c.SetDeadline(time.Now())
		c.SetHandler(r.of(stream.Handler{Idle: 1}))
		if fd, in, out := c.Detach(); fd != -1 || in != nil || out != nil {
			e.Errorf("Detach: %d, %q, %q", fd, in, out)
		}
		if err := c.MoveTo(e.l); err != stream.ErrClosed {
			e.Errorf("MoveTo: %v", err)
		}
		e.poll()
		if len(r.calls) != n || c.Open() || c.Queued() != 0 || c.FD() != -1 || c.Loop() != e.l || e.l.Len() != 0 {
			e.Errorf("calls %v, open %v, queued %d, descriptor %d, %d connections", r.calls[n:], c.Open(), c.Queued(), c.FD(), e.l.Len())
		}
	}},
	{"Broadcast", "a broadcast may end any of the connections that All yields", both, func(e *env) {
		var rs [12]record
		var conns []*stream.Conn
		h := func(i int) *stream.Handler {
			return rs[i].of(stream.Handler{Linger: 20 * time.Millisecond, Data: func(c *stream.Conn, p []byte) int {
				n := 0
				for other := range e.l.All() {
					if !other.Open() {
						e.Error("All yields a connection that is not open")
					}
					other.Write(p)
					switch n++; n % 4 {
					case 1:
						other.Abort()
					case 2:
						other.Close()
					case 3:
						conns[len(conns)-1].Abort()
					}
				}
				return len(p)
			}})
		}
		var peers []int
		for i := range rs {
			c, peer := e.pair(h(i))
			conns, peers = append(conns, c), append(peers, peer)
		}
		for _, p := range peers {
			anet.Write(p, []byte("all"))
		}
		e.poll()
		for i := range conns {
			conns[i].Abort()
			e.until("Close", rs[i].closed)
		}
		e.poll()
		for i := range rs {
			if rs[i].count("Close") != 1 {
				e.Errorf("%d: %v", i, rs[i].calls)
			}
		}
	}},
	{"NoDrainedAfterClose", "after Close there is no Drained", both, func(e *env) {
		var r record
		c, peer := e.tightPair(r.of(stream.Handler{High: 1000, Drained: func(*stream.Conn) {}}))
		c.Write(make([]byte, 1<<20))
		e.poll()
		c.Close()
		e.receiveAll(peer)
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
		if r.count("Drained") != 0 {
			e.Errorf("calls: %v", r.calls)
		}
	}},
	{"DataLoopAsksOpen", "Open is false from the moment at which Data closes its connection", both, func(e *env) {
		lines := 0
		_, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			n := 0
			for c.Open() && n < len(p) {
				n++
				if lines++; lines == 2 {
					c.Close()
				}
			}
			return n
		}))
		aetest.Send(e, peer, "abcd")
		e.until("Data", func() bool { return lines > 0 })
		e.poll()
		if lines != 2 {
			e.Errorf("%d lines after a Close in the second", lines)
		}
	}},
	{"Panics", "after a panic in any callback the loop goes on: for others, for what is due, and Close still comes", both, func(e *env) {
		for place, bring := range places {
			e.panics(place, bring)
		}
	}},
	{"PanicInBeforeSend", "after a panic in BeforeSend nothing is lost", both, func(e *env) {
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		once := true
		e.l.BeforeSend(func() bool {
			if once {
				once = false
				panic("on purpose")
			}
			return true
		})
		c.Write([]byte("kept"))
		if !e.panicsNow(func() { e.el.ProcessEvents(aetest.Iteration) }) {
			e.Error("no panic")
		}
		e.receive(peer, "kept")
	}},
}

// closeOnceAndLast has a callback of one connection end itself, or another one.
func (e *env) closeOnceAndLast(what, place string, bring func(*env, *stream.Conn, int), do func(*stream.Conn), self bool) {
	el, l := e.el, e.l
	e.el, e.l = e.newLoop()
	defer func() {
		e.l.Close()
		e.must(e.el.Close())
		e.el, e.l = el, l
	}()
	var r, other record
	inMethod, done := false, false
	check := func(c *stream.Conn) {
		if inMethod {
			e.Errorf("%s: a callback inside a method", what)
		}
	}
	oh := stream.Handler{Linger: 20 * time.Millisecond, Limit: 2 << 20, Close: func(c *stream.Conn, _ error) { check(c) }, Data: func(_ *stream.Conn, p []byte) int { return len(p) }}
	victim, _ := e.pair(other.of(oh))
	h := handlerAt(place, func(c *stream.Conn) {
		check(c)
		if !done {
			done = true
			inMethod = true
			if self {
				do(c)
			} else {
				do(victim)
			}
			inMethod = false
		}
	})
	fd, peer := e.sockets()
	e.must(anet.SetSendBuffer(fd, 1)) // for Drained
	e.own(peer)
	c := e.adopt(fd, r.of(h))
	e.poll()
	if place != "Open" && place != "Close" && place != "Idled" && !c.Open() {
		e.Fatalf("%s: ended early", what)
	}
	bring(e, c, peer)
	e.until(what, func() bool { return done })
	mine, victims := &r, &other
	if !self {
		e.until(what+": Close", victims.closed)
	}
	e.poll()
	c.Abort()
	victim.Abort()
	e.until(what+": Close", func() bool { return mine.closed() && victims.closed() })
	e.poll()
	for _, r := range []*record{mine, victims} {
		if r.count("Close") != 1 || r.calls[len(r.calls)-1] != "Close" {
			e.Errorf("%s: %v", what, r.calls)
		}
		if i := slices.Index(r.calls, "Open"); i != 0 {
			e.Errorf("%s: Open is not first: %v", what, r.calls)
		}
	}
	if n := e.l.Len(); n != 0 {
		e.Errorf("%s: %d connections are left", what, n)
	}
	testutil.CloseNow(e, peer)
}

// panicsNow reports whether fn panics.
func (e *env) panicsNow(fn func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	fn()
	return false
}

// panics has one callback panic, and then looks at what is left.
func (e *env) panics(place string, bring func(*env, *stream.Conn, int)) {
	el, l := e.el, e.l
	e.el, e.l = e.newLoop()
	defer func() {
		e.l.Close()
		e.must(e.el.Close())
		e.el, e.l = el, l
	}()
	var r, idle, echo record
	panicked := false
	h := handlerAt(place, func(*stream.Conn) {
		if !panicked {
			panicked = true
			panic("on purpose")
		}
	})
	eh := stream.Handler{Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) }}
	_, ep := e.pair(echo.of(eh))
	e.pair(idle.of(stream.Handler{Idle: 60 * time.Millisecond}))
	fd, peer := e.sockets()
	e.must(anet.SetSendBuffer(fd, 1)) // for Drained
	e.own(peer)
	c := e.adopt(fd, r.of(h))

	caught := e.panicsNow(func() {
		e.poll()
		bring(e, c, peer)
		e.until("a panic in "+place, func() bool { return false })
	})
	if !caught || !panicked {
		e.Fatalf("%s: no panic", place)
	}
	c.Abort()
	e.until(place+": Close", r.closed)
	if n := r.count("Close"); n != 1 {
		e.Errorf("%s: Close was called %d times", place, n)
	}
	if strings.Count(strings.Join(r.calls, " "), place) > 1 && place != "Data" && place != "Idled" && place != "Drained" {
		e.Errorf("%s: called again: %v", place, r.calls)
	}
	if place == "Shutdown" {
		e.until("the others' end", func() bool { return echo.closed() && idle.closed() })
		return
	}
	aetest.Send(e, ep, "alive")
	e.receive(ep, "alive")
	e.until(place+": idle timeout of another", idle.closed)
}
