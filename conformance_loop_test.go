package ae_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// callbackPromises: a callback may do anything to the loop.
// pitfalls 15 and 17: redis#6964, libevent b557b175, netpoll#238
var callbackPromises = []promise{
	{"DeletesItsOwnWritable", "a readable proc that deletes Writable of its own descriptor keeps the writable proc from running", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		create(t, el, a, ae.Writable, forbid(t, "deleted by the readable proc"))
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { remove(t, el, a, ae.Writable) })
		if n := poll(t, el); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	}},
	{"DeletesAnotherInTheBatch", "of two ready descriptors that delete each other, one is called", func(t *testing.T) {
		el := newLoop(t)
		var fds [2]int
		calls := 0
		for i := range fds {
			a, b := socketPair(t)
			send(t, b, "x")
			fds[i] = a
			create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				calls++
				remove(t, el, fds[1-i], ae.Readable)
			})
		}
		poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"RegistersAHighDescriptor", "registering a descriptor that makes the tables grow is safe in a callback", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		high := 900
		wrote := false
		create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
			if mask == ae.Writable {
				wrote = true
				return
			}
			if err := dupTo(b, high); err != nil {
				t.Fatal(err)
			}
			closeLater(t, high)
			create(t, el, high, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		})
		if n := poll(t, el); n != 2 || !wrote {
			t.Errorf("%d calls, writable proc ran: %v", n, wrote)
		}
	}},
	{"ShrinksBelowAReadyDescriptor", "Resize in a callback cannot make a later event of the batch fail", func(t *testing.T) {
		el := newLoop(t)
		var fds [2]int
		calls := 0
		for i := range fds {
			a, b := socketPair(t)
			send(t, b, "x")
			fds[i] = a
			create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
				calls++
				other := fds[1-i]
				remove(t, el, fd, ae.Readable)
				remove(t, el, other, ae.Readable)
				if err := el.Resize(min(fd, other)); err != nil {
					t.Error(err)
				}
			})
		}
		poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"RegisteringAgainDoesNotStarve", "an event that a callback registers again in each iteration, while it is registered, is still delivered", func(t *testing.T) {
		el := newLoop(t)
		source, _ := socketPair(t)
		sink, _ := socketPair(t)
		reads, writes := 0, 0
		register := func() {
			create(t, el, sink, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { writes++ })
		}
		register()
		create(t, el, source, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { reads++; register() })
		el.AddAfterSleep(func(*ae.EventLoop) { register() })
		for range 100 {
			step(t, el, ae.AllEvents|ae.CallAfterSleep)
		}
		if reads != 100 || writes != 100 {
			t.Errorf("in 100 iterations: %d calls of the one that registers, %d of the one registered", reads, writes)
		}
	}},
	{"NestedIterationReplacesTheBatch", "a nested ProcessEvents polls anew; what the outer batch had left comes again, and nothing is called twice for one poll", func(t *testing.T) {
		el := newLoop(t)
		calls := map[int]int{}
		depth := 0
		for range 3 {
			a, b := socketPair(t)
			send(t, b, "x")
			create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
				calls[fd]++
				receive(fd)
				if depth++; depth == 1 {
					poll(t, el)
				}
			})
		}
		poll(t, el)
		for fd, n := range calls {
			if n != 1 {
				t.Errorf("descriptor %d: %d calls for one byte", fd, n)
			}
		}
		if len(calls) != 3 {
			t.Errorf("%d of 3 descriptors were called", len(calls))
		}
	}},
	{"ClosesTheLoop", "Close in any callback ends the iteration there, and Main with ErrClosed", func(t *testing.T) {
		for name, arm := range map[string]func(el *ae.EventLoop){
			"file": func(el *ae.EventLoop) {
				for range 2 {
					a, b := socketPair(t)
					send(t, b, "x")
					create(t, el, a, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) { closeOnce(t, el) })
				}
			},
			"time": func(el *ae.EventLoop) {
				for range 2 {
					el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { closeOnce(t, el); return 0 })
				}
			},
			"post":        func(el *ae.EventLoop) { el.Post(func(*ae.EventLoop) { closeOnce(t, el) }) },
			"beforeSleep": func(el *ae.EventLoop) { el.AddBeforeSleep(func(*ae.EventLoop) { closeOnce(t, el) }) },
			"afterSleep": func(el *ae.EventLoop) {
				el.AddAfterSleep(func(*ae.EventLoop) { closeOnce(t, el) })
				el.SetDontWait(true)
			},
		} {
			el := newLoop(t)
			arm(el)
			if err := el.Main(); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("%s: Main returned %v, want ErrClosed", name, err)
			}
		}
	}},
	{"PanicLeavesTheLoopConsistent", "a panic in any callback reaches the caller of ProcessEvents, and the loop goes on", func(t *testing.T) {
		leaveAndGoOn(t, func(t *testing.T, el *ae.EventLoop) {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			el.ProcessEvents(ae.AllEvents | ae.DontWait | ae.CallBeforeSleep | ae.CallAfterSleep)
		}, func() { panic("callback") })
	}},
	{"GoexitLeavesTheLoopConsistent", "the same for runtime.Goexit: another goroutine can go on with the loop", func(t *testing.T) {
		leaveAndGoOn(t, func(t *testing.T, el *ae.EventLoop) {
			var wg sync.WaitGroup
			wg.Go(func() {
				el.ProcessEvents(ae.AllEvents | ae.DontWait | ae.CallBeforeSleep | ae.CallAfterSleep)
				t.Error("ProcessEvents returned after Goexit")
			})
			wg.Wait()
		}, runtime.Goexit)
	}},
}

