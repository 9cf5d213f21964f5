package watch_test

import (
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/watch"
)

// start watches el until the test ends.
func start(t testing.TB, el *ae.EventLoop, opts watch.Options) *watch.Watcher {
	t.Helper()
	w := watch.New(el, opts)
	t.Cleanup(w.Close)
	return w
}

// run runs el on a goroutine until the test ends.
func run(t testing.TB, el *ae.EventLoop) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- el.Main() }()
	t.Cleanup(func() {
		el.Stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(testutil.Patience):
			t.Error("the loop does not end")
		}
	})
}

// await waits until cond, which it asks now and then.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := testutil.Deadline(); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// reports collects stalls.
type reports struct {
	mu  sync.Mutex
	all []watch.Stall
}

func (r *reports) add(s watch.Stall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *reports) get() []watch.Stall {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *reports) has(cond func(s watch.Stall) bool) bool {
	return slices.ContainsFunc(r.get(), cond)
}

// blocker holds up its loop until it is told to go on.
type blocker struct{ entered, goOn chan struct{} }

func newBlocker() *blocker { return &blocker{make(chan struct{}), make(chan struct{})} }

//go:noinline
func (b *blocker) hold(*ae.EventLoop) {
	close(b.entered)
	<-b.goOn
}

func TestASlowCallbackIsReportedWhileItRunsAndWhenItHasEnded(t *testing.T) {
	el := aetest.Loop(t)
	var got reports
	w := start(t, el, watch.Options{Name: t.Name(), Slow: 10 * time.Millisecond, Report: got.add})
	run(t, el)
	b := newBlocker()
	el.Post(b.hold)
	await(t, "two reports of a callback under way", func() bool { return len(got.get()) >= 2 })
	blocked := w.Snapshot()
	close(b.goOn)
	await(t, "the report of its end", func() bool { return got.has(func(s watch.Stall) bool { return s.Ended }) })

	all := got.get()
	for i, s := range all {
		if !strings.HasSuffix(s.Func, "watch_test.(*blocker).hold") || s.Kind != ae.KindPosted || s.Iteration || s.Loop != t.Name() {
			t.Errorf("report %d: %v", i, s)
		}
		if len(s.Stack) == 0 || s.Stack[len(s.Stack)-1].Func != s.Func {
			t.Errorf("report %d does not have the callback at the end of its stack: %v", i, s.Stack)
		}
		if i > 0 && s.Duration < all[i-1].Duration {
			t.Errorf("report %d says %v, the one before %v", i, s.Duration, all[i-1].Duration)
		}
		if s.Ended != (i == len(all)-1) {
			t.Errorf("report %d of %d: ended is %v", i, len(all), s.Ended)
		}
	}
	if all[0].Duration < 10*time.Millisecond || all[1].Duration < 20*time.Millisecond {
		t.Errorf("reported after %v and %v, not 10 and 20 ms", all[0].Duration, all[1].Duration)
	}
	if blocked.Blocked < 20*time.Millisecond || !strings.HasSuffix(blocked.BlockedFunc, "(*blocker).hold") || blocked.BlockedKind != "posted" {
		t.Errorf("while it ran: blocked for %v in %s %s", blocked.Blocked, blocked.BlockedKind, blocked.BlockedFunc)
	}
	if blocked.Busy < 20*time.Millisecond {
		t.Errorf("while it ran: busy for %v", blocked.Busy)
	}

	s := w.Snapshot()
	if s.SlowCallbacks != 1 || len(s.Stalls) != 1 || s.Stalls[0].Count != 1 || s.Blocked != 0 {
		t.Errorf("afterwards: %d slow, groups %v, blocked for %v", s.SlowCallbacks, s.Stalls, s.Blocked)
	}
	if h := s.Callbacks[ae.KindPosted]; h.Max < uint64(20*time.Millisecond) {
		t.Errorf("the histogram has %v", h)
	}
}

//go:noinline
func napOf4ms(*ae.EventLoop) { time.Sleep(4 * time.Millisecond) }

func TestManyCallbacksOfOneIterationAreASlowOneTogether(t *testing.T) {
	el := aetest.Loop(t)
	var got reports
	w := start(t, el, watch.Options{Slow: 100 * time.Millisecond, Report: got.add})
	await(t, "the report", func() bool { // under load one of them may be slow alone
		for range 50 {
			el.Post(napOf4ms)
		}
		aetest.Poll(t, el)
		aetest.Poll(t, el) // the poll that ends the iteration
		return got.has(func(s watch.Stall) bool { return s.Ended && s.Iteration })
	})
	for _, s := range got.get() {
		if s.Iteration && (!strings.HasSuffix(s.Func, "watch_test.napOf4ms") || s.Duration < 100*time.Millisecond) {
			t.Errorf("reported: %v", s)
		}
	}
	if s := w.Snapshot(); s.SlowIterations == 0 {
		t.Errorf("%d slow iterations, %d slow callbacks", s.SlowIterations, s.SlowCallbacks)
	}
}

