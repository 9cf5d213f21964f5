// Ae is the worker on this library's loop. Its servers are the examples echo and kv, and an
// echo server on package stream.
package main

import (
	"os"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/bench/internal/work"
)

func main() {
	switch work.Mode() {
	case "group":
		group(work.Int(2), time.Duration(work.Int(3))*time.Microsecond, work.Int(4), work.Text(5) == "reuseport")
		return
	case "skew":
		skew(work.Int(2), work.Text(3) == "reuseport")
		return
	}

	el, err := ae.New(1 << 20)
	work.Check(err)
	switch work.Mode() {
	case "chain":
		chain(el, work.Int(2), work.Int(3), work.Int(4), work.Int(5))
	case "echo":
		echo(el, work.Int(2), work.Text(3))
	case "tls":
		echoTLS(el, work.Int(2))
	case "broadcast":
		broadcast(el, work.Int(2))
	case "timers":
		work.RunTimers(&timers{el: el}, work.Int(2))
	case "lateness":
		lateness(el, time.Duration(work.Int(2))*time.Microsecond, work.Int(3), work.Text(4) == "busy")
	case "post":
		post(el, work.Int(2), work.Int(3))
	case "wake":
		wake(el, work.Int(2))
	default:
		os.Exit(2)
	}
}

// ring is socket pairs, and bytes that travel along them until toWrite is used up.
type ring struct {
	r, w          []int
	buf           []byte
	read, toWrite int
}

func newRing(el *ae.EventLoop, n int) *ring {
	g := &ring{buf: make([]byte, 1)}
	g.r, g.w = work.Pairs(n)
	for i := range n {
		next := g.w[(i+1)%n]
		err := el.CreateFileEvent(g.r[i], ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { g.step(fd, next) })
		work.Check(err)
	}
	return g
}

func (g *ring) step(fd, next int) {
	if _, err := anet.Read(fd, g.buf); err != nil {
		return
	}
	g.read++
	if g.toWrite > 0 {
		g.toWrite--
		_, err := anet.Write(next, g.buf)
		work.Check(err)
	}
}

// start puts active bytes evenly on the ring, of writes in all.
func (g *ring) start(active, writes int) {
	g.read, g.toWrite = 0, writes-active
	for i := range active {
		_, err := anet.Write(g.w[i*len(g.w)/active], []byte{'e'})
		work.Check(err)
	}
}

func chain(el *ae.EventLoop, n, active, writes, repeat int) {
	g := newRing(el, n)
	var start time.Duration
	for k := range repeat + 1 { // the first is to warm up
		if k == 1 {
			start = work.CPU()
		}
		g.start(active, writes)
		for g.read < writes {
			el.ProcessEvents(ae.AllEvents)
		}
	}
	work.Print("event", float64(work.CPU()-start)/float64(repeat*writes), "ns")
}

type timers struct {
	el    *ae.EventLoop
	ids   []ae.TimeEventID
	proc  ae.TimeProc
	fired int
}

func (t *timers) Init(n int, fired func()) {
	t.ids = make([]ae.TimeEventID, n)
	t.proc = func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		t.fired++
		return ae.NoMore
	}
}

func (t *timers) Add(i int, d time.Duration) { t.ids[i] = t.el.CreateTimeEvent(d, t.proc) }

func (t *timers) Cancel(i int) { t.el.DeleteTimeEvent(t.ids[i]) }

func (t *timers) Fire(n int) time.Duration {
	t.fired = 0
	start := work.CPU()
	for t.fired < n {
		t.el.ProcessEvents(ae.AllEvents | ae.DontWait)
	}
	return work.CPU() - start
}

func lateness(el *ae.EventLoop, wait time.Duration, count int, busy bool) {
	if busy {
		newRing(el, 100).start(10, 1<<60)
	}
	samples := make(work.Samples, 0, count)
	due := time.Now().Add(wait)
	el.CreateTimeEvent(wait, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		if !samples.Add(time.Since(due)) {
			el.Stop()
			return ae.NoMore
		}
		due = time.Now().Add(wait)
		return wait
	})
	work.Check(el.Main())
	samples.Report()
}

// post has several goroutines post count functions together.
func post(el *ae.EventLoop, posters, count int) {
	count = count / posters * posters
	ran := 0
	fn := func(el *ae.EventLoop) {
		if ran++; ran == count {
			el.Stop()
		}
	}
	start := time.Now()
	for range posters {
		go func() {
			for range count / posters {
				work.Check(el.Post(fn))
			}
		}()
	}
	work.Check(el.Main())
	work.Print("post", float64(time.Since(start))/float64(count), "ns")
}

// wake measures from Post to the function's call, on a loop that sleeps.
func wake(el *ae.EventLoop, count int) {
	samples := make(work.Samples, 0, count)
	go func() {
		for range count {
			time.Sleep(300 * time.Microsecond)
			start := time.Now()
			work.Check(el.Post(func(el *ae.EventLoop) {
				if !samples.Add(time.Since(start)) {
					el.Stop()
				}
			}))
		}
	}()
	work.Check(el.Main())
	samples.Report()
}