// busyFor returns once the clock has moved by d.
func busyFor(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

func closeOnce(t *testing.T, el *ae.EventLoop) {
	if err := el.Close(); err != nil {
		t.Errorf("a callback ran after Close: %v", err)
	}
}

// leaveAndGoOn has one callback of each kind leave by leave instead of
// returning, within iterate, and then checks that the loop still does everything.
func leaveAndGoOn(t *testing.T, iterate func(*testing.T, *ae.EventLoop), leave func()) {
	for name, arm := range map[string]func(t *testing.T, el *ae.EventLoop, once func()){
		"file": func(t *testing.T, el *ae.EventLoop, once func()) {
			a, b := socketPair(t)
			send(t, b, "x")
			create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { receive(a); once() })
		},
		"time": func(t *testing.T, el *ae.EventLoop, once func()) {
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { once(); return ae.NoMore })
		},
		"post":        func(t *testing.T, el *ae.EventLoop, once func()) { el.Post(func(*ae.EventLoop) { once() }) },
		"beforeSleep": func(t *testing.T, el *ae.EventLoop, once func()) { el.AddBeforeSleep(func(*ae.EventLoop) { once() }) },
		"afterSleep":  func(t *testing.T, el *ae.EventLoop, once func()) { el.AddAfterSleep(func(*ae.EventLoop) { once() }) },
	} {
		t.Run(name, func(t *testing.T) {
			el := newLoop(t)
			left := false
			arm(t, el, func() {
				if !left {
					left = true
					leave()
				}
			})
			posted := 0
			for range 3 {
				el.Post(func(*ae.EventLoop) { posted++ })
			}
			iterate(t, el)

			timer, file := 0, false
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { timer++; return ae.NoMore })
			a, b := socketPair(t)
			create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { receive(a); file = true })
			send(t, b, "x")
			until(t, el, func() bool { return posted == 3 && timer == 1 && file })
			if n := poll(t, el); n != 0 {
				t.Errorf("%d calls afterwards, want none", n)
			}
		})
	}
}

