package ae_test

import (
	"testing"
	"time"

	"github.com/aeloop/ae"
)

// place is where user code runs inside the loop. arm has the loop call fn there
// once, in its next iteration with all flags.
type place struct {
	name string
	arm  func(t testing.TB, el *ae.EventLoop, fn func())
}

var places = []place{
	{"ReadableProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		a, b := socketPair(t)
		send(t, b, "x")
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { remove(t, el, a, ae.Readable); fn() })
	}},
	{"WritableProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		a, _ := socketPair(t)
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { remove(t, el, a, ae.Writable); fn() })
	}},
	{"TimeProc", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { fn(); return ae.NoMore })
	}},
	{"PostedFunction", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.Post(func(*ae.EventLoop) { fn() })
	}},
	{"BeforeSleep", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.SetBeforeSleep(func(*ae.EventLoop) { el.SetBeforeSleep(nil); fn() })
	}},
	{"AfterSleep", func(t testing.TB, el *ae.EventLoop, fn func()) {
		el.SetAfterSleep(func(*ae.EventLoop) { el.SetAfterSleep(nil); fn() })
	}},
}

// inEach makes a row for each place that user code can be called from.
func inEach(name, says string, test func(t *testing.T, el *ae.EventLoop, p place)) (rows []promise) {
	for _, p := range places {
		rows = append(rows, promise{name + p.name, says, func(t *testing.T) { test(t, newLoop(t), p) }})
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
				a, b := socketPair(t)
				send(t, b, "x")
				create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { receive(a); files++ })
				el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return ae.NoMore })
				el.Post(func(*ae.EventLoop) { posts++ })
				until(t, el, func() bool { return files+times+posts == 3 })
			})
			step(t, el, whole)
			poll(t, el)
			if files != 1 || times != 1 || posts != 1 {
				t.Errorf("%d file events, %d time events, %d posted functions, want one of each", files, times, posts)
			}
		}),
	inEach("MainInA", "a Main from a callback runs until Stop, which ends the outer Main too, once",
		func(t *testing.T, el *ae.EventLoop, p place) {
			inner := 0
			p.arm(t, el, func() {
				el.CreateTimeEvent(0, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration { el.Stop(); return ae.NoMore })
				if err := el.Main(); err != nil {
					t.Errorf("inner Main: %v", err)
				}
				inner++
			})
			kick := el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return time.Millisecond })
			within(t, func() {
				if err := el.Main(); err != nil {
					t.Errorf("outer Main: %v", err)
				}
			})
			if !el.DeleteTimeEvent(kick) || inner != 1 {
				t.Errorf("the inner Main ended %d times", inner)
			}
			el.CreateTimeEvent(0, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration { el.Stop(); return ae.NoMore })
			within(t, func() { el.Main() }) // a Stop that was left over would have ended it without a look
			if n := poll(t, el); n != 0 {
				t.Errorf("%d calls left over: Main ended before its first iteration", n)
			}
		}),
	inEach("StopInA", "Stop in a callback ends Main after that iteration, and only that Main",
		func(t *testing.T, el *ae.EventLoop, p place) {
			later := 0
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { later++; return time.Hour })
			p.arm(t, el, el.Stop)
			within(t, func() { el.Main() })
			if later != 1 {
				t.Errorf("the rest of the iteration ran %d times, want 1", later)
			}
			p.arm(t, el, el.Stop)
			el.Post(func(*ae.EventLoop) { later++ })
			within(t, func() { el.Main() })
			if later != 2 {
				t.Error("the next Main ended before its first iteration")
			}
		}),
	inEach("ResizeInA", "Resize in a callback, down and up again, keeps what is registered",
		func(t *testing.T, el *ae.EventLoop, p place) {
			r, w := pipe(t)
			calls := 0
			create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { receive(r); calls++ })
			size := el.SetSize()
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
				if err := el.Resize(size); err != nil || el.SetSize() != size {
					t.Errorf("Resize(%d): %v", size, err)
				}
			})
			step(t, el, whole)
			send(t, w, "x")
			until(t, el, func() bool { return calls == 1 })
		}),
)
