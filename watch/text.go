package watch

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aeloop/ae"
)

// WriteText writes s for people: what a page shows, for curl.
func (s Snapshot) WriteText(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "loop %s, %v on %s\n\n", s.Loop, round(s.Period), ae.APIName())
	for _, v := range s.Verdicts() {
		fmt.Fprintf(&b, "%-5s %s\n", v.Level, v.Text)
	}
	s.writeTime(&b)
	s.writeDurations(&b)
	s.writeState(&b)
	s.writeStalls(&b)
	_, err := io.WriteString(to, b.String())
	return err
}

func (s *Snapshot) writeTime(b *strings.Builder) {
	fmt.Fprintf(b, "\nbusy %.1f %%, asleep %.1f %% of the time", share(s.Busy, s.Period), share(s.Sleep, s.Period))
	before := "; of the busy time"
	for _, p := range s.Parts() {
		if p.Time > 0 {
			fmt.Fprintf(b, "%s  %s %.1f %%", before, p.Name, share(p.Time, s.Busy))
			before = ""
		}
	}
	b.WriteString("\n\n")
}

func share(d, of time.Duration) float64 { return 100 * float64(d) / float64(max(of, 1)) }

func (s *Snapshot) writeDurations(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tnumber\ta second\tmean\t50 %%\t99 %%\tmax\t\n")
	row := func(name string, h *Histogram, format func(uint64) string) {
		if h.Count > 0 {
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t\n", name, number(h.Count), float64(h.Count)/s.Period.Seconds(),
				format(uint64(h.Mean())), format(h.Quantile(0.5)), format(h.Quantile(0.99)), format(h.Max))
		}
	}
	for k := range s.Callbacks {
		row(ae.Kind(k).String(), &s.Callbacks[k], duration)
	}
	row("iteration", &s.Iterations, duration)
	row("time event late by", &s.Late, duration)
	row("post waits", &s.PostWait, duration)
	row("ready in a poll", &s.Batch, number)
	w.Flush()
}

func duration(ns uint64) string { return round(time.Duration(ns)).String() }

func (s *Snapshot) writeState(b *strings.Builder) {
	st := &s.Stats
	fmt.Fprintf(b, "\ndescriptors %d for reading, %d for writing; time events %d; posted functions waiting %d\n",
		st.Readers, st.Writers, st.Timers, st.Queue)
	fmt.Fprintf(b, "iterations %s, sleeps %s, woken from outside %s, full batches %s\n",
		number(st.Iterations), number(st.Sleeps), number(st.WakeUps), number(st.FullBatches))
	if c := s.Conns; c != nil {
		fmt.Fprintf(b, "connections %d, %s bytes of output queued, the largest %v; ended %v\n", c.Open, number(uint64(max(c.Queued, 0))), c.Largest, c.Closed)
	}
	h := &s.Health
	fmt.Fprintf(b, "the watcher: %s looks, %d of them late, %d stacks taken, %d suppressed, %d missed\n",
		number(h.Looks), h.Late, h.Stacks, h.Suppressed, h.Missed)
}

func (s *Snapshot) writeStalls(b *strings.Builder) {
	for _, g := range s.Stalls {
		fmt.Fprintf(b, "\nslow %d times, %v at most, last at %s: %s\n", g.Count, round(g.Longest), g.Start.Format("15:04:05.000"), g.describe())
		for _, f := range g.Stack {
			fmt.Fprintf(b, "    %s\n        %s\n", f.Func, f.File)
		}
	}
}
