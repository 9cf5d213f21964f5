package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

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

func (t table) mine(g goal) string {
	if g.peer != "" {
		return g.peer
	}
	return t.peers[0]
}

func verdicts(outcomes []outcome) string {
	var s []string
	for _, o := range outcomes {
		met := "met"
		if !o.met() {
			met = "**not met**"
		}
		s = append(s, fmt.Sprintf("%s%v (%v): %s", whose(o.goal), o, o.goal, met))
	}
	return strings.Join(s, "; ")
}

// whose names the peer of a goal that is not about the first.
func whose(g goal) string {
	if g.peer == "" {
		return ""
	}
	return g.peer + " "
}

// writeGoals has a line for each goal: how often it was met, and where it was not.
func (b *bench) writeGoals(w io.Writer, rows []row) {
	line(w, []string{"row", "what", "goal", "met", "missed, or nearest to it"})
	line(w, repeat("---", 5))
	for _, r := range rows {
		for _, t := range r.tables {
			for _, g := range t.goals {
				b.summarize(w, r, t, g)
			}
		}
	}
}

func (b *bench) summarize(w io.Writer, r row, t table, g goal) {
	t.goals = []goal{g}
	var all, missed []outcome
	for _, subject := range b.subjects(r.name, t) {
		all = append(all, b.outcomes(r.name, t, subject)...)
	}
	if len(all) == 0 {
		return
	}
	worst := all[0]
	for _, o := range all {
		if !o.met() {
			missed = append(missed, o)
		}
		if g.atLeast == (o.ratio < worst.ratio) {
			worst = o
		}
	}
	verdict := fmt.Sprintf("%d of %d", len(all)-len(missed), len(all))
	if len(missed) > 0 {
		verdict = "**" + verdict + "**"
	} else {
		missed = []outcome{worst}
	}
	var where []string
	for _, o := range missed {
		where = append(where, fmt.Sprintf("%v: %s", o, o.subject))
	}
	against := strings.Join(g.against, ", ")
	if g.best {
		against = "the best of " + against
	}
	line(w, []string{r.name, t.title, fmt.Sprintf("%s %s %s", t.mine(g), g, against), verdict, strings.Join(where, "; ")})
}
