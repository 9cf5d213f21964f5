package watch

import (
	"context"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae"
)

// recorder is what the loop's goroutine does for the watching: it writes numbers
// into fixed places, takes no lock that anybody holds for long, and allocates
// nothing. Whoever reads them, names and formats them is on another goroutine.
// All times are Event.Time, on the loop's clock.
type recorder struct {
	w      *Watcher
	slow   time.Duration
	labels context.Context

	// For everybody.
	since  atomic.Int64  // when the callback under way was called; 0 if none is
	what   atomic.Uint64 // which it is: kind<<60 | entry of its function
	turn   atomic.Int64  // when the last poll had ended; 0 while the loop polls
	asleep stopwatch
	polls  atomic.Int64  // how long polling took altogether, without the sleep
	polled atomic.Uint64 // how often the loop has polled

	callbacks  [ae.Kinds]counter
	iterations counter // from the end of a poll to the next poll
	late       counter // how long after its deadline a time event was called
	postWait   counter // from Post to the call, a sample
	batch      counter // descriptors that one poll found ready

	posted, ran atomic.Uint64 // number of the last function that was posted, that was called
	sample      atomic.Uint64 // number of the posted function that is being timed, or 0
	sampleTime  time.Duration // when it was posted; whoever sets or clears sample may touch it

	slowCallbacks, slowIterations atomic.Uint64
	done                          slowList

	// For the loop's goroutine alone.
	open      []call // the callbacks under way, one inside the other
	pollStart time.Duration
	longest   call // of this iteration
	calls     int  // in this iteration
	labelled  uint // counts down to the next SetGoroutineLabels
}

// call is one callback.
type call struct {
	kind  ae.Kind
	fd    int
	pc    uintptr // of its function; a func would keep alive what it refers to
	start time.Duration
	took  time.Duration
}

func (c *call) word() uint64 { return uint64(c.kind)<<60 | uint64(c.pc) }

func callOf(word uint64) call {
	return call{kind: ae.Kind(word >> 60), pc: uintptr(word &^ (15 << 60)), fd: -1}
}

func (r *recorder) init(w *Watcher) {
	r.w = w
	r.slow = w.opts.Slow
	r.labels = labelled(w.opts.Name)
	r.open = make([]call, 0, 8)
	stats := w.el.Stats()
	r.ran.Store(stats.Posted)
	r.posted.Store(stats.Posted + uint64(stats.Queue))
}

func (r *recorder) trace() *ae.Trace {
	return &ae.Trace{Poll: r.onPoll, Sleep: r.onSleep, Polled: r.onPolled, Call: r.onCall, Done: r.onDone, Post: r.onPost}
}

// onPoll ends an iteration: the loop is about to look what else there is.
func (r *recorder) onPoll(e *ae.Event) {
	r.pollStart = e.Time
	r.polled.Add(1)
	if len(r.open) > 0 { // a nested ProcessEvents: the callback around it goes on
		return
	}
	if start := time.Duration(r.turn.Load()); start != 0 {
		took := e.Time - start
		r.iterations.add(int64(took))
		if took >= r.slow && r.longest.took < r.slow { // else that callback has been reported
			r.slowIterations.Add(1)
			r.done.add(ended{call: r.longest, iteration: true, start: start, took: took, calls: r.calls})
		}
	}
	r.turn.Store(0)
	r.longest, r.calls = call{}, 0
	if r.labelled == 0 {
		r.setLabels()
	}
	r.labelled--
	r.w.conns.serve(r.w.opts.Conns)
}

// setLabels labels the goroutine, now and then: the loop may have been handed to
// another one, or a callback may have set labels of its own.
func (r *recorder) setLabels() {
	pprof.SetGoroutineLabels(r.labels)
	r.labelled = 1000
}

func (r *recorder) onSleep(e *ae.Event) {
	r.setLabels()
	r.asleep.start(e.Time)
}

