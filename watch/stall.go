package watch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aeloop/ae"
)

// Stall is a callback that held up its loop for Options.Slow or longer; or one
// iteration in which many did together.
type Stall struct {
	Loop      string        `json:"loop"`
	Kind      ae.Kind       `json:"-"`
	KindName  string        `json:"kind"`
	FD        int           `json:"fd"`        // of a readable or writable one, once it has ended; else -1
	Iteration bool          `json:"iteration"` // no callback of it was slow alone: Kind, FD and Func are of the longest
	Calls     int           `json:"calls"`     // how many there were in it, once it has ended
	Func      string        `json:"func"`      // the function to look at: the program's, not package stream's
	Stack     []Frame       `json:"stack"`     // innermost first, down to the callback; nil if it was not caught
	Start     time.Time     `json:"start"`
	Duration  time.Duration `json:"duration"` // so far, or altogether
	Ended     bool          `json:"ended"`
	Starved   bool          `json:"starved"` // meanwhile the whole process stood still
}

func (s Stall) String() string {
	what := s.Kind.String()
	if s.Iteration {
		what = fmt.Sprintf("one iteration, its longest callback %v,", s.Kind)
	}
	verb := "has been running for"
	if s.Ended {
		verb = "took"
	}
	return fmt.Sprintf("%s: %s %s %v: %s", s.Loop, what, verb, round(s.Duration), s.Func)
}

// Group is the stalls of one function, of one kind.
type Group struct {
	Stall                 // the last one, with the last stack that is known
	Count   uint64        `json:"count"`
	Longest time.Duration `json:"longest"`
	Total   time.Duration `json:"total"`
}

// Health is how the watching itself does.
type Health struct {
	Looks      uint64 `json:"looks"`      // at the loop
	Late       uint64 `json:"late"`       // those that came late and were discarded: the process stood still, or is starved
	Stacks     uint64 `json:"stacks"`     // that were taken
	Suppressed uint64 `json:"suppressed"` // that were not: there had been enough in that minute
	Missed     uint64 `json:"missed"`     // stalls that ended before a stack was taken
	Lost       uint64 `json:"lost"`       // stalls of which only the number is known
}

// Slow callbacks come in crowds, and the worst of a crowd is not to go without a
// stack.
const (
	stacksPerMinute = 5
	keptForTheWorst = 2 // of these, for what takes four times Slow
	stacksOfOne     = 2 // callback a minute, the second only if it takes so long
	maxGroups       = 50
)

// taken is a stack that was taken, of the callback that word is.
type taken struct {
	when time.Time
	word uint64
}

// monitor looks at a loop every half of Slow. It has what it sees to itself, except
// for what is under mu.
//
// While the loop does nothing at all it looks less and less often, down to an
// eighth: a wake-up of this goroutine is dear beside a loop that sleeps. What is
// slow right then is reported up to four times Slow later, and always when it has
// ended.
type monitor struct {
	w        *Watcher
	interval time.Duration
	pause    time.Duration // until the next look
	polls    uint64        // how often the loop had polled at the last one
	last     time.Time     // the last look
	lateFrom time.Duration // on the loop's clock: the process stood still
	lateTo   time.Duration // from here to here
	current  stalled       // what is under way
	stacks   []taken       // in the last minute
	ended    []ended       // reused
	logged   time.Time     // when the last warning was
	unlogged int           // and how many there would have been since
	names    map[uintptr]string

	mu     sync.Mutex
	groups []*Group
	health Health
}

// stalled is what the monitor knows of a stall under way. start identifies it.
type stalled struct {
	start     time.Duration
	iteration bool
	next      time.Duration // report when it has lasted so long
	stack     []Frame
}

func (m *monitor) run(w *Watcher) {
	m.w = w
	m.interval = w.opts.Slow / 2
	m.pause = m.interval
	m.last = time.Now()
	m.names = map[uintptr]string{}
	timer := time.NewTimer(m.pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			m.look()
			timer.Reset(m.pause)
		case <-w.closed:
			m.look() // at what has ended
			return
		}
	}
}

const maxIdle = 8 // intervals between looks at a loop that does nothing

// rest decides when to look next.
func (m *monitor) rest() {
	asleep := m.w.rec.asleep.running()
	polls := m.w.rec.polled.Load()
	if asleep && polls == m.polls {
		m.pause = min(2*m.pause, maxIdle*m.interval)
	} else {
		m.pause = m.interval
	}
	m.polls = polls
}

// look is one look at the loop. One that comes late sees what the scheduler did,
// or a debugger, and not what the loop does: it is discarded.
func (m *monitor) look() {
	now := time.Now()
	clock := now.Sub(m.w.el.Started())
	gap := now.Sub(m.last)
	m.last = now
	late := gap > m.pause+m.interval

	m.mu.Lock()
	m.health.Looks++
	if late {
		m.health.Late++
	}
	m.mu.Unlock()
	if late {
		m.lateFrom, m.lateTo = clock-gap, clock
	}

	m.finish()
	if !late {
		m.underWay(clock)
	}
	m.rest()
}

