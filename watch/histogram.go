package watch

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// Buckets is how many buckets a Histogram has.
const Buckets = 40

// Histogram counts values, durations in nanoseconds as a rule, by powers of two:
// bucket 0 counts zeros, bucket i what is at least 2^(i-1) and less than 2^i, and
// the last one also what is larger. It only grows, so that whoever has an earlier
// one knows by subtraction what came since.
type Histogram struct {
	Count   uint64          `json:"count"`
	Sum     uint64          `json:"sum"`
	Max     uint64          `json:"max"` // since the beginning, also in a difference
	Buckets [Buckets]uint64 `json:"buckets"`
}

// Bound returns what all values in bucket i are less than: +Inf for the last.
func Bound(i int) float64 {
	if i >= Buckets-1 {
		return math.Inf(1)
	}
	return math.Ldexp(1, i)
}

// Sub returns what h has counted since it was old.
func (h *Histogram) Sub(old *Histogram) Histogram {
	d := Histogram{Count: h.Count - old.Count, Sum: h.Sum - old.Sum, Max: h.Max}
	for i := range h.Buckets {
		d.Buckets[i] = h.Buckets[i] - old.Buckets[i]
	}
	return d
}

// Quantile returns a value that a share q of all values, from 0 to 1, are not
// above. It is exact to the bucket: at most twice the true one.
func (h *Histogram) Quantile(q float64) uint64 {
	if h.Count == 0 {
		return 0
	}
	rank, seen := q*float64(h.Count), uint64(0)
	for i, n := range h.Buckets[:Buckets-1] {
		if seen += n; n > 0 && float64(seen) >= rank {
			return min(1<<i-1, h.Max)
		}
	}
	return h.Max
}

// Above returns how many values are in buckets that lie wholly at or above v.
func (h *Histogram) Above(v uint64) (n uint64) {
	for i := Buckets - 1; i > 0 && 1<<(i-1) >= v; i-- {
		n += h.Buckets[i]
	}
	return n
}

// Mean returns the mean, 0 if nothing was counted.
func (h *Histogram) Mean() float64 { return float64(h.Sum) / float64(max(h.Count, 1)) }

// counter is a Histogram that one goroutine writes and any may read.
type counter struct {
	sum, max atomic.Uint64
	buckets  [Buckets]atomic.Uint64
}

// add counts v, and a negative v as 0.
func (c *counter) add(v int64) {
	u := uint64(max(v, 0))
	c.buckets[min(bits.Len64(u), Buckets-1)].Add(1)
	c.sum.Add(u)
	if u > c.max.Load() {
		c.max.Store(u)
	}
}

// read returns what was counted. What is being added meanwhile may be in the sum
// and not yet in a bucket.
func (c *counter) read() (h Histogram) {
	for i := range c.buckets {
		h.Buckets[i] = c.buckets[i].Load()
		h.Count += h.Buckets[i]
	}
	h.Sum, h.Max = c.sum.Load(), c.max.Load()
	return h
}
