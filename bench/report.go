package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// table shows one metric of a row: a line for each subject, a column for each peer.
type table struct {
	metric, title string
	peers         []string
	goals         []goal
	more          bool   // more is better
	unit          string // behind the title
	plot          string // name of its plot, if it has one
	log           bool   // its plot has a logarithmic axis
	lines         bool   // its plot shows how the figures grow with the number in each subject
}

// subjects are those with a result, in the order in which they were measured.
func (b *bench) subjects(row string, t table) []string {
	var list []string
	for _, r := range b.results {
		if r.row == row && r.metric == t.metric && slices.Contains(t.peers, r.peer) && !slices.Contains(list, r.subject) {
			list = append(list, r.subject)
		}
	}
	return list
}

func (b *bench) columns(row string, t table) []string {
	var list []string
	for _, peer := range t.peers {
		for _, r := range b.results {
			if r.row == row && r.metric == t.metric && r.peer == peer {
				list = append(list, peer)
				break
			}
		}
	}
	return list
}

func (b *bench) writeTables(w io.Writer, r row) {
	for _, t := range r.tables {
		subjects, peers := b.subjects(r.name, t), b.columns(r.name, t)
		if len(subjects) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, %s\n\n", t.title, t.unit)
		head := append([]string{""}, peers...)
		if len(t.goals) > 0 {
			head = append(head, "goals")
		}
		line(w, head)
		line(w, repeat("---", len(head)))
		for _, subject := range subjects {
			cells := []string{subject}
			for _, peer := range peers {
				cells = append(cells, cell(b.figure(r.name, subject, peer, t.metric)))
			}
			if len(t.goals) > 0 {
				cells = append(cells, verdicts(b.outcomes(r.name, t, subject)))
			}
			line(w, cells)
		}
	}
	fmt.Fprintln(w)
}

func line(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

func repeat(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func cell(r *result) string {
	if r == nil {
		return "-"
	}
	s := number(r.median())
	if spread := r.spread(); !math.IsNaN(spread) && !math.IsInf(spread, 0) {
		s += fmt.Sprintf(" ±%.0f%%", 100*spread)
	}
	return s
}

// number shows three digits, or all that stand before the point.
func number(x float64) string {
	switch {
	case x == 0:
		return "0"
	case math.Abs(x) >= 100:
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

func (b *bench) writeResults(path string, rows []row) error {
	var w bytes.Buffer
	fmt.Fprintf(&w, "# Results\n\nWritten by `go run . -rounds %d` in this folder, %s, in %v. [README.md](README.md) tells how each was measured "+
		"and how to read it.\n\n", b.rounds, time.Now().Format("2 January 2006"), b.took.Round(time.Second))
	b.writeMachine(&w)
	fmt.Fprintf(&w, "\nEach figure is the median of %d rounds, and ± half the distance between the lowest and the highest. A ratio is the "+
		"median of the ratios in each round. %d measurements were disturbed by other processes and done again.\n", b.rounds, b.repeated)
	for _, f := range b.failures {
		fmt.Fprintf(&w, "\nFailed: %s\n", f)
	}
	for _, m := range b.missing {
		fmt.Fprintf(&w, "\nNot here, and left out: %s\n", m)
	}
	fmt.Fprintf(&w, "\n## Goals\n\n")
	b.writeGoals(&w, rows)
	for _, r := range rows {
		fmt.Fprintf(&w, "\n## %s: %s\n\n%s\n", r.name, r.title, r.how)
		for _, t := range r.tables {
			if t.plot != "" {
				fmt.Fprintf(&w, "\n![%s](plots/%s.svg)\n", t.title, t.plot)
			}
		}
		b.writeTables(&w, r)
	}
	return os.WriteFile(path, bytes.TrimRight(w.Bytes(), "\n"), 0o644)
}
