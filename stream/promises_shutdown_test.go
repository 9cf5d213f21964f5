package stream_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

var shutdownPromises = []promise{
	{"BacklogFirst", "who waits in the backlog is accepted before the listener closes", both, func(e *env) {
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		var clients []int
		for range 5 {
			c := e.connect(ln.Addr())
			ae.Wait(c, ae.Writable, testutil.Patience)
			aetest.Send(e, c, "hello")
			clients = append(clients, c)
		}
		over := false
		e.must(e.l.Shutdown(time.Minute, func() { over = true }))
		for _, c := range clients {
			e.receive(c, "hello")
		}
		if over {
			e.Error("done though connections are open")
		}
		for _, c := range clients {
			testutil.CloseNow(e, c)
		}
		e.until("done", func() bool { return over })
	}},
	{"WhoWaitedMayDial", "a client that is taken out of the backlog at the end can still be served by a connection to elsewhere", both, func(e *env) {
		elsewhere := aetest.Listen(e)
		backend := anet.LocalString(elsewhere)
		ln := e.listen(stream.ListenConfig{}, &stream.Handler{Open: func(c *stream.Conn) {
			stream.Join(c, e.l.Dial("tcp", backend, testutil.Patience, echoHandler))
		}})
		client := e.connect(ln.Addr())
		ae.Wait(client, ae.Writable, testutil.Patience)
		aetest.Send(e, client, "hello")
		over := false
		e.must(e.l.Shutdown(time.Minute, func() { over = true }))
		server := -1
		e.until("the connection", func() bool {
			server, _, _ = anet.Accept(elsewhere)
			return server >= 0 || over
		})
		if over {
			e.Fatal("the client did not get its connection")
		}
		e.own(server)
		e.until("what the client said", func() bool { n, _ := anet.Unread(server); return n == len("hello") })
		testutil.CloseNow(e, client)
		testutil.CloseNow(e, server)
		e.until("done", func() bool { return over })
	}},
	{"EachIsTold", "each connection's Shutdown is called once, after its Open, also of one that was accepted or adopted just now", both, func(e *env) {
		var rs [3]record
		tell := func(c *stream.Conn) { c.Write([]byte("bye")); c.Close() }
		_, p0 := e.pair(rs[0].of(stream.Handler{Shutdown: tell}))
		ln := e.listen(stream.ListenConfig{}, rs[1].of(stream.Handler{Shutdown: tell}))
		p1 := e.connect(ln.Addr())
		ae.Wait(p1, ae.Writable, testutil.Patience)
		fd, p2 := e.sockets()
		e.own(p2)
		over := 0
		e.el.Post(func(*ae.EventLoop) {
			e.adopt(fd, rs[2].of(stream.Handler{Shutdown: tell}))
			e.must(e.l.Shutdown(time.Minute, func() { over++ }))
		})
		for _, p := range []int{p0, p1, p2} {
			if got, end := e.receiveAll(p); got != "bye" || end != io.EOF {
				e.Errorf("received %q, %v", got, end)
			}
			testutil.CloseNow(e, p)
		}
		e.until("done", func() bool { return over > 0 })
		e.poll()
		for i := range rs {
			if !slices.Equal(rs[i].calls, []string{"Open", "Shutdown", "Close"}) || rs[i].err != nil {
				e.Errorf("%d: %v, %v", i, rs[i].calls, rs[i].err)
			}
		}
		if over != 1 {
			e.Errorf("done was called %d times", over)
		}
	}},
	{"ToldOnce", "a Shutdown that runs the loop has none of the others called twice", both, func(e *env) {
		told, over := 0, false
		e.pair(&stream.Handler{Shutdown: func(c *stream.Conn) { e.poll(); c.Abort() }, Open: func(*stream.Conn) {}})
		fd, peer := e.sockets()
		e.own(peer)
		second := e.adopt(fd, &stream.Handler{Open: func(*stream.Conn) {}, Shutdown: func(*stream.Conn) { told++ }})
		e.must(e.l.Shutdown(time.Minute, func() { over = true }))
		_, err := e.el.ProcessEvents(ae.AllEvents | ae.DontWait) // no BeforeSleep: the second is not open yet
		e.must(err)
		e.until("a call", func() bool { return told > 0 && e.l.Len() == 1 })
		e.poll()
		if told != 1 {
			e.Errorf("called %d times", told)
		}
		second.Abort()
		e.until("done", func() bool { return over })
	}},
	{"DialledIsTold", "one that connects during a shutdown is told after its Open", both, func(e *env) {
		var r record
		e.pair(&stream.Handler{Open: func(*stream.Conn) {}}) // keeps the loop from being done
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		e.l.Dial(e.network, ln.Addr(), 0, r.of(stream.Handler{Shutdown: func(c *stream.Conn) { c.Abort() }}))
		e.must(e.l.Shutdown(time.Minute, nil))
		e.until("Close", r.closed)
		if !slices.Equal(r.calls, []string{"Open", "Shutdown", "Close"}) {
			e.Errorf("%v", r.calls)
		}
	}},
	{"GraceEnds", "what is left after the grace is reset with ErrShutdown, then done is called", both, func(e *env) {
		var r, dialling record
		_, peer := e.pair(r.of(stream.Handler{Shutdown: func(*stream.Conn) {}}))
		if e.network == "tcp" {
			e.l.Dial("tcp", aetest.SilentPort(e), 0, dialling.of(stream.Handler{}))
		}
		start, over := time.Now(), false
		e.must(e.l.Shutdown(100*time.Millisecond, func() {
			over = true
			if !r.closed() {
				e.Error("done before Close")
			}
		}))
		e.until("done", func() bool { return over })
		if d := time.Since(start); d < 100*time.Millisecond || d > slack {
			e.Errorf("done after %v", d)
		}
		e.ended(&r, stream.ErrShutdown)
		if e.network == "tcp" {
			e.until("Close", dialling.closed)
			if dialling.err != stream.ErrShutdown || len(dialling.calls) != 1 {
				e.Errorf("the one that connects: %v, %v", dialling.calls, dialling.err)
			}
		}
		e.receiveAll(peer)
	}},
	{"NothingWrittenIsLost", "what was written before and during a shutdown arrives", both, func(e *env) {
		var r record
		c, peer := e.pair(r.of(stream.Handler{Shutdown: func(c *stream.Conn) { c.Write([]byte("end")); c.Close() }}))
		c.Write([]byte(strings.Repeat("w", 3<<20)))
		e.must(e.l.Shutdown(time.Minute, nil))
		if got, end := e.receiveAll(peer); len(got) != 3<<20+3 || !strings.HasSuffix(got, "end") || end != io.EOF {
			e.Errorf("%d bytes, %v", len(got), end)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
	}},
	{"NothingNew", "a loop that shuts down takes nothing new, with ErrShutdown, also when it is done", both, func(e *env) {
		_, peer := e.pair(&stream.Handler{Open: func(*stream.Conn) {}})
		for _, when := range []string{"during", "after"} {
			over := false
			err := e.l.Shutdown(time.Minute, func() { over = true })
			if when == "after" {
				if err != stream.ErrShutdown {
					e.Errorf("a second Shutdown: %v", err)
				}
				testutil.CloseNow(e, peer)
				e.until("the end", func() bool { return e.l.Len() == 0 })
				e.poll()
			}
			_ = over
			fd, p := e.sockets()
			e.own(fd)
			e.own(p)
			if _, err := e.l.Adopt(fd, echoHandler); err != stream.ErrShutdown {
				e.Errorf("%s: Adopt: %v", when, err)
			}
			if _, err := e.l.Listen(e.network, e.address(), stream.ListenConfig{}, echoHandler); err != stream.ErrShutdown {
				e.Errorf("%s: Listen: %v", when, err)
			}
			var r record
			c := e.l.Dial(e.network, "127.0.0.1:1", 0, r.of(stream.Handler{}))
			if c.Open() {
				e.Errorf("%s: Dial: open", when)
			}
			e.ended(&r, stream.ErrShutdown)
		}
	}},
	{"EmptyLoop", "a loop without connections is done at once, and only then", both, func(e *env) {
		over := false
		e.must(e.l.Shutdown(time.Hour, func() { over = true }))
		if over {
			e.Error("done was called inside Shutdown")
		}
		e.until("done", func() bool { return over })
		if n := e.runFor(10 * time.Millisecond); n > 5 {
			e.Errorf("%d iterations", n)
		}
	}},
	{"CloseEndsAll", "Loop.Close ends everything and calls each Close, also inside a callback, and comes back", both, func(e *env) {
		for _, inside := range []bool{false, true} {
			el, l := e.newLoop()
			var rs [3]record
			for i := range rs {
				fd, peer := e.sockets()
				e.own(peer)
				c, err := l.Adopt(fd, rs[i].of(stream.Handler{Data: func(_ *stream.Conn, p []byte) int {
					l.Close()
					return len(p)
				}}))
				e.must(err)
				c.Write(make([]byte, 10_000))
				aetest.Send(e, peer, "x")
			}
			if inside {
				for range 3 {
					el.ProcessEvents(aetest.Iteration | ae.DontWait)
				}
			} else {
				l.Close()
			}
			for i := range rs {
				if rs[i].count("Close") != 1 || !errors.Is(rs[i].err, stream.ErrShutdown) {
					e.Errorf("inside %v: %v, %v", inside, rs[i].calls, rs[i].err)
				}
			}
			if l.Len() != 0 {
				e.Errorf("%d connections are left", l.Len())
			}
			l.Close()
			e.must(el.Close())
		}
	}},
	{"PanicsGoOn", "a panic in the Shutdown of one connection leaves neither the others untold nor done uncalled", both, func(e *env) {
		told, over := 0, false
		for range 4 {
			e.pair(&stream.Handler{Open: func(*stream.Conn) {}, Shutdown: func(c *stream.Conn) {
				told++
				c.Abort()
				if told == 2 {
					panic("on purpose")
				}
			}})
		}
		e.must(e.l.Shutdown(time.Minute, func() { over = true }))
		if !e.panicsNow(func() { e.until("a panic", func() bool { return false }) }) {
			e.Error("no panic")
		}
		e.until("done", func() bool { return over })
		if told != 4 {
			e.Errorf("%d of 4 were told", told)
		}
	}},
}
