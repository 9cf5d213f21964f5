package ae

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// TimeProc is called when a time event is due. It returns how long to wait,
// from its return, before the next call, or NoMore to end the event. Any other
// negative wait is taken as 0; but NoMore is -1 ns, which a computed wait that is
// overdue can be by accident, so compute max(wait, 0).
type TimeProc func(el *EventLoop, id TimeEventID) time.Duration

// NoMore, returned by a TimeProc, ends its time event. (AE_NOMORE)
const NoMore time.Duration = -1

// TimeEventID names a time event. It is never reused while anybody could still
// hold it: generation<<32 | slot, and the generation changes with each use of
// the slot. 0 names no time event.
type TimeEventID uint64

// timers is a set of time events: a 4-ary heap by deadline, and a table that
// finds an event by its id. Four children of a node lie in one cache line, and a
// deadline is compared where it lies, without a look at the table.
type timers struct {
	heap  []timeEntry
	slots []timeSlot
	free  int32  // first unused slot, a list through timeSlot.pos; stored +1, so 0 is none
	seq   uint32 // counts entries made, for the order among equal deadlines

	// floor is a deadline later than the last pass, so that an event armed in a
	// pass, with whatever wait, is never due in it.
	floor time.Duration
}

// timeEntry is a time event in the heap. when is on the loop's clock.
type timeEntry struct {
	when time.Duration
	seq  uint32
	slot uint32
}

// timeSlot is what a TimeEventID leads to. proc is nil while the slot is unused.
type timeSlot struct {
	proc TimeProc
	gen  uint32
	pos  int32 // index in the heap, or running
}

const running = -1

func (a timeEntry) before(b timeEntry) bool {
	return a.when < b.when || a.when == b.when && a.seq < b.seq
}

// now is the loop's clock: monotonic time since New.
func (el *EventLoop) now() time.Duration { return time.Since(el.epoch) }

// CreateTimeEvent calls proc once d has passed, never earlier, and then as proc
// says. A d of 0 or less is due in the next pass over the time events. Equal
// deadlines are served in the order in which they were set. The cost is
// O(log n). A nil proc panics; on a closed loop the result is 0.
// (aeCreateTimeEvent)
func (el *EventLoop) CreateTimeEvent(d time.Duration, proc TimeProc) TimeEventID {
	if proc == nil {
		panic("ae: CreateTimeEvent with a nil proc")
	}
	if el.closed {
		return 0
	}
	t := &el.timers
	slot := t.take(proc)
	t.push(slot, t.deadline(el.now(), d))
	return t.id(slot)
}

// DeleteTimeEvent ends a time event: its proc is not called again, not even in
// the pass that is under way. It returns false, and does nothing, if id names
// none: one that has ended, or 0. The cost is O(log n). (aeDeleteTimeEvent)
func (el *EventLoop) DeleteTimeEvent(id TimeEventID) bool {
	t := &el.timers
	slot, ok := t.find(id)
	if !ok {
		return false
	}
	if pos := t.slots[slot].pos; pos != running {
		t.remove(int(pos))
	}
	t.release(slot)
	return true
}

// runTimeEvents calls what is due now, and returns how many that were. What a
// proc adds or re-arms waits for the next pass, so that time events, even with
// no wait at all, cannot keep the loop from its descriptors.
func (el *EventLoop) runTimeEvents() int {
	t := &el.timers
	if len(t.heap) == 0 {
		return 0
	}
	now := el.now()
	t.floor = now + 1

	n := 0
	for len(t.heap) > 0 && t.heap[0].when <= now {
		slot, due := t.heap[0].slot, t.heap[0].when
		t.remove(0)
		t.slots[slot].pos = running
		el.stats.TimeEvents++
		el.fire(slot, due)
		n++
	}
	return n
}