// doorPromises are about Stop, Post and Close, and other goroutines.
var doorPromises = []promise{
	{"StopBeforeMainIsRemembered", "a Stop before Main ends it before its first iteration, once", func(t *testing.T) {
		el := newLoop(t)
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
		el := newLoop(t)
		ended := make(chan error)
		go func() { ended <- el.Main() }()
		el.Stop()
		within(t, func() {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}},
	{"RunEndsWithItsContext", "Run returns the context's cause, can be run again, and a Stop still ends it with nil", func(t *testing.T) {
		el := newLoop(t)
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
	{"RunEndsThoughAHookSleeps", "a context that ends while a hook of Run sleeps in an iteration of its own ends Run", func(t *testing.T) {
		el := newLoop(t)
		ctx, cancel := context.WithCancel(context.Background())
		nested := false
		el.AddBeforeSleep(func(*ae.EventLoop) {
			if !nested {
				nested = true
				el.Post(func(*ae.EventLoop) { go cancel() })
				for range 2 {
					step(t, el, ae.AllEvents) // the second sleeps until cancel wakes it
				}
			}
		})
		within(t, func() {
			if err := el.Run(ctx); err != context.Canceled {
				t.Errorf("Run: %v", err)
			}
		})
	}},
	{"ClosingIsClosed", "once Close has begun nothing can be registered, so that a descriptor handed over by Post is not lost", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		create(t, el, b, ae.Writable, forbid(t, "closing"))
		ran := false
		el.Post(func(*ae.EventLoop) {
			ran = true
			if err := el.CreateFileEvent(a, ae.Readable, forbid(t, "closing")); !errors.Is(err, ae.ErrClosed) {
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
		el := newLoop(t)
		var perr, merr error
		el.Post(func(*ae.EventLoop) {
			_, perr = el.ProcessEvents(ae.AllEvents)
			merr = el.Main()
		})
		within(t, func() { el.Close() })
		if !errors.Is(perr, ae.ErrClosed) || !errors.Is(merr, ae.ErrClosed) {
			t.Errorf("ProcessEvents: %v, Main: %v", perr, merr)
		}
	}},
	{"PostWakesASleepingLoop", "a function posted by another goroutine runs though nothing else happens", func(t *testing.T) {
		el := newLoop(t)
		ended := make(chan error)
		go func() { ended <- el.Main() }()
		for range 100 {
			ran := make(chan bool)
			if err := el.Post(func(*ae.EventLoop) { close(ran) }); err != nil {
				t.Fatal(err)
			}
			within(t, func() { <-ran })
		}
		el.Stop()
		within(t, func() { <-ended })
	}},
	{"PostedFunctionsRunOnceInOrder", "functions of many goroutines run exactly once, in order for each", func(t *testing.T) {
		const posters, each = 8, 20_000
		el := newLoop(t)
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
		within(t, func() { el.Main() })
		if total != posters*each {
			t.Errorf("%d functions ran, want %d", total, posters*each)
		}
	}},
	{"PostFromAPostedFunctionWaits", "a function that posts itself runs once an iteration, beside descriptors and time events", func(t *testing.T) {
		el := newLoop(t)
		posts, files, times := 0, 0, 0
		var again func(*ae.EventLoop)
		again = func(*ae.EventLoop) { posts++; el.Post(again) }
		el.Post(again)
		a, _ := socketPair(t)
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { files++ })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return 0 })
		for range 50 {
			step(t, el, ae.AllEvents)
		}
		if posts != 50 || files != 50 || times < 10 {
			t.Errorf("in 50 iterations: %d posts, %d file events, %d time events", posts, files, times)
		}
	}},
	{"NestedIterationKeepsPostsInOrder", "a posted function that runs an iteration sees the later ones run in it, in order, once", func(t *testing.T) {
		el := newLoop(t)
		var order []int
		for i := range 5 {
			el.Post(func(*ae.EventLoop) {
				order = append(order, i)
				if i == 1 {
					el.Post(func(*ae.EventLoop) { order = append(order, 5) })
					poll(t, el)
				}
			})
		}
		poll(t, el)
		poll(t, el)
		if want := []int{0, 1, 2, 3, 4, 5}; !reflect.DeepEqual(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	}},
	{"CloseRunsWhatWasPosted", "Close runs what Post accepted, and Post and everything else then returns ErrClosed", func(t *testing.T) {
		el := newLoop(t)
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
		r, _ := pipe(t)
		_, perr := el.ProcessEvents(ae.AllEvents)
		for name, err := range map[string]error{
			"Close": el.Close(), "Post": el.Post(func(*ae.EventLoop) {}), "Main": el.Main(), "Run": el.Run(t.Context()),
			"ProcessEvents":   perr,
			"CreateFileEvent": el.CreateFileEvent(r, ae.Readable, forbid(t, "closed")),
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
	{"CloseRunsWhatStandsBehindAPanic", "posted functions run exactly once, also when Close runs them and one of them panics", func(t *testing.T) {
		el := newLoop(t)
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
		el := newLoop(t)
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
			// The numbers of the loop's descriptors come back here.
			var canaries [4]int
			for i := 0; i < len(canaries); i += 2 {
				if canaries[i], canaries[i+1], err = anet.SocketPair(); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			for _, fd := range canaries {
				if got, err := receive(fd); got != "" || err != nil {
					t.Errorf("canary received %q, %v", got, err)
				}
			}
			for _, fd := range canaries {
				unix.Close(fd)
			}
			if accepted != ran {
				t.Fatalf("%d functions accepted, %d ran", accepted, ran)
			}
		}
	}},
	{"CloseReleasesEveryDescriptor", "New and Close leave no descriptor behind, and close none of the user's", func(t *testing.T) {
		r, w := pipe(t)
		before := openDescriptors()
		for range 10 {
			el, err := ae.New(1024)
			if err != nil {
				t.Fatal(err)
			}
			create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {})
			if err := el.Close(); err != nil {
				t.Error(err)
			}
		}
		if after := openDescriptors(); !reflect.DeepEqual(before, after) {
			t.Errorf("open descriptors %v, before %v", after, before)
		}
		send(t, w, "x")
	}},
	{"OwnDescriptorsAreCloseOnExec", "what the loop opens is close-on-exec", func(t *testing.T) {
		before := openDescriptors()
		el := newLoop(t)
		poll(t, el)
		own := slices.DeleteFunc(openDescriptors(), func(fd int) bool { return slices.Contains(before, fd) })
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

// openDescriptors returns which of the first 4096 descriptors are open.
func openDescriptors() []int {
	var open []int
	for fd := range 4096 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
		}
	}
	return open
}

// within fails the test if fn takes longer than patience.
func within(t testing.TB, fn func()) {
	t.Helper()
	timer := time.AfterFunc(patience, func() { panic(fmt.Sprintf("%s: waited %v in vain", t.Name(), patience)) })
	defer timer.Stop()
	fn()
}

// iterationPromises are about one call of ProcessEvents.
var iterationPromises = []promise{
	{"StepsComeInOrder", "BeforeSleep, poll, AfterSleep, file events, posted functions, time events", func(t *testing.T) {
		el := newLoop(t)
		var order string
		el.AddBeforeSleep(func(*ae.EventLoop) { order += "before " })
		el.AddAfterSleep(func(*ae.EventLoop) { order += "after " })
		a, _ := socketPair(t)
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "file " })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { order += "time"; return ae.NoMore })
		el.Post(func(*ae.EventLoop) { order += "post " })
		n := step(t, el, ae.AllEvents|ae.CallBeforeSleep|ae.CallAfterSleep)
		if want := "before after file post time"; order != want || n != 3 {
			t.Errorf("order %q, want %q; counted %d, want 3", order, want, n)
		}
	}},
	{"WithoutEventsNothingHappens", "without FileEvents and TimeEvents the call returns 0 at once", func(t *testing.T) {
		el := newLoop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { t.Error("BeforeSleep ran") })
		if n := step(t, el, ae.CallBeforeSleep|ae.CallAfterSleep); n != 0 {
			t.Errorf("%d calls", n)
		}
	}},
	{"HooksRunOnlyWhenAskedFor", "the hooks need their flag, and can be removed", func(t *testing.T) {
		el := newLoop(t)
		hooks := 0
		count := func(*ae.EventLoop) { hooks++ }
		removeBefore, removeAfter := el.AddBeforeSleep(count), el.AddAfterSleep(count)
		poll(t, el)
		if hooks != 0 {
			t.Errorf("%d hooks ran without their flags", hooks)
		}
		step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
		removeBefore()
		removeBefore()
		removeAfter()
		step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
		if hooks != 2 {
			t.Errorf("%d hooks ran, want 2", hooks)
		}
	}},
	{"HooksAddUp", "hooks run in the order of their addition, each until it is removed, whatever becomes of the others", func(t *testing.T) {
		for name, add := range map[string]func(*ae.EventLoop) func(func(*ae.EventLoop)) func(){
			"BeforeSleep": func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddBeforeSleep },
			"AfterSleep":  func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddAfterSleep },
		} {
			el := newLoop(t)
			var order string
			hook := func(name string) func(*ae.EventLoop) { return func(*ae.EventLoop) { order += name } }
			ran := func(want string) {
				t.Helper()
				order = ""
				step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
				if order != want {
					t.Errorf("%s: hooks %q ran, want %q", name, order, want)
				}
			}

			add(el)(hook("a"))
			removeB := add(el)(hook("b"))
			add(el)(hook("c"))
			ran("abc")
			removeB()
			ran("ac")

			var removeE, removeSelf func()
			removeSelf = add(el)(func(*ae.EventLoop) {
				order += "d"
				removeSelf()
				removeE()
				add(el)(hook("f"))
			})
			removeE = add(el)(hook("e"))
			ran("acd")
			ran("acf")
		}
	}},
	{"NoHookRunsAfterClose", "a hook that closes the loop is the last one", func(t *testing.T) {
		el := newLoop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { closeOnce(t, el) })
		el.AddBeforeSleep(func(*ae.EventLoop) { t.Error("a hook ran after Close") })
		if _, err := el.ProcessEvents(ae.AllEvents | ae.CallBeforeSleep); !errors.Is(err, ae.ErrClosed) {
			t.Errorf("ProcessEvents: %v", err)
		}
		remove := el.AddBeforeSleep(func(*ae.EventLoop) {})
		remove()
	}},
	{"NowIsReadOnceAnIteration", "Now is the same for all callbacks of an iteration, and later in the next one", func(t *testing.T) {
		el := newLoop(t)
		var seen []time.Time
		note := func(*ae.EventLoop) { seen = append(seen, el.Now()) }
		el.AddAfterSleep(note)
		el.AddBeforeSleep(note)
		start := time.Now()
		for range 2 {
			busyFor(time.Millisecond)
			el.Post(func(*ae.EventLoop) { note(el); busyFor(time.Millisecond) })
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { note(el); return ae.NoMore })
			step(t, el, whole)
		}
		// BeforeSleep still has the time of the poll before it.
		want := []int{0, 1, 1, 1, 1, 2, 2, 2}
		for i := 1; i < len(seen); i++ {
			if same := want[i] == want[i-1]; same != seen[i].Equal(seen[i-1]) || seen[i].Before(seen[i-1]) {
				t.Errorf("call %d: %v after %v", i, seen[i].Sub(start), seen[i-1].Sub(start))
			}
		}
		if len(seen) != len(want) || seen[0].Before(start) || seen[len(seen)-1].After(time.Now()) {
			t.Errorf("%d calls, from %v to %v after the start", len(seen), seen[0].Sub(start), seen[len(seen)-1].Sub(start))
		}
	}},
	{"DontWaitIsReadAfterBeforeSleep", "SetDontWait(true) in BeforeSleep keeps that very iteration from sleeping", func(t *testing.T) {
		el := newLoop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { el.SetDontWait(true) })
		within(t, func() { step(t, el, ae.AllEvents|ae.CallBeforeSleep) }) // would sleep without end
	}},
	{"FileEventsAloneLeaveTimeEvents", "without TimeEvents, time events neither run nor end the sleep", func(t *testing.T) {
		el := newLoop(t)
		ran := false
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran = true; return ae.NoMore })
		a, b := socketPair(t)
		got := false
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got = true })
		go unix.Write(b, []byte("x"))
		within(t, func() { step(t, el, ae.FileEvents) })
		if ran || !got {
			t.Errorf("time event ran: %v, file event ran: %v", ran, got)
		}
	}},
	{"TimeEventsAloneSleepThroughReadiness", "without FileEvents, a ready descriptor neither runs nor ends the sleep, and Post does", func(t *testing.T) {
		el := newLoop(t)
		a, _ := socketPair(t)
		create(t, el, a, ae.Writable, forbid(t, "no FileEvents"))
		ran := false
		el.CreateTimeEvent(2*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran = true; return ae.NoMore })
		iterations := 0
		for ; !ran && iterations < 10; iterations++ {
			step(t, el, ae.TimeEvents)
		}
		if iterations > 2 {
			t.Errorf("%d iterations for one time event", iterations)
		}
		posted := false
		go el.Post(func(*ae.EventLoop) { posted = true })
		within(t, func() {
			for !posted {
				step(t, el, ae.TimeEvents)
			}
		})
	}},
	{"AWakeUpEndsOneSleep", "what Post woke a loop with does not wake it again, with file events or without", func(t *testing.T) {
		for _, flags := range []ae.Flags{ae.TimeEvents, ae.AllEvents} {
			el := newLoop(t)
			posted := false
			go el.Post(func(*ae.EventLoop) { posted = true })
			for !posted {
				step(t, el, flags)
			}
			over, n := false, 0
			el.CreateTimeEvent(20*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { over = true; return ae.NoMore })
			for ; !over; n++ {
				step(t, el, flags)
			}
			if n > 4 {
				t.Errorf("%d iterations in 20 ms with nothing to do", n)
			}
		}
	}},
	{"EventsAreNotStarvedByTimers", "a time event without a wait beside a ready descriptor: both get on in each iteration", func(t *testing.T) {
		el := newLoop(t)
		a, _ := socketPair(t)
		files, times := 0, 0
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { files++ })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return 0 })
		for range 100 {
			step(t, el, ae.AllEvents)
		}
		if files != 100 || times > 100 || times < 10 {
			t.Errorf("in 100 iterations: %d file events, %d time events", files, times)
		}
	}},
	// pitfall 6: golang/go#36281
	{"SignalsDoNotCutAWaitShort", "signals during a wait are no error, and make no time event early", func(t *testing.T) {
		el := newLoop(t)
		const wait = 30 * time.Millisecond
		start := time.Now()
		var took time.Duration
		id := el.CreateTimeEvent(wait, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			took = time.Since(start)
			return ae.NoMore
		})
		stop := stormOfSignals()
		defer stop()
		until(t, el, func() bool { return took != 0 })
		if took < wait {
			t.Errorf("time event %d after %v, want %v or more", id, took, wait)
		}
	}},
	{"WaitNeedsNoLoop", "Wait reports one descriptor's readiness, times out with None, and tells a closed descriptor", func(t *testing.T) {
		a, b := socketPair(t)
		if m, err := ae.Wait(a, ae.Readable, 0); m != ae.None || err != nil {
			t.Errorf("idle: %d, %v", m, err)
		}
		start := time.Now()
		if m, err := ae.Wait(a, ae.Readable, 1500*time.Microsecond); m != ae.None || err != nil || time.Since(start) < 1500*time.Microsecond {
			t.Errorf("timeout: %d, %v after %v", m, err, time.Since(start))
		}
		if m, err := ae.Wait(a, ae.Readable|ae.Writable, -1); m != ae.Writable || err != nil {
			t.Errorf("writable: %d, %v", m, err)
		}
		send(t, b, "x")
		if m, err := ae.Wait(a, ae.Readable|ae.Writable, -1); m != ae.Readable|ae.Writable || err != nil {
			t.Errorf("both: %d, %v", m, err)
		}
		mustClose(t, b)
		if m, err := ae.Wait(a, ae.Writable, -1); m != ae.Writable || err != nil {
			t.Errorf("hung up: %d, %v", m, err)
		}
		mustClose(t, a)
		if _, err := ae.Wait(a, ae.Readable, -1); !errors.Is(err, unix.EBADF) {
			t.Errorf("closed: %v", err)
		}
		for _, fd := range []int{-1, math.MinInt, math.MaxInt, math.MaxInt32} {
			if _, err := ae.Wait(fd, ae.Readable, -1); !errors.Is(err, unix.EBADF) {
				t.Errorf("descriptor %d: %v", fd, err)
			}
		}
		if _, err := ae.Wait(0, ae.None, -1); !errors.Is(err, unix.EINVAL) {
			t.Errorf("no event: %v", err)
		}
	}},
	{"SteadyStateAllocatesNothing", "dispatch, a re-arming time event and Post of a prepared func allocate nothing", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		buf := make([]byte, 1)
		count := 0
		var onWritable, onReadable ae.FileProc
		onReadable = func(el *ae.EventLoop, fd int, _ ae.Mask) {
			anet.Read(fd, buf)
			el.DeleteFileEvent(fd, ae.Readable)
			el.CreateFileEvent(fd, ae.Readable, onReadable)
		}
		onWritable = func(_ *ae.EventLoop, fd int, _ ae.Mask) { anet.Write(fd, buf) }
		create(t, el, a, ae.Readable, onReadable)
		create(t, el, b, ae.Writable, onWritable)
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { count++; return 0 })
		posted := func(*ae.EventLoop) { count++ }
		allocs := testing.AllocsPerRun(1000, func() {
			el.Post(posted)
			el.ProcessEvents(ae.AllEvents | ae.DontWait)
		})
		if allocs != 0 || count < 1000 {
			t.Errorf("%v allocations in an iteration; %d calls", allocs, count)
		}
	}},
}

// stormOfSignals sends this process SIGURG, which the Go runtime takes for its
// own use and otherwise ignores, as fast as it can.
func stormOfSignals() (stop func()) {
	done := make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				unix.Kill(unix.Getpid(), unix.SIGURG)
				runtime.Gosched()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
