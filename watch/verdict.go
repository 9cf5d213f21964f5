package watch

import (
	"fmt"
	"time"

	"github.com/aeloop/ae"
)

// Level says how much a Verdict matters.
type Level string

const (
	Good Level = "good" // there is nothing to do
	Note Level = "note" // worth knowing
	Bad  Level = "bad"  // clients wait for this
)

// Verdict is what figures mean, in words.
type Verdict struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// What the verdicts call much. A period with few events says little, so each needs
// some number of them.
const (
	lateLimit    = 1 << 23 // for time events and posted functions: 8 ms, where a bucket begins
	fullLoad     = 0.9
	someLoad     = 0.5
	longQueue    = 1000
	enoughPolls  = 1000 // to speak of a loop that spins
	enoughEvents = 20
)

// Verdicts says in words what s, as a rule a difference over some seconds, tells
// of the loop. There is always at least one; the worst come first.
func (s Snapshot) Verdicts() []Verdict {
	var v verdicts
	if s.Closed {
		v.add(Note, "Nobody watches this loop any more: what is here is the last that was known.")
		return v
	}
	s.blocked(&v)
	s.slow(&v)
	s.waiting(&v)
	s.spinning(&v)
	s.load(&v)
	s.watching(&v)
	return append(v.of(Bad), append(v.of(Note), v.of(Good)...)...)
}

type verdicts []Verdict

func (v *verdicts) add(level Level, format string, args ...any) {
	*v = append(*v, Verdict{level, fmt.Sprintf(format, args...)})
}

func (v verdicts) of(level Level) (some verdicts) {
	for _, x := range v {
		if x.Level == level {
			some = append(some, x)
		}
	}
	return some
}

// blocked is about what goes on right now.
func (s *Snapshot) blocked(v *verdicts) {
	if s.Blocked > 0 && s.Blocked >= s.Slow {
		v.add(Bad, "The loop has not answered for %v: it is in %s: %s.", round(s.Blocked), s.BlockedKind, brief(s.BlockedFunc))
	}
}

// slow is about callbacks and iterations that took too long.
func (s *Snapshot) slow(v *verdicts) {
	n := s.SlowCallbacks + s.SlowIterations
	if n == 0 {
		return
	}
	text := fmt.Sprintf("%s of iterations took %v or longer, %v at worst", percent(n, s.Iterations.Count), s.Slow, round(time.Duration(s.Iterations.Max)))
	if worst, total := s.worst(); total > 0 {
		text += fmt.Sprintf("; %.0f %% of that in %s", 100*float64(worst.Total)/float64(total), worst.describe())
	}
	v.add(Bad, "%s. Meanwhile nobody else was served.", text)
}

// worst returns which group of stalls took the most time, and how long all took.
func (s *Snapshot) worst() (worst Group, total time.Duration) {
	for _, g := range s.Stalls {
		total += g.Total
		if g.Total > worst.Total {
			worst = g
		}
	}
	return worst, total
}

func (g *Group) describe() string {
	if g.Iteration {
		return fmt.Sprintf("many callbacks one after the other, the longest of them %s: %s", g.KindName, brief(g.Func))
	}
	return g.KindName + ": " + brief(g.Func)
}

// waiting is about what should have been called earlier.
func (s *Snapshot) waiting(v *verdicts) {
	if late := s.Late.Above(lateLimit); late > 0 && s.Late.Count >= enoughEvents {
		v.add(level(late, s.Late.Count), "%s of time events came over 8 ms late: what ran before them took too long.", percent(late, s.Late.Count))
	}
	if late := s.PostWait.Above(lateLimit); late > 0 && s.PostWait.Count >= enoughEvents {
		v.add(level(late, s.PostWait.Count), "%s of posted functions waited over 8 ms.", percent(late, s.PostWait.Count))
	}
	if s.Stats.Queue >= longQueue {
		v.add(Bad, "%s posted functions wait: who posts is faster than the loop, and the queue has no bound.", number(uint64(s.Stats.Queue)))
	}
	if full := s.Stats.FullBatches; full > 0 && s.Stats.Iterations >= enoughEvents && 2*full >= s.Stats.Iterations {
		v.add(Note, "%s of polls found as much as they had room for: more descriptors are ready than the loop gets to.", percent(full, s.Stats.Iterations))
	}
}

