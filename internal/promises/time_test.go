package promises_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
)

// timePromises are about time events, in real time. timer_test.go has what
// needs virtual time or the inside of the heap.
var timePromises = []promise{
	{"NeverEarly", "1,000 short waits are never early, and take at most two iterations each", func(t *testing.T) {
		for _, wait := range []time.Duration{100 * time.Microsecond, 3100 * time.Microsecond} {
			el := aetest.Loop(t)
			fired, early, n := 0, 0, 0
			armed := time.Now()
			runs := int(100 * time.Millisecond / wait)
			el.CreateTimeEvent(wait, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				if time.Since(armed) < wait {
					early++
				}
				fired++
				armed = time.Now()
				return wait
			})
			n = aetest.Until(t, el, func() bool { return fired == runs })
			if early != 0 || n > 2*runs {
				t.Errorf("%v: %d of %d early, %d iterations", wait, early, runs, n)
			}
		}
	}},
	{"OrderIsByDeadlineThenCreation", "time events run by deadline, equal ones in the order of their creation", func(t *testing.T) {
		el := aetest.Loop(t)
		var order []int
		add := func(d time.Duration, i int) {
			el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				order = append(order, i)
				return ae.NoMore
			})
		}
		add(20*time.Millisecond, 4)
		add(10*time.Millisecond, 3)
		for i := range 3 {
			add(-time.Hour, i)
		}
		aetest.Until(t, el, func() bool { return len(order) == 5 })
		if want := []int{0, 1, 2, 3, 4}; !reflect.DeepEqual(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	}},
	// pitfall 9: libuv#4245
	{"CreatedInAPassRunsInTheNext", "a time event created or re-armed in a pass, even without a wait, does not run in that pass", func(t *testing.T) {
		el := aetest.Loop(t)
		parents, children := 0, 0
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			parents++
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				children++
				return ae.NoMore
			})
			return 0
		})
		aetest.Poll(t, el)
		if parents != 1 || children != 0 {
			t.Errorf("first pass: %d parents, %d children", parents, children)
		}
		aetest.Until(t, el, func() bool { return parents == 2 })
		if children != 1 {
			t.Errorf("second pass: %d children", children)
		}
	}},
	{"AllThatAreDueRunInOnePass", "100,000 due time events run in one iteration", func(t *testing.T) {
		el := aetest.Loop(t)
		ran := 0
		for range 100_000 {
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran++; return ae.NoMore })
		}
		if n := aetest.Poll(t, el); n != 100_000 || ran != n {
			t.Errorf("%d ran, %d counted", ran, n)
		}
	}},
	// pitfall 8: redis 8ac7af1c5, nbio#398
	{"DeletedInThePassDoesNotRun", "a time event that is due, and deleted by one before it in the pass, does not run", func(t *testing.T) {
		el := aetest.Loop(t)
		var ids [2]ae.TimeEventID
		runs := 0
		for i := range ids {
			ids[i] = el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				runs++
				if !el.DeleteTimeEvent(ids[1-i]) {
					t.Error("the other one was not there to delete")
				}
				return 0
			})
		}
		aetest.Poll(t, el)
		if runs != 1 {
			t.Errorf("%d ran, want 1", runs)
		}
	}},
	{"DeletesItself", "a time event that deletes itself ends, whatever it returns, and its slot serves another at once", func(t *testing.T) {
		el := aetest.Loop(t)
		runs, others := 0, 0
		var second ae.TimeEventID
		first := el.CreateTimeEvent(0, func(_ *ae.EventLoop, id ae.TimeEventID) time.Duration {
			runs++
			if !el.DeleteTimeEvent(id) || el.DeleteTimeEvent(id) {
				t.Error("deleting itself works exactly once")
			}
			second = el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { others++; return ae.NoMore })
			return 0
		})
		aetest.Poll(t, el)
		aetest.Until(t, el, func() bool { return others == 1 })
		aetest.Poll(t, el)
		if runs != 1 || first == second {
			t.Errorf("%d runs; ids %d and %d", runs, first, second)
		}
	}},
	{"StaleIdsDeleteNothing", "an id that has ended, 0, and ids never given delete nothing", func(t *testing.T) {
		el := aetest.Loop(t)
		nop := func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore }
		old := el.CreateTimeEvent(0, nop)
		aetest.Poll(t, el)
		ran := false
		now := el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran = true; return ae.NoMore })
		for _, id := range []ae.TimeEventID{old, 0, 1, now + 1, now + 1<<32, math.MaxUint64} {
			if id != now && el.DeleteTimeEvent(id) {
				t.Errorf("deleted %#x", uint64(id))
			}
		}
		aetest.Poll(t, el)
		if !ran || old == now {
			t.Errorf("ran %v; ids %#x, %#x", ran, uint64(old), uint64(now))
		}
	}},
	// pitfall 10: redis#8764, libuv#4773
	{"FarDeadlinesDoNotOverflow", "deadlines of 36 minutes, 25 days and 292 years neither run now nor spin the loop", func(t *testing.T) {
		el := aetest.Loop(t)
		for _, d := range []time.Duration{36 * time.Minute, 25 * 24 * time.Hour, math.MaxInt64} {
			el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				t.Errorf("the one for %v ran", d)
				return ae.NoMore
			})
			if n := aetest.RunFor(t, el, 5*time.Millisecond); n > 10 { // signals, too, make for iterations
				t.Errorf("%v: %d iterations in 5 ms", d, n)
			}
		}
	}},
	{"NegativeWaitMeansNow", "a TimeProc that returns a negative wait other than NoMore is called again", func(t *testing.T) {
		el := aetest.Loop(t)
		runs := 0
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			if runs++; runs == 3 {
				return ae.NoMore
			}
			return -time.Hour
		})
		aetest.Until(t, el, func() bool { return runs == 3 })
		if n := aetest.Poll(t, el); n != 0 {
			t.Errorf("%d calls after NoMore", n)
		}
	}},
}
