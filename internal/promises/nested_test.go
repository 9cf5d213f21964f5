package promises_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// place is where user code runs inside the loop. arm has the loop call fn there
// once, in its next iteration with all flags.
type place struct {
	name string
	arm  func(t testing.TB, el *ae.EventLoop, fn func())
}

var places = []place{
	{"ReadableProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Delete(t, el, a, ae.Readable); fn() })
	}},
	{"WritableProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		a, _ := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { aetest.Delete(t, el, a, ae.Writable); fn() })
	}},
	{"TimeProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { fn(); return ae.NoMore })
	}},
	{"PostedFunction", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.Post(func(*ae.EventLoop) { fn() })
	}},
	{"BeforeSleep", func(t testing.TB, el *ae.EventLoop, fn func()) {
		onceIn(el.AddBeforeSleep, fn)
	}},
	{"AfterSleep", func(t testing.TB, el *ae.EventLoop, fn func()) {
		onceIn(el.AddAfterSleep, fn)
	}},
}

// onceIn adds a hook that runs fn once.
func onceIn(add func(func(*ae.EventLoop)) func(), fn func()) {
	var remove func()
	remove = add(func(*ae.EventLoop) { remove(); fn() })
}

// inEach makes a row for each place that user code can be called from.
func inEach(name, says string, test func(t *testing.T, el *ae.EventLoop, p place)) (rows []promise) {
	for _, p := range places {
		rows = append(rows, promise{name + p.name, says, func(t *testing.T) { test(t, aetest.Loop(t), p) }})
	}
	return rows
}

// whole is one iteration with everything, without sleeping.
const whole = ae.AllEvents | ae.DontWait | ae.CallBeforeSleep | ae.CallAfterSleep

// nestedPromises is pitfall 15, from everywhere: redis#6964, redis 54e4bbeab,
// libevent b557b175.
var nestedPromises = rowsOf(
	inEach("IterationInA", "an iteration from a callback calls what is ready, due and posted, and the outer one goes on without calling it again",
		func(t *testing.T, el *ae.EventLoop, p place) {
			files, times, posts := 0, 0, 0
			p.arm(t, el, func() {
				a, b := aetest.SocketPair(t)
				aetest.Send(t, b, "x")
				aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(a); files++ })
				el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return ae.NoMore })
				el.Post(func(*ae.EventLoop) { posts++ })
				aetest.Until(t, el, func() bool { return files+times+posts == 3 })
			})
			aetest.Step(t, el, whole)
			aetest.Poll(t, el)
			if files != 1 || times != 1 || posts != 1 {
				t.Errorf("%d file events, %d time events, %d posted functions, want one of each", files, times, posts)
			}
		}),
	inEach("NoMainInA", "Main and Run in a callback are an error, and change nothing",
		func(t *testing.T, el *ae.EventLoop, p place) {
			iterations := map[string]func(){
				"Main": func() { el.Main() }, "ProcessEvents": func() { aetest.Step(t, el, whole) },
			}
			for name, iterate := range iterations {
				called := false
				p.arm(t, el, func() {
					called = true
					if err := el.Main(); !errors.Is(err, ae.ErrRunning) {
						t.Errorf("Main inside %s: %v", name, err)
					}
					if err := el.Run(t.Context()); !errors.Is(err, ae.ErrRunning) {
						t.Errorf("Run inside %s: %v", name, err)
					}
					el.Stop()
				})
				el.Post(func(*ae.EventLoop) {}) // or AfterSleep would wait for something to happen
				testutil.Within(t, iterate)
				if name != "Main" {
					testutil.Within(t, func() { el.Main() }) // ends by the Stop before it
				}
				if !called {
					t.Errorf("%s did not call", name)
				}
			}
		}),
	inEach("StopInA", "Stop in a callback ends Main after that iteration, and no later Main",
		func(t *testing.T, el *ae.EventLoop, p place) {
			later := 0
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { later++; return time.Hour })
			p.arm(t, el, el.Stop)
			testutil.Within(t, func() { el.Main() })
			if later != 1 {
				t.Errorf("the rest of the iteration ran %d times, want 1", later)
			}
			p.arm(t, el, el.Stop)
			el.Post(func(*ae.EventLoop) { later++ })
			testutil.Within(t, func() { el.Main() })
			if later != 2 {
				t.Error("the next Main ended before its first iteration")
			}
		}),
	inEach("ResizeInA", "Resize in a callback, down and up again, keeps what is registered",
		func(t *testing.T, el *ae.EventLoop, p place) {
			r, w := aetest.Pipe(t)
			calls := 0
			aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(r); calls++ })
			size := el.Size()
			p.arm(t, el, func() {
				high := r
				for fd := r; fd < r+200; fd++ {
					if el.FileEvents(fd) != ae.None {
						high = fd
					}
				}
				if err := el.Resize(high + 1); err != nil {
					t.Errorf("Resize(%d): %v", high+1, err)
				}
				if err := el.Resize(size); err != nil || el.Size() != size {
					t.Errorf("Resize(%d): %v", size, err)
				}
			})
			aetest.Step(t, el, whole)
			aetest.Send(t, w, "x")
			aetest.Until(t, el, func() bool { return calls == 1 })
		}),
)
