package promises_test

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/google/go-cmp/cmp"
)

// observerPromises are about who looks at a loop at work: Stats and Trace.
var observerPromises = []promise{
	{"StatsCountByKind", "each call is counted under its kind, and what is registered, armed and queued is known", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		nothing := func(*ae.EventLoop, int, ae.Mask) {}
		aetest.Create(t, el, a, ae.Readable|ae.Writable, nothing)
		aetest.Create(t, el, a, ae.Writable|ae.Barrier, nothing)
		aetest.Create(t, el, b, ae.Writable, nothing)
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return time.Hour })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore })
		el.Post(func(el *ae.EventLoop) { el.Post(func(*ae.EventLoop) {}) })
		aetest.Poll(t, el)

		want := ae.Stats{Iterations: 1, Readable: 1, Writable: 2, Posted: 1, TimeEvents: 2, Readers: 1, Writers: 2, Timers: 1, Queue: 1}
		if diff := cmp.Diff(want, el.Stats()); diff != "" {
			t.Error(diff)
		}
		if s := el.Stats(); s.Callbacks() != 6 {
			t.Errorf("%d callbacks", s.Callbacks())
		}

		aetest.Delete(t, el, a, ae.Readable)
		aetest.Delete(t, el, a, ae.Readable)
		aetest.Delete(t, el, b, ae.Writable)
		if s := el.Stats(); s.Readers != 0 || s.Writers != 1 {
			t.Errorf("%d readers and %d writers after the deletes", s.Readers, s.Writers)
		}
		if err := el.Close(); err != nil {
			t.Fatal(err)
		}
		if s := el.Stats(); s.Writers != 0 || s.Timers != 0 || s.Queue != 0 || s.Posted != 2 {
			t.Errorf("after Close: %+v", s)
		}
	}},
	{"StatsKnowWhatIsLeftOfABatch", "posted functions that the loop has taken over and not called yet still wait", func(t *testing.T) {
		el := aetest.Loop(t)
		var queue []int
		for range 3 {
			el.Post(func(el *ae.EventLoop) { queue = append(queue, el.Stats().Queue) })
		}
		aetest.Poll(t, el)
		if want := []int{2, 1, 0}; !slices.Equal(queue, want) {
			t.Errorf("%v wait, want %v", queue, want)
		}
	}},
	{"StatsForgetALostDescriptor", "a descriptor closed without a delete is counted once, whatever becomes of its number", func(t *testing.T) {
		el := aetest.Loop(t)
		for range 3 {
			a, _ := aetest.SocketPair(t)
			aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "nothing was sent"))
			testutil.CloseNow(t, a)
			fresh, _ := aetest.SocketPair(t)
			if fresh != a { // the number comes back
				if err := testutil.DupTo(fresh, a); err != nil {
					t.Fatal(err)
				}
				testutil.CloseLater(t, a)
			}
			aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "nothing was sent"))
			if s := el.Stats(); s.Readers != 1 {
				t.Fatalf("%d readers, registered is one", s.Readers)
			}
			aetest.Delete(t, el, a, ae.Readable)
		}
	}},
	{"StatsOfASleepingLoopAreExact", "what another goroutine sees while the loop sleeps is all that it has done; to look wakes nobody", func(t *testing.T) {
		el := aetest.Loop(t)
		const posts = 5
		asleep := make(chan ae.Stats, 1)
		var seen ae.Stats
		woken := false
		remove := el.AddTrace(&ae.Trace{Sleep: func(e *ae.Event) {
			if !woken && e.Loop.PublishedStats().Posted == posts {
				woken = true
				asleep <- e.Loop.PublishedStats()
			}
		}})
		defer remove()
		done := make(chan bool)
		go func() {
			defer close(done)
			for range posts {
				el.Post(func(*ae.EventLoop) {})
			}
			seen = <-asleep
			for range 10 {
				if got := el.PublishedStats(); got != seen {
					t.Errorf("%+v, and then %+v without a reason", seen, got)
				}
				runtime.Gosched()
			}
			el.Stop()
		}()
		if err := el.Main(); err != nil {
			t.Fatal(err)
		}
		<-done
		if seen.Posted != posts || seen.Sleeps == 0 || seen.Queue != 0 {
			t.Errorf("asleep: %+v", seen)
		}
		if s := el.Stats(); s.WakeUps == 0 || s.Sleeps != seen.Sleeps {
			t.Errorf("in the end: %+v, asleep: %+v", s, seen)
		}
	}},
	{"StatsOfABusyLoopGoOn", "a loop that never sleeps publishes its counters all the same", func(t *testing.T) {
		el := aetest.Loop(t)
		for range 100 {
			aetest.Poll(t, el)
		}
		if s := el.PublishedStats(); s.Iterations < 80 || s.Sleeps != 0 {
			t.Errorf("after 100 iterations: %+v", s)
		}
	}},
	{"FullBatchesAreCounted", "a poll that fills its batch is counted", func(t *testing.T) {
		el := aetest.Loop(t)
		for range 40 {
			a, b := aetest.SocketPair(t)
			aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
			aetest.Create(t, el, b, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		}
		aetest.Poll(t, el) // room for 64
		aetest.Poll(t, el) // for 128
		if s := el.Stats(); s.FullBatches != 1 {
			t.Errorf("%d full batches of 2", s.FullBatches)
		}
	}},
	{"TraceSeesAnIteration", "an observer is told of the hooks, the polls, the sleep and each callback, in order", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		read := ae.FileProc(func(*ae.EventLoop, int, ae.Mask) {})
		posted := func(*ae.EventLoop) {}
		timed := ae.TimeProc(func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore })
		el.AddBeforeSleep(func(*ae.EventLoop) {})
		aetest.Create(t, el, a, ae.Readable|ae.Writable, read)

		log := observe(t, el)
		el.Post(posted)
		id := el.CreateTimeEvent(0, timed)
		flags := ae.AllEvents | ae.CallBeforeSleep | ae.CallAfterSleep
		aetest.Step(t, el, flags)
		if diff := cmp.Diff([]string{
			"post 1", "call hook", "done hook", "poll", "polled 1",
			fmt.Sprintf("call readable %d", a), fmt.Sprintf("done readable %d", a),
			fmt.Sprintf("call writable %d", a), fmt.Sprintf("done writable %d", a),
			"call posted 1", "done posted 1",
			fmt.Sprintf("call time event %d", id), fmt.Sprintf("done time event %d", id),
		}, log.lines); diff != "" {
			t.Error(diff)
		}
		for kind, want := range map[ae.Kind]any{ae.KindReadable: read, ae.KindWritable: read, ae.KindPosted: posted, ae.KindTimeEvent: timed} {
			if got := log.funcs[kind]; got == nil || reflect.ValueOf(got).Pointer() != reflect.ValueOf(want).Pointer() {
				t.Errorf("%v: the function is %T", kind, got)
			}
		}

		aetest.Delete(t, el, a, ae.Readable|ae.Writable)
		// A time event could be due before the sleep, on a slow machine: so it is a
		// post that ends it, made once the loop has said that it goes to sleep.
		defer el.AddTrace(&ae.Trace{Sleep: func(*ae.Event) { el.Post(posted) }})()
		log.lines = nil
		aetest.Step(t, el, ae.AllEvents)
		if diff := cmp.Diff([]string{
			"poll", "sleep", "post 2", "polled 1", "call posted 2", "done posted 2",
		}, log.lines); diff != "" {
			t.Error("with a sleep:", diff)
		}
	}},
	{"TraceTellsTheTime", "a callback's Duration, a sleep's, a time event's Due and the clock agree", func(t *testing.T) {
		el := aetest.Loop(t)
		const wait, work, look = 50 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond
		var took, slept, late, polling, last time.Duration
		defer el.AddTrace(&ae.Trace{
			Poll: func(e *ae.Event) { polling = e.Time; busyFor(look) },
			Sleep: func(e *ae.Event) {
				if e.Time-polling < look || e.Wait <= 0 || e.Wait > wait {
					t.Errorf("a sleep for %v begins %v after the poll", e.Wait, e.Time-polling)
				}
			},
			Polled: func(e *ae.Event) { slept += e.Duration; last = e.Time },
			Call: func(e *ae.Event) {
				if e.Time != last {
					t.Errorf("the call is at %v, what came before it ended at %v", e.Time, last)
				}
				late = e.Time - e.Due
				if e.Due < wait { // both count from New
					t.Errorf("a time event for %v is due at %v", wait, e.Due)
				}
			},
			Done: func(e *ae.Event) { took = e.Duration; last = e.Time },
		})()
		start := time.Now()
		ran := false
		el.CreateTimeEvent(wait, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			busyFor(work)
			ran = true
			return ae.NoMore
		})
		aetest.Until(t, el, func() bool { return ran })
		all := time.Since(start)
		if took < work || slept <= 0 || took+slept > all || late < 0 || late > all {
			t.Errorf("took %v, slept %v, %v late, of %v", took, slept, late, all)
		}
		slept = 0
		if aetest.Poll(t, el); slept != 0 {
			t.Errorf("a poll that does not sleep is said to have slept %v", slept)
		}
	}},
	{"TraceBeginsInACallback", "an observer that is added in a callback has the time at once", func(t *testing.T) {
		el := aetest.Loop(t)
		var posted, called time.Duration
		defer el.AddTrace(&ae.Trace{Post: func(e *ae.Event) { posted = e.Time }})()
		el.Post(func(el *ae.EventLoop) {
			el.AddTrace(&ae.Trace{Call: func(e *ae.Event) { called = e.Time }, Done: func(*ae.Event) {}})
		})
		el.Post(func(*ae.EventLoop) {})
		aetest.Poll(t, el)
		if posted == 0 || called < posted {
			t.Errorf("posted at %v, called at %v", posted, called)
		}
	}},
	{"TraceEventsAreOnesOwn", "what one observer does to an event, another does not see", func(t *testing.T) {
		el := aetest.Loop(t)
		for range 2 {
			defer el.AddTrace(&ae.Trace{Call: func(e *ae.Event) {
				if e.Loop != el || e.Kind != ae.KindPosted || e.Seq != 1 {
					t.Errorf("%+v", e)
				}
				*e = ae.Event{}
			}})()
		}
		el.Post(func(*ae.EventLoop) {})
		aetest.Poll(t, el)
	}},
	{"TraceEndsAtOnce", "observers see the loop in the order of their addition, each until it is removed, also inside a callback", func(t *testing.T) {
		el := aetest.Loop(t)
		var order string
		note := func(s string) *ae.Trace {
			return &ae.Trace{
				Call: func(*ae.Event) { order += s + "( " },
				Done: func(*ae.Event) { order += s + ") " },
			}
		}
		removeA := el.AddTrace(note("a"))
		removeB := el.AddTrace(note("b"))
		var removeC func()
		run := func(fn func(*ae.EventLoop), want string) {
			t.Helper()
			order = ""
			el.Post(fn)
			aetest.Poll(t, el)
			if order != want {
				t.Errorf("%q, want %q", order, want)
			}
		}
		run(func(*ae.EventLoop) { removeA() }, "a( b( b) ")
		run(func(el *ae.EventLoop) { removeC = el.AddTrace(note("c")) }, "b( b) ")
		run(func(*ae.EventLoop) {}, "b( c( b) c) ")
		removeA()
		removeB()
		removeB()
		removeC()
		run(func(*ae.EventLoop) {}, "")
	}},
	{"TraceSeesAPanic", "a callback that panics is done all the same", func(t *testing.T) {
		el := aetest.Loop(t)
		log := observe(t, el)
		el.Post(func(*ae.EventLoop) { panic("on purpose") })
		func() {
			defer func() { recover() }()
			el.ProcessEvents(ae.AllEvents | ae.DontWait)
		}()
		if want := []string{"post 1", "poll", "polled 0", "call posted 1", "done posted 1"}; !slices.Equal(log.lines, want) {
			t.Errorf("%q", log.lines)
		}
	}},
	{"TraceOfCallsReadsNoClock", "who wants only calls and posts gets no time, and what is given is on the loop's clock", func(t *testing.T) {
		el := aetest.Loop(t)
		var call, post time.Duration
		remove := el.AddTrace(&ae.Trace{
			Call: func(e *ae.Event) { call = e.Time },
			Post: func(e *ae.Event) { post = e.Time },
		})
		el.Post(func(*ae.EventLoop) {})
		aetest.Poll(t, el)
		if call != 0 || post == 0 {
			t.Errorf("a call at %v, a post at %v", call, post)
		}
		done := &ae.Trace{Done: func(*ae.Event) {}}
		defer el.AddTrace(done)()
		el.Post(func(*ae.EventLoop) {})
		if aetest.Poll(t, el); call < post {
			t.Errorf("posted at %v, called at %v", post, call)
		}
		remove()
		defer el.AddTrace(&ae.Trace{Call: func(e *ae.Event) { call = e.Time }})()
		call = 0
		el.Post(func(*ae.EventLoop) {})
		if aetest.Poll(t, el); call == 0 {
			t.Error("the first of two observers wants the time, and the second has none")
		}
	}},
	{"TraceAllocatesNothing", "an observed loop allocates no more than another", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		buf := make([]byte, 1)
		events := 0
		count := func(*ae.Event) { events++ }
		defer el.AddTrace(&ae.Trace{Poll: count, Sleep: count, Polled: count, Call: count, Done: count, Post: count})()
		aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { anet.Read(fd, buf) })
		aetest.Create(t, el, b, ae.Writable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { anet.Write(fd, buf) })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 0 })
		posted := func(*ae.EventLoop) {}
		allocs := testing.AllocsPerRun(100, func() {
			el.Post(posted)
			el.ProcessEvents(ae.AllEvents | ae.DontWait)
		})
		if allocs != 0 || events < 100*11 {
			t.Errorf("%v allocations in an iteration, %d events", allocs, events)
		}
	}},
}

// traceLog is what an observer was told.
type traceLog struct {
	lines []string
	funcs map[ae.Kind]any
}

// observe logs what the loop tells until the test ends.
func observe(t *testing.T, el *ae.EventLoop) *traceLog {
	log := &traceLog{funcs: map[ae.Kind]any{}}
	note := func(what string) func(*ae.Event) {
		return func(e *ae.Event) {
			if e.Loop != el {
				t.Errorf("%s: not this loop", what)
			}
			line := what
			if what == "call" || what == "done" {
				line += " " + e.Kind.String()
				log.funcs[e.Kind] = e.Func
			}
			switch {
			case what == "polled":
				line += fmt.Sprint(" ", e.Ready)
			case e.FD != 0:
				line += fmt.Sprint(" ", e.FD)
			case e.ID != 0:
				line += fmt.Sprint(" ", e.ID)
			case e.Seq != 0:
				line += fmt.Sprint(" ", e.Seq)
			}
			log.lines = append(log.lines, line)
		}
	}
	t.Cleanup(el.AddTrace(&ae.Trace{
		Poll: note("poll"), Sleep: note("sleep"), Polled: note("polled"),
		Call: note("call"), Done: note("done"), Post: note("post"),
	}))
	return log
}
