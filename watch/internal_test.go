package watch

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
)

func TestHistogramsSubtractAndTellQuantiles(t *testing.T) {
	var c counter
	for _, v := range []int64{-5, 0, 1, 2, 3, 1000, 1023, 1024} {
		c.add(v)
	}
	old := c.read()
	if old.Count != 8 || old.Sum != 3053 || old.Max != 1024 {
		t.Errorf("%+v", old)
	}
	for i, want := range map[int]uint64{0: 2, 1: 1, 2: 2, 10: 2, 11: 1} {
		if old.Buckets[i] != want {
			t.Errorf("bucket %d has %d, want %d", i, old.Buckets[i], want)
		}
	}
	for range 99 {
		c.add(100)
	}
	c.add(math.MaxInt64)
	now := c.read()
	d := now.Sub(&old)
	if d.Count != 100 || d.Buckets[7] != 99 || d.Buckets[Buckets-1] != 1 || d.Buckets[0] != 0 {
		t.Errorf("the difference is %+v", d)
	}
	if got := d.Quantile(0.5); got != 127 {
		t.Errorf("half are at most %d, want 127", got)
	}
	if got := d.Quantile(1); got != math.MaxInt64 {
		t.Errorf("all are at most %d", got)
	}
	if n := now.Above(1000); n != 2 { // 1024 and the largest: the others share a bucket with smaller ones
		t.Errorf("%d above 1000", n)
	}
	if n := now.Above(0); n != now.Count-2 {
		t.Errorf("%d above 0", n)
	}
	if Bound(1) != 2 || !math.IsInf(Bound(Buckets-1), 1) {
		t.Errorf("bounds %v, %v", Bound(1), Bound(Buckets-1))
	}
	var none Histogram
	if none.Quantile(0.99) != 0 || none.Mean() != 0 {
		t.Error("an empty histogram has quantiles")
	}
}

func TestStopwatchIsRightWhileItRuns(t *testing.T) {
	var s stopwatch
	check := func(now, want time.Duration, running bool) {
		t.Helper()
		if got, r := s.read(now); got != want || r != running {
			t.Errorf("at %d: %d, %v; want %d, %v", now, got, r, want, running)
		}
	}
	check(5, 0, false)
	s.start(10)
	check(17, 7, true)
	s.start(12) // it runs already
	s.stop(20)
	s.stop(25)
	check(100, 10, false)
	s.start(101)
	check(101, 10, true)
	check(103, 12, true)
}

const profile = `goroutine profile: total 4
1 @ 0x1 0x2
# labels: {"ae":"one"}
#	0x47e5c5	time.Sleep+0xb5					/go/src/runtime/time.go:300
#	0x47e5c5	main.(*server).slow+0xb5			/src/my server/main.go:7
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).runPosted+0x1	/src/ae/post.go:1
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).ProcessEvents+0x1	/src/ae/ae.go:1
#	0x47e5c5	main.inner+0x1					/src/main.go:8
#	0x47e5c5	github.com/aeloop/ae/stream.(*Loop).onReadable+0x1	/src/ae/stream/loop.go:1
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).call+0x1	/src/ae/ae.go:1
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).ProcessEvents+0x1	/src/ae/ae.go:1
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).Main+0x1	/src/ae/ae.go:1
#	0x47e5c5	main.main+0x1					/src/main.go:1

1 @ 0x1 0x2
# labels: {"ae":"two", "team":"\"x\""}
#	0x47e5c5	syscall.Syscall6+0xb5				/go/src/syscall/syscall.go:1
#	0x47e5c5	github.com/aeloop/ae.(*epoll).poll+0x1		/src/ae/ae_epoll.go:1
#	0x47e5c5	github.com/aeloop/ae.(*EventLoop).ProcessEvents+0x1	/src/ae/ae.go:1

1 @ 0x1 0x2
#	0x47e5c5	main.other+0xb5	/src/main.go:1
`

