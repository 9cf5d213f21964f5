package stream

import (
	"math/bits"

	"github.com/aeloop/ae"
)

// wheel finds the connections whose time has come: idle, deadline, linger. Moving
// a byte only stores the time in the connection; the wheel looks at it when the
// old time has come, and puts it off. So a connection with an Idle of a minute is
// looked at about once a minute, however busy it is, and costs two links and no
// time event of the loop, of which all connections share one.
//
// It has two rings of 64 slots: one second in slots of 17 ms, one minute in slots
// of 1.07 s. Who is due later than that waits in the last slot of the second ring,
// and is looked at on the way.
type wheel struct {
	slots [2*ring + 1]*Conn // by slot: the first of a doubly linked list
	used  [3]uint64         // by ring: which slots are not empty
	now   int64             // the time up to which slots have been emptied

	event ae.TimeEventID
	alarm int64 // when event is due, or 0
}

const (
	ring     = 64
	fine     = 24 // a slot of the first ring is 1<<24 ns
	coarse   = 30 // a slot of the second ring is 1<<30 ns, 64 of the first
	unplaced = -1
	dueNow   = 2 * ring // the slot of those that advance is to look at
)

// place puts c where it is found once due has come, or before.
func (w *wheel) place(c *Conn, due int64) {
	slot := max(due>>fine+1, w.now>>fine+1) // rounded up: never early
	level := 0
	if slot-w.now>>fine >= ring {
		level = 1
		slot = min(due>>coarse, w.now>>coarse+ring-1) // rounded down: the first ring has the rest
		if slot <= w.now>>coarse {
			level, slot = 0, w.now>>fine+ring-1
		}
	}

	w.put(c, level*ring+int(slot%ring))
}

// put puts c into a slot.
func (w *wheel) put(c *Conn, slot int) {
	w.remove(c)
	c.slot = int16(slot)
	c.next = w.slots[slot]
	if c.next != nil {
		c.next.prev = c
	}
	w.slots[slot] = c
	w.used[slot/ring] |= 1 << (slot % ring)
}

// remove takes c out, wherever it is.
func (w *wheel) remove(c *Conn) {
	if c.slot == unplaced {
		return
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else if w.slots[c.slot] = c.next; c.next == nil {
		w.used[c.slot/ring] &^= 1 << (c.slot % ring)
	}
	c.prev, c.next, c.slot = nil, nil, unplaced
}

// next returns when there is something to look at, or false if there never is.
func (w *wheel) next() (at int64, ok bool) {
	if w.slots[dueNow] != nil {
		return w.now, true
	}
	for level, shift := range []int{fine, coarse} {
		if w.used[level] == 0 {
			continue
		}
		first := w.now>>shift + 1
		ahead := bits.TrailingZeros64(bits.RotateLeft64(w.used[level], -int(first%ring)))
		if t := (first + int64(ahead)) << shift; !ok || t < at {
			at, ok = t, true
		}
	}
	return at, ok
}

// advance empties the slots whose time has come by now, and has look called for
// each connection that was in them. What look does to others of these, or that it
// panics, or runs the loop, which may come here again, changes nothing for the rest.
func (w *wheel) advance(now int64, look func(c *Conn)) {
	for level, shift := range []int{fine, coarse} {
		first, last := w.now>>shift+1, now>>shift
		for s := first; s <= last && s < first+ring; s++ {
			i := level*ring + int(s%ring)
			for c := w.slots[i]; c != nil; c = w.slots[i] {
				w.put(c, dueNow)
			}
		}
	}
	w.now = max(w.now, now)

	for c := w.slots[dueNow]; c != nil; c = w.slots[dueNow] {
		w.remove(c)
		look(c)
	}
}
