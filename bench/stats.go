package main

import (
	"fmt"
	"math"
	"slices"
)

// result is one figure: what it was in each round.
type result struct {
	row, subject, peer, metric string
	rounds                     []float64
}

func (b *bench) figure(row, subject, peer, metric string) *result {
	for _, r := range b.results {
		if r.row == row && r.subject == subject && r.peer == peer && r.metric == metric {
			return r
		}
	}
	return nil
}

func (b *bench) record(subject, peer, metric string, x float64) {
	r := b.figure(b.row, subject, peer, metric)
	if r == nil {
		r = &result{row: b.row, subject: subject, peer: peer, metric: metric}
		b.results = append(b.results, r)
	}
	r.rounds = append(r.rounds, x)
}

// median returns NaN for a result that is not there.
func (r *result) median() float64 {
	if r == nil {
		return math.NaN()
	}
	return median(r.rounds)
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// spread is half the distance between the lowest and the highest, as a part of the median.
func (r *result) spread() float64 {
	if r == nil || len(r.rounds) < 2 {
		return math.NaN()
	}
	return (slices.Max(r.rounds) - slices.Min(r.rounds)) / 2 / math.Abs(r.median())
}

// ratio is the median of the ratios in each round: what disturbs a round disturbs its neighbours too. It is NaN where
// there is nothing to compare with.
func ratio(a, b *result) float64 {
	if a == nil || b == nil {
		return math.NaN()
	}
	var x []float64
	for i := range min(len(a.rounds), len(b.rounds)) {
		if b.rounds[i] != 0 {
			x = append(x, a.rounds[i]/b.rounds[i])
		}
	}
	return median(x)
}

// goal is a bound on the ratio of one peer to others, or on its figure itself.
type goal struct {
	peer    string   // whose figure is bounded; empty is ae
	against []string // none if the figure itself is
	best    bool     // against the best of them, instead of each
	atLeast bool     // instead of at most
	factor  float64  // of the other's figure
	strict  bool     // equal does not do
	on      func(subject string) bool
}

func (g goal) String() string {
	op := "<="
	switch {
	case g.atLeast:
		op = ">="
	case g.strict:
		op = "<"
	}
	if len(g.against) == 0 {
		return fmt.Sprintf("%s %.4g", op, g.factor)
	}
	return fmt.Sprintf("%s %.4g x", op, g.factor)
}

func (g goal) met(ratio float64) bool {
	switch {
	case g.atLeast:
		return ratio >= g.factor
	case g.strict:
		return ratio < g.factor
	}
	return ratio <= g.factor
}

// outcome is how one goal turned out on one subject.
type outcome struct {
	goal    goal
	other   string
	subject string
	ratio   float64 // or the figure itself
}

func (o outcome) String() string {
	if o.other == "" {
		return number(o.ratio)
	}
	return fmt.Sprintf("%.2f x %s", o.ratio, o.other)
}

func (o outcome) met() bool { return o.goal.met(o.ratio) }

// outcomes are those of all goals of a table on one subject.
func (b *bench) outcomes(row string, t table, subject string) []outcome {
	var all []outcome
	for _, g := range t.goals {
		if g.on != nil && !g.on(subject) {
			continue
		}
		mine := b.figure(row, subject, t.mine(g), t.metric)
		if len(g.against) == 0 && mine != nil {
			all = append(all, outcome{goal: g, subject: subject, ratio: mine.median()})
		}
		for _, other := range b.opponents(row, t, g, subject) {
			r := ratio(mine, b.figure(row, subject, other, t.metric))
			if !math.IsNaN(r) {
				all = append(all, outcome{g, other, subject, r})
			}
		}
	}
	return all
}

// opponents are whom a goal compares with: all that it names, or the best of them.
func (b *bench) opponents(row string, t table, g goal, subject string) []string {
	if !g.best {
		return g.against
	}
	best, found := "", math.NaN()
	for _, peer := range g.against {
		x := b.figure(row, subject, peer, t.metric).median()
		better := x < found
		if t.more {
			better = x > found
		}
		if !math.IsNaN(x) && (best == "" || better) {
			best, found = peer, x
		}
	}
	return []string{best}
}
