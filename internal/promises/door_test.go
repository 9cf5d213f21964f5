package promises_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// doorPromises are about Stop, Post and Close, and other goroutines.
var doorPromises = []promise{
	{"StopBeforeMainIsRemembered", "a Stop before Main ends it before its first iteration, once", func(t *testing.T) {
		el := aetest.Loop(t)
		remove := el.AddBeforeSleep(func(*ae.EventLoop) { t.Error("an iteration ran") })
		el.Stop()
		if err := el.Main(); err != nil {
			t.Error(err)
		}
		iterations := 0
		remove()
		el.AddBeforeSleep(func(*ae.EventLoop) { iterations++; el.Stop() })
		if err := el.Main(); err != nil || iterations != 1 {
			t.Errorf("second Main: %v after %d iterations, want 1", err, iterations)
		}
	}},
	{"StopWakesASleepingLoop", "Stop from another goroutine ends a Main that sleeps without end", func(t *testing.T) {
		el := aetest.Loop(t)
		ended := make(chan error)
		go func() { ended <- el.Main() }()
		el.Stop()
		testutil.Within(t, func() {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}},
	{"RunEndsWithItsContext", "Run returns the context's cause, can be run again, and a Stop still ends it with nil", func(t *testing.T) {
		el := aetest.Loop(t)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { go cancel(cause); return ae.NoMore })
		if err := el.Run(ctx); err != cause {
			t.Errorf("Run: %v, want the cause", err)
		}
		if err := el.Run(ctx); err != cause {
			t.Errorf("Run with a context that is done: %v", err)
		}
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { el.Stop(); return ae.NoMore })
		if err := el.Run(context.Background()); err != nil {
			t.Errorf("Run after Stop: %v", err)
		}
	}},
	{"RunOfADoneContextDoesNothing", "Run with a context that is done does not begin an iteration", func(t *testing.T) {
		el := aetest.Loop(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if err := el.Run(ctx); err != context.Canceled {
				t.Fatal(err)
			}
		}
		if n := el.Stats().Iterations; n != 0 {
			t.Errorf("%d iterations", n)
		}
	}},
	{"RunIsOver", "a Run that has ended, and one that was refused, leave nothing of their contexts behind", func(t *testing.T) {
		el := aetest.Loop(t)
		ctx := &countedContext{Context: t.Context()}
		other, cancel := context.WithCancel(t.Context())
		el.Post(func(el *ae.EventLoop) {
			if err := el.Run(ctx); !errors.Is(err, ae.ErrRunning) {
				t.Errorf("Run inside Run: %v", err)
			}
			cancel()
		})
		testutil.Within(t, func() {
			if err := el.Run(other); err != context.Canceled {
				t.Errorf("Run: %v", err)
			}
		})

		ran := false
		el.Post(func(el *ae.EventLoop) { ran = true; el.Stop() })
		if err := el.Main(); err != nil || !ran {
			t.Errorf("Main after a Run that was cancelled: %v; it ran: %v", err, ran)
		}

		el.Stop()
		if err := el.Run(ctx); err != nil || ctx.funcs != 0 {
			t.Errorf("Run: %v; the context has %d functions left to call", err, ctx.funcs)
		}
	}},
	{"RunEndsThoughAHookSleeps", "a context that ends while a hook of Run sleeps in an iteration of its own ends Run", func(t *testing.T) {
		el := aetest.Loop(t)
		ctx, cancel := context.WithCancel(context.Background())
		nested := false
		el.AddBeforeSleep(func(*ae.EventLoop) {
			if !nested {
				nested = true
				el.Post(func(*ae.EventLoop) { go cancel() })
				for range 2 {
					aetest.Step(t, el, ae.AllEvents) // the second sleeps until cancel wakes it
				}
			}
		})
		testutil.Within(t, func() {
			if err := el.Run(ctx); err != context.Canceled {
				t.Errorf("Run: %v", err)
			}
		})
	}},
	{"ClosingIsClosed", "once Close has begun nothing can be registered, so that a descriptor handed over by Post is not lost", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		aetest.Create(t, el, b, ae.Writable, aetest.Forbid(t, "closing"))
		ran := false
		el.Post(func(*ae.EventLoop) {
			ran = true
			if err := el.CreateFileEvent(a, ae.Readable, aetest.Forbid(t, "closing")); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("CreateFileEvent: %v", err)
			}
			if err := el.DeleteFileEvent(b, ae.Writable); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("DeleteFileEvent: %v", err)
			}
			if m := el.FileEvents(a) | el.FileEvents(b); m != ae.None {
				t.Errorf("registered for %d", m)
			}
			if id := el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore }); id != 0 {
				t.Errorf("time event %d", id)
			}
			if err := el.Close(); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("Close inside Close: %v", err)
			}
		})
		if err := el.Close(); err != nil || !ran {
			t.Errorf("Close: %v; the posted function ran: %v", err, ran)
		}
	}},
	{"NothingIteratesInsideClose", "Main and ProcessEvents in a function that Close runs return ErrClosed", func(t *testing.T) {
		el := aetest.Loop(t)
		var perr, merr error
		el.Post(func(*ae.EventLoop) {
			_, perr = el.ProcessEvents(ae.AllEvents)
			merr = el.Main()
		})
		testutil.Within(t, func() { el.Close() })
		if !errors.Is(perr, ae.ErrClosed) || !errors.Is(merr, ae.ErrClosed) {
			t.Errorf("ProcessEvents: %v, Main: %v", perr, merr)
		}
	}},
	{"PostWakesASleepingLoop", "a function posted by another goroutine runs though nothing else happens", func(t *testing.T) {
		el := aetest.Loop(t)
		ended := make(chan error)
		go func() { ended <- el.Main() }()
		for range 100 {
			ran := make(chan bool)
			if err := el.Post(func(*ae.EventLoop) { close(ran) }); err != nil {
				t.Fatal(err)
			}
			testutil.Within(t, func() { <-ran })
		}
		el.Stop()
		testutil.Within(t, func() { <-ended })
	}},
	{"PostedFunctionsRunOnceInOrder", "functions of many goroutines run exactly once, in order for each", func(t *testing.T) {
		const posters, each = 8, 20_000
		el := aetest.Loop(t)
		var next [posters]int
		total := 0
		for p := range posters {
			go func() {
				for i := range each {
					err := el.Post(func(*ae.EventLoop) {
						if next[p] != i {
							t.Errorf("poster %d: function %d ran when %d was due", p, i, next[p])
						}
						next[p] = i + 1
						if total++; total == posters*each {
							el.Stop()
						}
					})
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		testutil.Within(t, func() { el.Main() })
		if total != posters*each {
			t.Errorf("%d functions ran, want %d", total, posters*each)
		}
	}},
	{"PostFromAPostedFunctionWaits", "a function that posts itself runs once an iteration, beside descriptors and time events", func(t *testing.T) {
		el := aetest.Loop(t)
		posts, files, times := 0, 0, 0
		var again func(*ae.EventLoop)
		again = func(*ae.EventLoop) { posts++; el.Post(again) }
		el.Post(again)
		a, _ := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { files++ })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return 0 })
		for range 50 {
			aetest.Step(t, el, ae.AllEvents)
		}
		if posts != 50 || files != 50 || times < 10 {
			t.Errorf("in 50 iterations: %d posts, %d file events, %d time events", posts, files, times)
		}
	}},
	{"NestedIterationKeepsPostsInOrder", "a posted function that runs an iteration sees the later ones run in it, in order, once", func(t *testing.T) {
		el := aetest.Loop(t)
		var order []int
		for i := range 5 {
			el.Post(func(*ae.EventLoop) {
				order = append(order, i)
				if i == 1 {
					el.Post(func(*ae.EventLoop) { order = append(order, 5) })
					aetest.Poll(t, el)
				}
			})
		}
		aetest.Poll(t, el)
		aetest.Poll(t, el)
		if want := []int{0, 1, 2, 3, 4, 5}; !reflect.DeepEqual(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	}},
	{"CloseRunsWhatWasPosted", "Close runs what Post accepted, and Post and everything else then returns ErrClosed", func(t *testing.T) {
		el := aetest.Loop(t)
		var trace []string
		el.Post(func(el *ae.EventLoop) {
			trace = append(trace, "posted")
			if err := el.Post(func(*ae.EventLoop) {}); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("Post while closing: %v", err)
			}
		})
		if err := el.Close(); err != nil {
			t.Error(err)
		}
		if len(trace) != 1 {
			t.Errorf("the posted function ran %d times", len(trace))
		}
		if s := el.PublishedStats(); s.Posted != 1 || s.Queue != 0 {
			t.Errorf("published: %+v", s)
		}
		r, _ := aetest.Pipe(t)
		_, perr := el.ProcessEvents(ae.AllEvents)
		_, nothing := el.ProcessEvents(0)
		for name, err := range map[string]error{
			"Close": el.Close(), "Post": el.Post(func(*ae.EventLoop) {}), "Main": el.Main(), "Run": el.Run(t.Context()),
			"ProcessEvents": perr, "ProcessEvents without events": nothing,
			"CreateFileEvent": el.CreateFileEvent(r, ae.Readable, aetest.Forbid(t, "closed")),
			"DeleteFileEvent": el.DeleteFileEvent(r, ae.Readable), "Resize": el.Resize(10),
		} {
			if !errors.Is(err, ae.ErrClosed) {
				t.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
		if id := el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 0 }); id != 0 || el.DeleteTimeEvent(1<<32) {
			t.Errorf("a closed loop has time event %d", id)
		}
		el.Stop()
	}},
	{"ClosePanicsAndLeaksNothing", "a posted function that panics inside Close does not keep the loop's descriptors open", func(t *testing.T) {
		before := testutil.OpenDescriptors()
		el, err := ae.New(100)
		if err != nil {
			t.Fatal(err)
		}
		el.Post(func(*ae.EventLoop) { panic("on purpose") })
		func() {
			defer func() { recover() }()
			el.Close()
		}()
		if after := testutil.OpenDescriptors(); !slices.Equal(before, after) {
			t.Errorf("descriptors %v, before %v", after, before)
		}
	}},
	{"PostToALoopThatIsAwakeNeedsNoWakeUp", "what a callback posts right after a sleep costs no wake-up", func(t *testing.T) {
		el := aetest.Loop(t)
		ran := false
		el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			el.Post(func(*ae.EventLoop) { ran = true })
			return ae.NoMore
		})
		aetest.Until(t, el, func() bool { return ran })
		aetest.Poll(t, el)
		if s := el.Stats(); s.Sleeps == 0 || s.WakeUps != 0 {
			t.Errorf("%+v", s)
		}
	}},
	{"CloseRunsWhatStandsBehindAPanic", "posted functions run exactly once, also when Close runs them and one of them panics", func(t *testing.T) {
		el := aetest.Loop(t)
		ran := 0
		for i := range 5 {
			el.Post(func(*ae.EventLoop) {
				ran++
				if i%2 == 0 {
					panic(i)
				}
			})
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller of Close")
				}
			}()
			el.Close()
		}()
		if ran != 5 || !errors.Is(el.Close(), ae.ErrClosed) {
			t.Errorf("%d of 5 functions ran; a second Close returns %v", ran, el.Close())
		}
	}},
	{"AClosedLoopIsClosedWhateverElse", "Main and Run of a closed loop return ErrClosed, also after Stop and with a context that is done", func(t *testing.T) {
		el := aetest.Loop(t)
		el.Close()
		el.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 2 {
			if err := el.Main(); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("Main: %v", err)
			}
			if err := el.Run(ctx); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("Run: %v", err)
			}
		}
	}},
	// pitfall 12: libuv#50, netty#9362
	{"PostAgainstCloseTouchesNoForeignDescriptor", "Post and Stop racing with Close run what they accept and never write to a number that came back", func(t *testing.T) {
		for range 200 {
			el, err := ae.New(1024)
			if err != nil {
				t.Fatal(err)
			}
			var accepted, ran int
			var wg sync.WaitGroup
			started := make(chan bool)
			wg.Go(func() {
				close(started)
				for el.Post(func(*ae.EventLoop) { ran++ }) == nil {
					accepted++
					el.Stop()
				}
			})
			<-started
			el.ProcessEvents(ae.AllEvents)
			el.Close()
			untouched(t, wg.Wait)
			if accepted != ran {
				t.Fatalf("%d functions accepted, %d ran", accepted, ran)
			}
		}
	}},
	{"CloseReleasesEveryDescriptor", "New and Close leave no descriptor behind, and close none of the user's", func(t *testing.T) {
		r, w := aetest.Pipe(t)
		noLeak := testutil.NoLeak(t)
		for range 10 {
			el, err := ae.New(1024)
			if err != nil {
				t.Fatal(err)
			}
			aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {})
			if err := el.Close(); err != nil {
				t.Error(err)
			}
		}
		noLeak()
		aetest.Send(t, w, "x")
	}},
	{"OwnDescriptorsAreCloseOnExec", "what the loop opens is close-on-exec", func(t *testing.T) {
		before := testutil.OpenDescriptors()
		el := aetest.Loop(t)
		aetest.Poll(t, el)
		own := slices.DeleteFunc(testutil.OpenDescriptors(), func(fd int) bool { return slices.Contains(before, fd) })
		if len(own) < 2 {
			t.Fatalf("the loop opened only %v", own)
		}
		for _, fd := range own {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d: flags %#x, %v: not close-on-exec", fd, flags, err)
			}
		}
	}},
}

// untouched takes the numbers that a closed loop has just given back, and fails
// the test if something is written to them before wait returns.
func untouched(t *testing.T, wait func()) {
	t.Helper()
	var fds []int
	for range 3 {
		a, b, err := anet.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, a, b)
	}
	wait()
	for _, fd := range fds {
		if got, err := aetest.Receive(fd); got != "" || err != nil {
			t.Errorf("the next owner of a number received %q, %v", got, err)
		}
	}
	for _, fd := range fds {
		anet.Close(fd)
	}
}

// countedContext knows how many functions wait for its end.
type countedContext struct {
	context.Context
	funcs int
}

func (c *countedContext) Done() <-chan struct{} { return make(chan struct{}) }

// AfterFunc is what context.AfterFunc asks for.
func (c *countedContext) AfterFunc(func()) (stop func() bool) {
	c.funcs++
	return func() bool { c.funcs--; return true }
}
