package stream_test

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

var postPromises = []promise{
	{"OnceAndInOrder", "what any goroutine posts runs once, in its order, on the loop", both, func(e *env) {
		c, peer := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		const each = 1000
		var next [4]int
		done := 0
		for g := range next {
			go func() {
				for i := range each {
					err := c.Post(func(c *stream.Conn) {
						if next[g] != i {
							e.Errorf("goroutine %d: %d after %d", g, i, next[g])
						}
						next[g] = i + 1
						done++
						c.Write([]byte("."))
					})
					if err != nil {
						e.Error(err)
					}
				}
			}()
		}
		got := 0
		e.until("all", func() bool { s, _ := aetest.Receive(peer); got += len(s); return done == 4*each && got == 4*each })
	}},
	{"SeesTheEnd", "a function posted for a connection that has ended runs, and finds it not open", both, func(e *env) {
		var r record
		c, _ := e.pair(r.of(stream.Handler{}))
		ran := 0
		check := func(c *stream.Conn) {
			ran++
			if c.Open() {
				e.Error("open")
			}
		}
		c.Abort()
		e.must(c.Post(check))
		e.ended(&r, stream.ErrAborted)
		e.must(c.Post(check))
		e.until("both", func() bool { return ran == 2 })
	}},
	{"ClosedLoop", "Post on a closed loop is ae.ErrClosed, and a nil function panics", both, func(e *env) {
		el, l := e.newLoop()
		fd, peer := e.sockets()
		e.own(peer)
		c, err := l.Adopt(fd, echoHandler)
		e.must(err)
		ran := false
		e.must(c.Post(func(*stream.Conn) { ran = true }))
		l.Close()
		e.must(el.Close())
		if !ran {
			e.Error("what was posted before has not run")
		}
		if err := c.Post(func(*stream.Conn) {}); !errors.Is(err, ae.ErrClosed) {
			e.Errorf("Post: %v", err)
		}
		if !e.panicsNow(func() { c.Post(nil) }) {
			e.Error("no panic")
		}
	}},
	{"MoveTo", "a connection moves with all that waits in it, and what is posted follows it", both, func(e *env) {
		el2, l2 := e.newLoop()
		defer func() { l2.Close(); el2.Close() }()
		got := ""
		var where *stream.Loop
		c, peer := e.pair(&stream.Handler{Data: func(c *stream.Conn, p []byte) int {
			where = c.Loop()
			if string(p) == "wait" {
				return 0
			}
			got += string(p)
			return len(p)
		}})
		aetest.Send(e, peer, "wait")
		e.until("Data", func() bool { return where != nil })
		c.Write([]byte("output"))
		before := false
		c.Post(func(*stream.Conn) { before = true })
		e.must(c.MoveTo(l2))
		if e.el.FileEvents(c.FD()) != ae.None {
			e.Error("the old loop still watches it")
		}
		ran := false
		c.Post(func(*stream.Conn) { ran = true })
		e.poll()
		if before {
			e.Error("what was posted before has run on the old loop")
		}
		text := ""
		untilOn(e, el2, "the output", func() bool { s, _ := aetest.Receive(peer); text += s; return text == "output" && ran && before })
		aetest.Send(e, peer, "ing")
		untilOn(e, el2, "the input", func() bool { return got == "waiting" })
		if where != l2 || l2.Len() != 1 || e.l.Len() != 0 {
			e.Errorf("on the right loop: %v; %d and %d connections", where == l2, e.l.Len(), l2.Len())
		}
		e.must(c.MoveTo(l2))
	}},
	{"MoveToRefused", "MoveTo to a closed loop is ae.ErrClosed and changes nothing; at a bad moment it is EINVAL", both, func(e *env) {
		el2, l2 := e.newLoop()
		l2.Close()
		e.must(el2.Close())
		var inside error
		c, peer := e.pair(dataOnly(func(c *stream.Conn, p []byte) int {
			inside = c.MoveTo(l2)
			c.Write(p)
			return len(p)
		}))
		if err := c.MoveTo(l2); !errors.Is(err, ae.ErrClosed) {
			e.Errorf("MoveTo: %v", err)
		}
		aetest.Send(e, peer, "here")
		e.receive(peer, "here")
		if inside == nil || errors.Is(inside, ae.ErrClosed) {
			e.Errorf("inside Data: %v", inside)
		}
		other, _ := e.pair(echoHandler)
		stream.Join(c, other)
		if err := c.MoveTo(l2); !errors.Is(err, unix.EINVAL) {
			e.Errorf("joined: %v", err)
		}
	}},
	{"NoLostPosts", "posts that cross a move and the end of a loop all run or are refused", both, func(e *env) {
		el2, l2 := e.newLoop()
		c, _ := e.pair(dataOnly(func(_ *stream.Conn, p []byte) int { return len(p) }))
		var taken, ran atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 500 {
					if c.Post(func(*stream.Conn) { ran.Add(1) }) == nil {
						taken.Add(1)
					}
				}
			})
		}
		e.must(c.MoveTo(l2))
		finished := make(chan struct{})
		go func() { wg.Wait(); close(finished) }()
		over := func() bool {
			select {
			case <-finished:
				return true
			default:
				return false
			}
		}
		e.until("the goroutines", over)
		e.poll()
		untilOn(e, el2, "all that was posted", func() bool { e.poll(); return ran.Load() == taken.Load() })
		e.must(c.Post(func(*stream.Conn) { ran.Add(1) }))
		l2.Close()
		e.must(el2.Close())
		if ran.Load() != taken.Load()+1 {
			e.Errorf("%d of %d ran", ran.Load(), taken.Load()+1)
		}
	}},
}