// fire calls the proc of a running time event and then re-arms or ends it. A
// panic or runtime.Goexit in the proc ends it too.
func (el *EventLoop) fire(slot uint32, due time.Duration) {
	t := &el.timers
	id := t.id(slot)
	wait := NoMore
	defer func() {
		if _, ok := t.find(id); !ok {
			return // deleted meanwhile, or the loop was closed
		}
		if wait == NoMore {
			t.release(slot)
			return
		}
		t.push(slot, t.deadline(el.now(), wait))
	}()
	proc := t.slots[slot].proc
	if el.tracer == nil {
		wait = proc(el, id)
	} else {
		el.tracer.run(Event{Kind: KindTimeEvent, ID: id, Func: proc, Due: due}, func() { wait = proc(el, id) })
	}
}

// deadline returns now+d, which stops at the end of time instead of wrapping.
func (t *timers) deadline(now, d time.Duration) time.Duration {
	d = max(d, 0)
	if d > math.MaxInt64-now {
		return math.MaxInt64
	}
	return max(now+d, t.floor)
}

func (t *timers) id(slot uint32) TimeEventID {
	return TimeEventID(t.slots[slot].gen)<<32 | TimeEventID(slot)
}

// find returns the slot that id names, if the event still exists.
func (t *timers) find(id TimeEventID) (uint32, bool) {
	slot := uint32(id)
	if int64(slot) >= int64(len(t.slots)) || t.slots[slot].proc == nil || t.id(slot) != id {
		return 0, false
	}
	return slot, true
}

// take returns a slot that holds proc.
func (t *timers) take(proc TimeProc) uint32 {
	if t.free == 0 {
		t.slots = append(t.slots, timeSlot{proc: proc, gen: 1})
		return uint32(len(t.slots) - 1)
	}
	slot := uint32(t.free - 1)
	t.free = t.slots[slot].pos
	t.slots[slot].proc = proc
	return slot
}

// release frees a slot that is not in the heap. One that has used up its
// generations stays unused, so that no old id comes to life again.
func (t *timers) release(slot uint32) {
	s := &t.slots[slot]
	s.proc = nil
	if s.gen == math.MaxUint32 {
		return
	}
	s.gen++
	s.pos = t.free
	t.free = int32(slot) + 1
}

// push puts slot into the heap.
func (t *timers) push(slot uint32, when time.Duration) {
	if t.seq == math.MaxUint32 {
		t.renumber()
	}
	t.heap = append(t.heap, timeEntry{when: when, seq: t.seq, slot: slot})
	t.seq++
	t.up(len(t.heap) - 1)
}

// renumber gives the entries the lowest sequence numbers that keep their order.
// A sorted slice is a heap.
func (t *timers) renumber() {
	slices.SortFunc(t.heap, func(a, b timeEntry) int {
		return cmp.Or(cmp.Compare(a.when, b.when), cmp.Compare(a.seq, b.seq))
	})
	for i := range t.heap {
		t.heap[i].seq = uint32(i)
		t.slots[t.heap[i].slot].pos = int32(i)
	}
	t.seq = uint32(len(t.heap))
}

// remove takes the entry at i out of the heap. The last one fills the hole, and
// may belong above it as well as below: it can come from another branch.
func (t *timers) remove(i int) {
	last := len(t.heap) - 1
	moved := t.heap[last]
	t.heap = t.heap[:last]
	if i == last {
		return
	}
	t.heap[i] = moved
	if !t.up(i) {
		t.down(i)
	}
}

// up moves the entry at i towards the root as far as it must, and reports
// whether it moved.
func (t *timers) up(i int) bool {
	e, start := t.heap[i], i
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(t.heap[parent]) {
			break
		}
		t.place(i, t.heap[parent])
		i = parent
	}
	t.place(i, e)
	return i != start
}

// down moves the entry at i away from the root as far as it must.
func (t *timers) down(i int) {
	e := t.heap[i]
	for {
		first := 4*i + 1
		if first >= len(t.heap) {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, len(t.heap)); c++ {
			if t.heap[c].before(t.heap[least]) {
				least = c
			}
		}
		if !t.heap[least].before(e) {
			break
		}
		t.place(i, t.heap[least])
		i = least
	}
	t.place(i, e)
}

func (t *timers) place(i int, e timeEntry) {
	t.heap[i] = e
	t.slots[e.slot].pos = int32(i)
}