func TestTheStackOfALoopIsFoundByItsLabel(t *testing.T) {
	var names []string
	for _, f := range findStack(profile, "one") {
		names = append(names, f.Func)
	}
	want := "time.Sleep main.(*server).slow github.com/aeloop/ae.(*EventLoop).runPosted " +
		"github.com/aeloop/ae.(*EventLoop).ProcessEvents main.inner github.com/aeloop/ae/stream.(*Loop).onReadable"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the stack is\n%s, want\n%s", got, want)
	}
	stack := findStack(profile, "one")
	if got := blame(stack); got != "main.inner" {
		t.Errorf("%q is to blame", got)
	}
	if stack[1].File != "/src/my server/main.go:7" {
		t.Errorf("its file is %q", stack[1].File)
	}
	if got := findStack(profile, "three"); got != nil {
		t.Errorf("of two loops neither has the label: %v", got)
	}
	if got := findStack(strings.Replace(profile, `"ae":"one"`, `"x":"y"`, 1), "one"); got != nil {
		t.Errorf("of two loops neither has the label: %v", got)
	}
	first, _, _ := strings.Cut(profile, "\n\n")
	if got := findStack(first, "whatever"); len(got) != len(stack) {
		t.Errorf("the only loop is not taken: %v", got)
	}
}

// A look that comes late sees what the scheduler did: it must not report.
func TestALookThatComesLateIsDiscarded(t *testing.T) {
	m := newMonitor(t)
	began := int64(m.w.el.Now().Sub(m.w.el.Started())) + 1
	m.w.rec.since.Store(began)
	m.w.rec.turn.Store(began)
	m.last = time.Now().Add(-time.Hour) // it has not looked for an hour
	m.look()
	if _, h := m.state(); h.Late != 1 || len(m.reported) != 0 {
		t.Errorf("%d late looks, reported: %v", h.Late, m.reported)
	}
}

func TestFiveStacksAMinuteAndSomeKeptForTheWorst(t *testing.T) {
	m := newMonitor(t)
	check := func(taken, suppressed uint64) {
		t.Helper()
		if _, h := m.state(); h.Stacks != taken || h.Suppressed != suppressed {
			t.Errorf("%d taken, %d suppressed; want %d and %d", h.Stacks, h.Suppressed, taken, suppressed)
		}
	}
	for i := range uint64(10) {
		m.takeStack(0, 7, false) // the same one over and over
		m.takeStack(0, 100+i, false)
	}
	check(stacksPerMinute-keptForTheWorst, 20-(stacksPerMinute-keptForTheWorst))
	for range 10 { // the worst has some left, but not one alone
		m.takeStack(0, 7, true)
	}
	m.takeStack(0, 8, true)
	m.takeStack(0, 9, true)
	check(stacksPerMinute, 32-stacksPerMinute)
}

func TestStallsOfAFunctionAreCountedTogether(t *testing.T) {
	m := newMonitor(t)
	a := Stall{Func: "a", Duration: 2, Ended: true, Stack: []Frame{{"a", "1"}}}
	b := Stall{Func: "b", Duration: 3, Ended: true}
	for range 100 {
		m.keep(a)
	}
	m.keep(b)
	a.Stack = nil
	m.keep(a)
	groups, _ := m.state()
	if len(groups) != 2 || groups[0].Func != "a" || groups[0].Count != 101 || groups[0].Total != 202 || groups[0].Stack == nil {
		t.Errorf("groups: %+v", groups)
	}
	for i := range 3 * maxGroups {
		m.keep(Stall{Func: strings.Repeat("x", i), Ended: true})
	}
	if groups, _ := m.state(); len(groups) != maxGroups {
		t.Errorf("%d groups", len(groups))
	}
}

// testMonitor is a monitor that nobody runs.
type testMonitor struct {
	*monitor
	reported []Stall
}

func newMonitor(t *testing.T) *testMonitor {
	t.Helper()
	el, err := ae.New(10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { el.Close() })
	tm := new(testMonitor)
	w := &Watcher{el: el, opts: Options{Name: t.Name(), Slow: defaultSlow, Report: func(s Stall) { tm.reported = append(tm.reported, s) }}}
	w.rec.init(w)
	tm.monitor = &w.monitor
	tm.w, tm.names = w, map[uintptr]string{}
	tm.interval = w.opts.Slow / 2
	tm.pause, tm.last = tm.interval, time.Now()
	return tm
}
