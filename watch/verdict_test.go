package watch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/watch"
)

//go:noinline
func napOf12ms(*ae.EventLoop) { time.Sleep(12 * time.Millisecond) }

//go:noinline
func napOf1ms(*ae.EventLoop) { time.Sleep(time.Millisecond) }

func nothing(*ae.EventLoop) {}

// Each verdict is got by doing to a loop what it is about.
func TestVerdicts(t *testing.T) {
	const slow = 10 * time.Millisecond
	for _, c := range []struct {
		name  string
		level watch.Level
		want  []string
		do    func(t *testing.T, el *ae.EventLoop, w *watch.Watcher)
	}{
		{"a slow callback", watch.Bad, []string{"of iterations took 10ms or longer", "100 % of that in posted: watch_test.napOf12ms", "nobody else"}, func(t *testing.T, el *ae.EventLoop, w *watch.Watcher) {
			el.Post(napOf12ms)
			aetest.Poll(t, el)
			aetest.Poll(t, el)
			await(t, "the group", func() bool { return len(w.Snapshot().Stalls) > 0 })
		}},
		{"a slow iteration", watch.Bad, []string{"many callbacks one after the other", "posted: watch_test.napOf1ms"}, func(t *testing.T, el *ae.EventLoop, w *watch.Watcher) {
			await(t, "iterations in which none is slow alone", func() bool { // a machine under load may make one
				for range 30 {
					el.Post(napOf1ms)
				}
				aetest.Poll(t, el)
				aetest.Poll(t, el)
				return worst(w).Iteration
			})
		}},
		{"late time events", watch.Bad, []string{"100 % of time events came over 8 ms late"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			for range 25 {
				el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore })
			}
			el.Post(napOf12ms)
			aetest.Poll(t, el)
		}},
		{"posted functions that wait", watch.Bad, []string{"of posted functions waited over 8 ms"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			left := 25
			var next func(el *ae.EventLoop)
			next = func(el *ae.EventLoop) {
				if left--; left > 0 {
					el.Post(next)
				}
				napOf12ms(el)
			}
			el.Post(next)
			aetest.Until(t, el, func() bool { return left == 0 })
		}},
		{"a queue that grows", watch.Bad, []string{"1,000 posted functions wait"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			for range 1000 {
				el.Post(nothing)
			}
		}},
		{"full batches", watch.Note, []string{"of polls found as much as they had room for"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			if ae.APIName() == "select" {
				t.Skip("select has room for all that it takes")
			}
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			for range 600 {
				fd, err := testutil.DupAbove(a, 0)
				if err != nil {
					t.Fatal(err)
				}
				testutil.CloseLater(t, fd)
				aetest.Create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {})
			}
			for range 30 {
				aetest.Poll(t, el)
			}
		}},
		{"a loop that spins", watch.Bad, []string{"The loop spins"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			el.SetDontWait(true)
			for range 2000 {
				el.ProcessEvents(aetest.Iteration)
			}
		}},
		{"a write callback with nothing to write", watch.Bad, []string{"Writable is called 2,000 times, and Readable 0 times"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			a, _ := aetest.SocketPair(t)
			aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
			for range 2000 {
				el.ProcessEvents(aetest.Iteration)
			}
		}},
		{"a full load", watch.Bad, []string{"busy 100 %", "Most of it goes to"}, func(t *testing.T, el *ae.EventLoop, _ *watch.Watcher) {
			for range 10 {
				el.Post(napOf12ms)
				aetest.Poll(t, el)
			}
			aetest.Poll(t, el)
		}},
		{"some load", watch.Note, []string{"The loop is busy", "mostly with"}, func(t *testing.T, el *ae.EventLoop, w *watch.Watcher) {
			await(t, "a load between", func() bool {
				s := w.Snapshot()
				switch load := s.Load(); {
				case load < 0.6:
					el.Post(napOf4ms)
					aetest.Poll(t, el)
				case load > 0.8:
					aetest.RunFor(t, el, 4*time.Millisecond)
				default:
					return s.Busy > 0
				}
				aetest.Poll(t, el)
				return false
			})
		}},
		{"nobody runs it", watch.Note, []string{"Nobody ran the loop"}, func(t *testing.T, el *ae.EventLoop, w *watch.Watcher) {
			await(t, "some time to pass", func() bool { return w.Snapshot().Period > 20*time.Millisecond })
		}},
		{"nobody watches it", watch.Note, []string{"Nobody watches this loop"}, func(t *testing.T, el *ae.EventLoop, w *watch.Watcher) { w.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			el := aetest.Loop(t)
			w := start(t, el, watch.Options{Slow: slow})
			c.do(t, el, w)
			el.Stats() // publishes
			all := w.Snapshot().Verdicts()
			for _, v := range all {
				if containsAll(v.Text, c.want) {
					if v.Level != c.level {
						t.Errorf("%v is %s, want %s", v.Text, v.Level, c.level)
					}
					return
				}
			}
			t.Errorf("no verdict has %q: %q", c.want, all)
		})
	}
}

func TestVerdictOnALoopWithoutLoad(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{Slow: 10 * time.Millisecond})
	var all []watch.Verdict
	// A machine that is slow itself spoils a while: one of them has to be good.
	await(t, "a while in which all is well", func() bool {
		before := w.Snapshot()
		aetest.RunFor(t, el, 20*time.Millisecond)
		el.Stats() // publishes
		s := w.Snapshot()
		s = s.Sub(&before)
		if s.SlowCallbacks+s.SlowIterations+s.Late.Above(1<<23) > 0 || s.Load() > 0.5 || s.Sleep < s.Period/2 {
			return false
		}
		all = s.Verdicts()
		return true
	})
	for _, v := range all {
		if v.Level == watch.Good && containsAll(v.Text, []string{"All is well", "sleeps"}) {
			return
		}
	}
	t.Errorf("verdicts: %q", all)
}

// worst returns the group of stalls that took the most time.
func worst(w *watch.Watcher) (worst watch.Group) {
	for _, g := range w.Snapshot().Stalls {
		if g.Total > worst.Total {
			worst = g
		}
	}
	return worst
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func TestVerdictsOnTheWatchingItself(t *testing.T) {
	s := watch.Snapshot{Health: watch.Health{Looks: 100, Late: 30, Lost: 1234}}
	all := ""
	for _, v := range s.Verdicts() {
		all += v.Text
	}
	if !containsAll(all, []string{"30 % of the watcher's own looks came late", "1,234 slow callbacks are only counted"}) {
		t.Errorf("verdicts: %s", all)
	}
}

// One verdict at least there always is, and the worst come first.
func TestTheWorstVerdictComesFirst(t *testing.T) {
	var none watch.Snapshot
	if len(none.Verdicts()) == 0 {
		t.Error("there is no verdict on nothing")
	}
	s := watch.Snapshot{Period: time.Second, Busy: time.Second, Sleep: time.Second, Health: watch.Health{Lost: 1}}
	s.Stats.Queue = 5000
	s.Callbacks[ae.KindWritable].Sum = uint64(800 * time.Millisecond)
	v := s.Verdicts()
	if !strings.HasSuffix(v[1].Text, "mostly with writable (80 %).") {
		t.Errorf("the load: %q", v)
	}
	if len(v) != 3 || v[0].Level != watch.Bad || v[2].Level == watch.Bad {
		t.Errorf("verdicts: %q", v)
	}
}
