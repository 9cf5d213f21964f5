package main

import (
	"container/heap"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
)

// afterFunc is time.AfterFunc: each function runs in a goroutine of its own.
type afterFunc struct {
	timers      []*time.Timer
	fired       atomic.Int64
	first, last atomic.Int64 // CPU time
	all         int64
}

func (t *afterFunc) Init(n int, _ func()) {
	t.timers = make([]*time.Timer, n)
	t.all = int64(n)
}

func (t *afterFunc) Add(i int, d time.Duration) { t.timers[i] = time.AfterFunc(d, t.run) }

func (t *afterFunc) Cancel(i int) { t.timers[i].Stop() }

func (t *afterFunc) run() {
	switch t.fired.Add(1) {
	case 1:
		t.first.Store(int64(work.CPU()))
	case t.all:
		t.last.Store(int64(work.CPU()))
	}
}

// Fire measures from the first call to the last: when they begin is for the runtime to choose.
func (t *afterFunc) Fire(n int) time.Duration {
	for t.last.Load() == 0 {
		runtime.Gosched()
	}
	d := time.Duration(t.last.Load() - t.first.Load())
	t.fired.Store(0)
	t.first.Store(0)
	t.last.Store(0)
	return d
}

// heapTimers is what one writes with container/heap: pointers that know their place, and the clock read for each timer.
type heapTimers struct {
	queue queue
	nodes []*node
	epoch time.Time
	fired func()
}

type node struct {
	when time.Duration
	pos  int
	fn   func()
}

type queue []*node

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].when < q[j].when }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].pos, q[j].pos = i, j }
func (q *queue) Push(x any)        { x.(*node).pos = len(*q); *q = append(*q, x.(*node)) }

func (q *queue) Pop() any {
	old := *q
	n := old[len(old)-1]
	*q = old[:len(old)-1]
	return n
}

func (t *heapTimers) Init(n int, fired func()) {
	t.nodes = make([]*node, n)
	t.epoch = time.Now()
	t.fired = fired
}

func (t *heapTimers) Add(i int, d time.Duration) {
	t.nodes[i] = &node{when: time.Since(t.epoch) + d, fn: t.fired}
	heap.Push(&t.queue, t.nodes[i])
}

func (t *heapTimers) Cancel(i int) { heap.Remove(&t.queue, t.nodes[i].pos) }

func (t *heapTimers) Fire(n int) time.Duration {
	start := work.CPU()
	for len(t.queue) > 0 && t.queue[0].when <= time.Since(t.epoch) {
		heap.Pop(&t.queue).(*node).fn()
	}
	return work.CPU() - start
}