func (r *recorder) onPolled(e *ae.Event) {
	r.asleep.stop(e.Time)
	r.polls.Add(int64(e.Time - r.pollStart - e.Duration))
	r.batch.add(int64(e.Ready))
	r.w.lanes.polled(e, r.pollStart, len(r.open))
	if len(r.open) == 0 {
		r.turn.Store(int64(e.Time))
		return
	}
	r.resume() // the nested ProcessEvents may call nothing
}

func (r *recorder) onCall(e *ae.Event) {
	c := call{kind: e.Kind, fd: e.FD, pc: entry(e.Func), start: e.Time}
	r.open = append(r.open, c)
	r.what.Store(c.word())
	r.since.Store(int64(e.Time))

	switch e.Kind {
	case ae.KindTimeEvent:
		r.late.add(int64(e.Time - e.Due))
	case ae.KindPosted:
		r.ran.Store(e.Seq)
		if n := r.sample.Load(); n != 0 && n <= e.Seq {
			if n == e.Seq {
				r.postWait.add(int64(e.Time - r.sampleTime))
			}
			r.sample.Store(0)
		}
	}
}

func (r *recorder) onDone(e *ae.Event) {
	if len(r.open) == 0 {
		return // called before the loop was watched
	}
	c := r.open[len(r.open)-1]
	r.open = r.open[:len(r.open)-1]
	r.resume()

	c.took = e.Duration
	r.callbacks[e.Kind].add(int64(c.took))
	r.calls++
	if c.took > r.longest.took {
		r.longest = c
	}
	if c.took >= r.slow {
		r.slowCallbacks.Add(1)
		r.done.add(ended{call: c, start: c.start, took: c.took})
	}
	r.w.lanes.called(c, len(r.open))
}

// resume goes back to the callback that is under way now, if there is one.
func (r *recorder) resume() {
	if len(r.open) == 0 {
		r.since.Store(0)
		return
	}
	c := &r.open[len(r.open)-1]
	r.what.Store(c.word())
	r.since.Store(int64(c.start))
}

// onPost is called with the lock of Post, on any goroutine.
func (r *recorder) onPost(e *ae.Event) {
	r.posted.Store(e.Seq)
	if r.sample.Load() == 0 {
		r.sampleTime = e.Time
		r.sample.Store(e.Seq)
	}
}

// queue returns how many posted functions wait. Unlike Stats.Queue it is right
// while the loop is blocked.
func (r *recorder) queue() int {
	ran := r.ran.Load() // first: the other one only gets ahead
	return int(max(r.posted.Load(), ran) - ran)
}

// stopwatch adds up times. It is one word, so that whoever reads it while it runs
// gets what has passed so far: the sum, less the start while it runs, and in the
// lowest bit whether it does.
type stopwatch struct{ word atomic.Int64 }

func (s *stopwatch) start(now time.Duration) {
	if w := s.word.Load(); w&1 == 0 {
		s.word.Store(w - int64(now)<<1 | 1)
	}
}

func (s *stopwatch) stop(now time.Duration) {
	if w := s.word.Load(); w&1 != 0 {
		s.word.Store(w&^1 + int64(now)<<1)
	}
}

func (s *stopwatch) running() bool { return s.word.Load()&1 != 0 }

func (s *stopwatch) read(now time.Duration) (sum time.Duration, running bool) {
	w := s.word.Load()
	if w&1 == 0 {
		return time.Duration(w >> 1), false
	}
	return time.Duration(w>>1) + now, true
}

// ended is a slow callback, or a slow iteration with its longest callback.
type ended struct {
	call
	iteration bool
	start     time.Duration
	took      time.Duration
	calls     int // in the iteration
}

// slowList holds what was slow until the monitor, which looks often, takes it. Its
// lock is held for a few instructions.
type slowList struct {
	mu   sync.Mutex
	list [64]ended
	n    int
	lost uint64 // what found no room
}

func (l *slowList) add(e ended) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == len(l.list) {
		l.lost++
		return
	}
	l.list[l.n] = e
	l.n++
}

// take appends what is there to to.
func (l *slowList) take(to []ended) []ended {
	l.mu.Lock()
	defer l.mu.Unlock()
	to = append(to, l.list[:l.n]...)
	l.n = 0
	return to
}

func (l *slowList) lostOnes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}
