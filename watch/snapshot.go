package watch

import (
	"slices"
	"time"

	"github.com/aeloop/ae"
)

// Snapshot is what is known of a loop at one time. All counts and sums only grow
// from New on, except those of Stats, which the loop began before.
type Snapshot struct {
	Loop   string        `json:"loop"`
	Time   time.Time     `json:"time"`
	Period time.Duration `json:"period"` // since New, or what a difference is about
	Slow   time.Duration `json:"slow"`   // Options.Slow
	Stats  ae.Stats      `json:"stats"`  // Queue is exact, the rest as PublishedStats has it

	Busy  time.Duration `json:"busy"`  // in iterations, what is under way included; the rest of the period nobody ran the loop
	Sleep time.Duration `json:"sleep"` // asleep, likewise
	Polls time.Duration `json:"polls"` // of Busy, polling

	Callbacks  [ae.Kinds]Histogram `json:"callbacks"`  // how long they took, by kind
	Iterations Histogram           `json:"iterations"` // how long the loop did not poll
	Late       Histogram           `json:"late"`       // how long after their deadlines time events were called
	PostWait   Histogram           `json:"post_wait"`  // how long posted functions waited: a sample
	Batch      Histogram           `json:"batch"`      // how many descriptors a poll found ready

	SlowCallbacks  uint64  `json:"slow_callbacks"`
	SlowIterations uint64  `json:"slow_iterations"` // in which no callback was slow by itself
	Stalls         []Group `json:"stalls"`          // what was slow, since New, the latest first

	Blocked     time.Duration `json:"blocked"`      // for how long the loop has not polled: it is in a callback
	BlockedKind string        `json:"blocked_kind"` // which is this
	BlockedFunc string        `json:"blocked_func"`

	Asleep bool   `json:"asleep"`
	Closed bool   `json:"closed"` // Close was called: nothing changes any more
	Conns  *Conns `json:"conns"`  // nil without Options.Conns, and at first
	Health Health `json:"health"`
}

// Snapshot returns what is known now. Any goroutine may call it; it neither wakes
// the loop nor waits for it.
func (w *Watcher) Snapshot() Snapshot {
	r := &w.rec
	now := time.Now()
	clock := now.Sub(w.el.Started())
	s := Snapshot{
		Loop: w.opts.Name, Time: now, Period: clock - w.began, Slow: w.opts.Slow,
		Stats:          w.el.PublishedStats(),
		Polls:          time.Duration(r.polls.Load()),
		Iterations:     r.iterations.read(),
		Late:           r.late.read(),
		PostWait:       r.postWait.read(),
		Batch:          r.batch.read(),
		SlowCallbacks:  r.slowCallbacks.Load(),
		SlowIterations: r.slowIterations.Load(),
		Conns:          w.conns.get(),
	}
	for k := range r.callbacks {
		s.Callbacks[k] = r.callbacks[k].read()
	}
	s.Stats.Queue = r.queue()
	s.Sleep, s.Asleep = r.asleep.read(clock)
	s.Busy = time.Duration(s.Iterations.Sum) + s.Polls
	w.underWay(&s, clock)
	s.Stalls, s.Health = w.monitor.state()
	s.Health.Lost = r.done.lostOnes()
	select {
	case <-w.closed:
		s.Closed = true
		s.Blocked = 0
	default:
	}
	return s
}

// underWay adds what the iteration under way has taken so far.
func (w *Watcher) underWay(s *Snapshot, clock time.Duration) {
	since, what, turn := w.rec.since.Load(), w.rec.what.Load(), w.rec.turn.Load()
	if since == 0 || w.rec.since.Load() != since {
		return
	}
	begin := time.Duration(since)
	if turn != 0 {
		begin = min(begin, time.Duration(turn))
		s.Busy += clock - time.Duration(turn)
	}
	s.Blocked = clock - begin
	c := callOf(what)
	s.BlockedKind, s.BlockedFunc = c.kind.String(), funcName(c.pc)
}

// Sub returns what has happened since old, an earlier Snapshot of the same
// Watcher. What is no count, such as Stats.Timers or Blocked, is as in s.
func (s Snapshot) Sub(old *Snapshot) Snapshot {
	d := s
	d.Period -= old.Period
	d.Busy = max(d.Busy-old.Busy, 0)
	d.Sleep = max(d.Sleep-old.Sleep, 0)
	d.Polls -= old.Polls
	for k := range d.Callbacks {
		d.Callbacks[k] = s.Callbacks[k].Sub(&old.Callbacks[k])
	}
	d.Iterations = s.Iterations.Sub(&old.Iterations)
	d.Late = s.Late.Sub(&old.Late)
	d.PostWait = s.PostWait.Sub(&old.PostWait)
	d.Batch = s.Batch.Sub(&old.Batch)
	d.SlowCallbacks -= old.SlowCallbacks
	d.SlowIterations -= old.SlowIterations
	d.Health.subtract(&old.Health)
	d.Stalls = since(s.Stalls, old.Stalls)

	st, o := &d.Stats, &old.Stats
	st.Iterations -= o.Iterations
	st.Sleeps -= o.Sleeps
	st.WakeUps -= o.WakeUps
	st.FullBatches -= o.FullBatches
	st.Readable -= o.Readable
	st.Writable -= o.Writable
	st.Posted -= o.Posted
	st.TimeEvents -= o.TimeEvents
	return d
}

func (h *Health) subtract(old *Health) {
	h.Looks -= old.Looks
	h.Late -= old.Late
	h.Stacks -= old.Stacks
	h.Suppressed -= old.Suppressed
	h.Missed -= old.Missed
	h.Lost -= old.Lost
}

// since returns the groups that have grown, by how much.
func since(groups, old []Group) (grown []Group) {
	for _, g := range groups {
		if i := slices.IndexFunc(old, func(o Group) bool { return o.like(g.Stall) }); i >= 0 {
			g.Count -= min(old[i].Count, g.Count)
			g.Total = max(g.Total-old[i].Total, 0)
		}
		if g.Count > 0 {
			grown = append(grown, g)
		}
	}
	return grown
}

// Load returns which share of its time the loop was busy, from 0 to 1. Time in
// which nobody ran it does not count.
func (s *Snapshot) Load() float64 {
	if s.Busy+s.Sleep <= 0 {
		return 0
	}
	return float64(s.Busy) / float64(s.Busy+s.Sleep)
}

// Calls returns how many callbacks have ended, hooks excepted.
func (s *Snapshot) Calls() (n uint64) {
	for k := range s.Callbacks {
		if ae.Kind(k) != ae.KindHook {
			n += s.Callbacks[k].Count
		}
	}
	return n
}
