package watch

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Conns is what a layer of connections upon the loop, such as package stream, can
// say of itself.
type Conns struct {
	Open    int               `json:"open"`    // connections
	Queued  int               `json:"queued"`  // bytes of output that wait for the kernel to take them
	Largest []int             `json:"largest"` // the largest of these queues, the largest first
	Closed  map[string]uint64 `json:"closed"`  // how many connections have ended, by reason
}

const largestQueues = 5

// ConnsOf counts connections, such as those of stream.Loop.All. closed is how many
// have ended, by reason, if the program counts them; it is copied. The time it
// takes is in proportion to the connections: a thousand take some microseconds.
func ConnsOf[C interface{ Queued() int }](all iter.Seq[C], closed map[string]uint64) Conns {
	c := Conns{Closed: maps.Clone(closed)}
	for conn := range all {
		c.Open++
		n := conn.Queued()
		if n == 0 {
			continue
		}
		c.Queued += n
		i, _ := slices.BinarySearchFunc(c.Largest, n, func(a, b int) int { return b - a })
		if i < largestQueues {
			c.Largest = slices.Insert(c.Largest, i, n)
			c.Largest = c.Largest[:min(len(c.Largest), largestQueues)]
		}
	}
	return c
}

// connsBox carries Conns from the loop to who looks.
type connsBox struct {
	wanted atomic.Bool // somebody has looked since the last ones

	mu     sync.Mutex
	latest *Conns
}

// serve is called on the loop's goroutine once an iteration.
func (b *connsBox) serve(fn func() Conns) {
	if fn == nil || !b.wanted.Load() {
		return
	}
	b.wanted.Store(false)
	c := fn()
	b.mu.Lock()
	b.latest = &c
	b.mu.Unlock()
}

func (b *connsBox) get() *Conns {
	b.wanted.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.latest
}