// underWay reports what is slow and has not ended.
func (m *monitor) underWay(clock time.Duration) {
	r := &m.w.rec
	since, what, turn := r.since.Load(), r.what.Load(), r.turn.Load()
	if since == 0 || r.since.Load() != since {
		return
	}
	start, iteration := time.Duration(since), false
	if clock-start < m.w.opts.Slow {
		start, iteration = time.Duration(turn), true
	}
	took := clock - start
	if start == 0 || took < m.w.opts.Slow {
		return
	}

	if m.current.start != start || m.current.iteration != iteration {
		m.current = stalled{start: start, iteration: iteration, next: m.w.opts.Slow}
	}
	if took < m.current.next {
		return
	}
	for m.current.next <= took {
		m.current.next *= 2
	}
	if m.current.stack == nil && !m.takeStack(since, what, took >= 4*m.w.opts.Slow) {
		return // it has just ended
	}
	s := m.stall(callOf(what), start, took)
	s.Iteration = iteration
	s.attach(m.current.stack)
	m.report(s)
}

// finish reports what was slow and has ended.
func (m *monitor) finish() {
	m.ended = m.w.rec.done.take(m.ended[:0])
	for _, e := range m.ended {
		s := m.stall(e.call, e.start, e.took)
		s.Iteration, s.Calls, s.Ended = e.iteration, e.calls, true
		s.Starved = e.start < m.lateTo && e.start+e.took > m.lateFrom
		if m.current.start == e.start && m.current.iteration == e.iteration {
			s.attach(m.current.stack)
		}
		m.keep(s)
		m.report(s)
	}
}

func (m *monitor) stall(c call, start, took time.Duration) Stall {
	s := Stall{Loop: m.w.opts.Name, Kind: c.kind, KindName: c.kind.String(), Func: m.name(c.pc), FD: -1, Duration: took}
	s.Start = m.w.el.Started().Add(start)
	if c.kind == ae.KindReadable || c.kind == ae.KindWritable {
		s.FD = c.fd
	}
	return s
}

func (s *Stall) attach(stack []Frame) {
	if stack != nil {
		s.Stack, s.Func = stack, blame(stack)
	}
}

// takeStack takes the stack of the callback that began at since, unless there were
// too many of late. It returns false if that has ended meanwhile.
func (m *monitor) takeStack(since int64, what uint64, bad bool) bool {
	now := time.Now()
	m.stacks = slices.DeleteFunc(m.stacks, func(s taken) bool { return now.Sub(s.when) > time.Minute })
	if !m.mayTake(what, bad) {
		m.count(func(h *Health) { h.Suppressed++ })
		return true
	}
	m.stacks = append(m.stacks, taken{now, what})
	m.count(func(h *Health) { h.Stacks++ })

	stack := stackOf(m.w.opts.Name)
	if m.w.rec.since.Load() != since {
		m.count(func(h *Health) { h.Missed++ })
		return false
	}
	m.current.stack = stack
	return true
}

func (m *monitor) mayTake(what uint64, bad bool) bool {
	most, ofOne := stacksPerMinute, stacksOfOne
	if !bad {
		most, ofOne = most-keptForTheWorst, 1
	}
	for _, s := range m.stacks {
		if s.word == what {
			ofOne--
		}
	}
	return len(m.stacks) < most && ofOne > 0
}

func (m *monitor) count(what func(h *Health)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what(&m.health)
}

func (m *monitor) name(pc uintptr) string {
	name, ok := m.names[pc]
	if !ok {
		name = funcName(pc)
		m.names[pc] = name
	}
	return name
}

// keep counts a stall that has ended, for the page. It goes to the front of the
// groups; when there are too many the one that was there longest goes.
func (m *monitor) keep(s Stall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.groups, func(g *Group) bool { return g.like(s) })
	var g *Group
	if i >= 0 {
		g = m.groups[i]
		m.groups = slices.Delete(m.groups, i, i+1)
	} else {
		g = new(Group)
	}
	if s.Stack == nil {
		s.Stack = g.Stack
	}
	g.Stall = s
	g.Count++
	g.Total += s.Duration
	g.Longest = max(g.Longest, s.Duration)
	m.groups = append([]*Group{g}, m.groups...)
	m.groups = m.groups[:min(len(m.groups), maxGroups)]
}

func (g *Group) like(s Stall) bool {
	return g.Kind == s.Kind && g.Iteration == s.Iteration && g.Func == s.Func
}

func (m *monitor) state() (groups []Group, h Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.groups {
		groups = append(groups, *g)
	}
	h = m.health
	return groups, h
}

func (m *monitor) report(s Stall) {
	if m.w.opts.Report != nil {
		m.w.opts.Report(s)
	}
	m.log(s)
}

// log writes a warning, but no more than one a second: slow callbacks come in
// crowds.
func (m *monitor) log(s Stall) {
	if m.w.opts.Logger == nil || !s.Ended {
		return
	}
	now := time.Now()
	if now.Sub(m.logged) < time.Second {
		m.unlogged++
		return
	}
	m.w.opts.Logger.LogAttrs(context.Background(), slog.LevelWarn, "slow callback",
		slog.String("loop", s.Loop), slog.String("kind", s.KindName), slog.String("func", s.Func),
		slog.Duration("duration", s.Duration), slog.Bool("iteration", s.Iteration), slog.Bool("starved", s.Starved),
		slog.Int("unlogged", m.unlogged), slog.String("stack", oneLine(s.Stack)))
	m.logged, m.unlogged = now, 0
}

// oneLine has a stack's functions, the callback first.
func oneLine(stack []Frame) string {
	var b strings.Builder
	for _, f := range slices.Backward(stack) {
		if b.Len() > 0 {
			b.WriteString(" > ")
		}
		b.WriteString(f.Func)
	}
	return b.String()
}

// round leaves three digits of a duration or so.
func round(d time.Duration) time.Duration {
	for unit := time.Nanosecond; ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
