package main

import (
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