func TestWhatWasSlowIsLogged(t *testing.T) {
	el := aetest.Loop(t)
	var log lockedBuffer
	start(t, el, watch.Options{Name: "main", Slow: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	run(t, el)
	for range 3 {
		el.Post(napOf12ms)
	}
	await(t, "a warning", func() bool { return strings.Contains(log.String(), "\n") })
	line := log.String()
	for _, want := range []string{"level=WARN", `msg="slow callback"`, "loop=main", "kind=posted", "watch_test.napOf12ms", "duration="} {
		if !strings.Contains(line, want) {
			t.Errorf("the log has no %s: %s", want, line)
		}
	}
}

// lockedBuffer is for a writer and a reader on two goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestFunctionsPostedBeforeAreInTheQueue(t *testing.T) {
	el := aetest.Loop(t)
	for range 7 {
		el.Post(nothing)
	}
	w := start(t, el, watch.Options{})
	if n := w.Snapshot().Stats.Queue; n != 7 {
		t.Errorf("%d wait", n)
	}
	el.Post(nothing)
	if n := w.Snapshot().Stats.Queue; n != 8 {
		t.Errorf("%d wait after another one", n)
	}
	aetest.Poll(t, el)
	if n := w.Snapshot().Stats.Queue; n != 0 {
		t.Errorf("%d wait when all have been called", n)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	el := aetest.Loop(t)
	w := watch.New(el, watch.Options{})
	aetest.Poll(t, el)
	w.Close()
	w.Close()
	testutil.GoroutinesComeTo(t, before)
	if !w.Snapshot().Closed {
		t.Error("the snapshot does not say that it is closed")
	}
	if el.Post(func(*ae.EventLoop) {}); aetest.Poll(t, el) != 1 {
		t.Error("the loop does not go on")
	}
}

func TestCountersOfASnapshotAgreeWithTheLoop(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{})
	a, b := aetest.SocketPair(t)
	aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { aetest.Receive(fd) })
	first := w.Snapshot()
	const n = 100
	for range n {
		anet.Write(b, []byte("x"))
		el.Post(func(*ae.EventLoop) {})
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore })
		aetest.Poll(t, el)
	}
	want := el.Stats()
	s := w.Snapshot()
	if s.Stats != want {
		t.Errorf("stats %+v, want %+v", s.Stats, want)
	}
	d := s.Sub(&first)
	got := [ae.Kinds]uint64{}
	for k := range d.Callbacks {
		got[k] = d.Callbacks[k].Count
	}
	if got != [ae.Kinds]uint64{n, 0, n, n, 0} || d.Calls() != 3*n {
		t.Errorf("callbacks by kind: %v", got)
	}
	if d.Batch.Count != n || d.Batch.Sum != n || d.Late.Count != n || d.PostWait.Count != n {
		t.Errorf("%d polls with %d descriptors, %d latenesses, %d waits", d.Batch.Count, d.Batch.Sum, d.Late.Count, d.PostWait.Count)
	}
	if d.Stats.Readable != n || d.Stats.Readers != 1 {
		t.Errorf("in the difference, %+v", d.Stats)
	}
}

func TestALoopThatSleepsIsAsleepAndNotBusy(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{})
	run(t, el)
	await(t, "the sleep", func() bool { return w.Snapshot().Asleep })
	first := w.Snapshot()
	await(t, "50 ms to pass", func() bool { return w.Snapshot().Sleep-first.Sleep > 50*time.Millisecond })
	s := w.Snapshot()
	if d := s.Sub(&first); d.Stats.Iterations > 5 || d.Sleep < 50*time.Millisecond { // signals make for some
		t.Errorf("watching woke an idle loop: %d iterations, asleep for %v", d.Stats.Iterations, d.Sleep)
	}
}

// A callback that runs the loop holds up everything, also after what it ran.
func TestACallbackThatRunsTheLoopIsWatchedOnTheWayBack(t *testing.T) {
	el := aetest.Loop(t)
	var got reports
	start(t, el, watch.Options{Slow: 10 * time.Millisecond, Report: got.add})
	run(t, el)
	b := newBlocker()
	el.Post(func(el *ae.EventLoop) {
		el.ProcessEvents(ae.AllEvents | ae.DontWait)
		b.hold(el)
	})
	await(t, "a report", func() bool { return len(got.get()) > 0 })
	close(b.goOn)
	if s := got.get()[0]; s.Ended || s.Kind != ae.KindPosted || !strings.Contains(s.Func, "RunsTheLoop") {
		t.Errorf("reported: %v", s)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	for _, lanes := range []bool{false, true} {
		el := aetest.Loop(t)
		start(t, el, watch.Options{Lanes: lanes})
		a, b := aetest.SocketPair(t)
		buf := make([]byte, 8)
		aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { anet.Read(fd, buf) })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 0 })
		el.AddBeforeSleep(func(*ae.EventLoop) {})
		post := func(*ae.EventLoop) {}
		one := []byte{1}
		step := func() {
			anet.Write(b, one)
			el.Post(post)
			el.ProcessEvents(aetest.Iteration)
		}
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(200, step); n != 0 {
			t.Errorf("lanes %v: %v allocations for each iteration", lanes, n)
		}
	}
}