func level(n, of uint64) Level {
	if 100*n >= of {
		return Bad
	}
	return Note
}

// spinning is about iterations for nothing.
func (s *Snapshot) spinning(v *verdicts) {
	st := &s.Stats
	if st.Iterations < enoughPolls {
		return
	}
	if calls := st.Callbacks(); calls*10 < st.Iterations && st.Sleeps*10 < st.Iterations {
		v.add(Bad, "The loop spins: %s of iterations neither called anything nor slept. Something asks it not to sleep: SetDontWait, DontWait, a Post from a hook.",
			percent(st.Iterations-calls-st.Sleeps, st.Iterations))
	}
	if st.Writable > 10*st.Readable && st.Writable > st.Iterations/2 && st.Sleeps*10 < st.Iterations {
		v.add(Bad, "Writable is called %s times, and Readable %s times, without a sleep between: is a write callback registered that has nothing to write? A socket with room is always writable.",
			number(st.Writable), number(st.Readable))
	}
}

// load is about how busy the loop is.
func (s *Snapshot) load(v *verdicts) {
	load := s.Load()
	switch {
	case s.Busy+s.Sleep < s.Period/10 && s.Blocked == 0:
		v.add(Note, "Nobody ran the loop for most of this time.")
	case load >= fullLoad:
		v.add(Bad, "The loop is busy %.0f %% of the time: this is all that one goroutine can do. Most of it goes to %s.", 100*load, s.most())
	case load >= someLoad:
		v.add(Note, "The loop is busy %.0f %% of the time, mostly with %s.", 100*load, s.most())
	case len(*v) == 0:
		v.add(Good, "All is well: the loop sleeps %.1f %% of the time, and nothing waits for it.", 100*(1-load))
	}
}

// Part is what a loop spends its busy time on.
type Part struct {
	Name string        `json:"name"`
	Time time.Duration `json:"time"`
}

// Parts returns where the busy time went: the kinds of callbacks, the polls, and the
// loop's own work between these. What is under way has its time in the last part.
// A callback that runs the loop itself has the time of what that calls as well.
func (s *Snapshot) Parts() (parts []Part) {
	rest := s.Busy - s.Polls
	for k := range s.Callbacks {
		d := time.Duration(s.Callbacks[k].Sum)
		parts = append(parts, Part{ae.Kind(k).String(), d})
		rest -= d
	}
	return append(parts, Part{"poll", s.Polls}, Part{"other", max(rest, 0)})
}

// most names the largest part.
func (s *Snapshot) most() string {
	var most Part
	for _, p := range s.Parts() {
		if p.Time > most.Time {
			most = p
		}
	}
	return fmt.Sprintf("%s (%.0f %%)", most.Name, 100*float64(most.Time)/float64(max(s.Busy, 1)))
}

// watching is about the watching itself.
func (s *Snapshot) watching(v *verdicts) {
	h := &s.Health
	if h.Looks >= enoughEvents && 10*h.Late >= h.Looks {
		v.add(Note, "%s of the watcher's own looks came late: the machine is short of processors, or the process was stopped. Times are longer for it.", percent(h.Late, h.Looks))
	}
	if h.Lost > 0 {
		v.add(Note, "%s slow callbacks are only counted: they came too fast to be told apart.", number(h.Lost))
	}
}

// percent writes a share so that a small one is not nothing.
func percent(n, of uint64) string {
	p := 100 * float64(n) / float64(max(of, 1))
	switch {
	case p >= 1:
		return fmt.Sprintf("%.0f %%", p)
	case p >= 0.01:
		return fmt.Sprintf("%.2g %%", p)
	}
	return fmt.Sprintf("%d in %s", n, number(of))
}

// number writes n with commas.
func number(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
