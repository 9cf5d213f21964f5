package watch

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/aeloop/ae"
)

// Options say how a loop is watched. The zero value will do.
type Options struct {
	// Name is what the loop is called on the page, in reports and in profiles: its
	// goroutine gets the label ae with this value, in place of labels that it has.
	// Each loop wants one of its own. The default is "loop".
	Name string

	// Slow is how long a callback, or all those of one iteration, may take before
	// that is reported. The default is 25 ms, the least 10 ms.
	Slow time.Duration

	// Report is called, on a goroutine of the Watcher, when something has been
	// slow for Slow, and is still under way; again at twice that, four times that
	// and so on; and when it has ended. While Report runs nobody looks.
	Report func(Stall)

	// Logger gets a warning for what was slow, one a second at most.
	Logger *slog.Logger

	// Lanes has callbacks recorded from the start, and not only while somebody
	// looks at them.
	Lanes bool

	// Conns says how the connections upon the loop do, if there are such: ConnsOf
	// does for those of package stream. It is called on the loop's goroutine,
	// before a poll, at most once each time that somebody takes a Snapshot.
	Conns func() Conns
}

const (
	defaultSlow = 25 * time.Millisecond
	leastSlow   = 10 * time.Millisecond
)

// Watcher watches one loop.
type Watcher struct {
	el    *ae.EventLoop
	opts  Options
	began time.Duration // when, on the loop's clock

	rec     recorder
	lanes   lanes
	conns   connsBox
	monitor monitor

	removeTrace func()
	closed      chan struct{} // is closed by Close
	close       sync.Once
}

// New begins to watch el, until Close. It belongs to the goroutine of the loop, or
// to who owns the loop before that runs.
func New(el *ae.EventLoop, opts Options) *Watcher {
	if opts.Name == "" {
		opts.Name = "loop"
	}
	if opts.Slow == 0 {
		opts.Slow = defaultSlow
	}
	opts.Slow = max(opts.Slow, leastSlow)

	w := &Watcher{el: el, opts: opts, began: time.Since(el.Started()), closed: make(chan struct{})}
	w.rec.init(w)
	w.lanes.init(opts.Lanes)
	w.removeTrace = el.AddTrace(w.rec.trace())
	go w.monitor.run(w)
	return w
}

// Close ends the watching: the loop is as it was before, and the Watcher's
// goroutine ends. It belongs to the loop's goroutine, as New does; the loop may be
// closed already. A Report under way may end later.
func (w *Watcher) Close() {
	w.close.Do(func() {
		w.removeTrace()
		close(w.closed)
	})
}

// Name is what the loop is called.
func (w *Watcher) Name() string { return w.opts.Name }

// label is the name of the profiler label that a watched loop's goroutine has.
const label = "ae"

// labelled returns a context for pprof.SetGoroutineLabels.
func labelled(name string) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels(label, name))
}
