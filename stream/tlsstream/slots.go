package tlsstream

import (
	"sync"

	"github.com/aeloop/ae/stream"
)

// slots bounds how many handshakes have a goroutine. The others wait in a queue, in
// order. All loops of an Endpoint use it.
type slots struct {
	mu          sync.Mutex
	free        int
	first, last *layer
}

// enter takes a slot, or puts y into the queue and returns false.
func (s *slots) enter(y *layer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		s.free--
		return true
	}
	y.queued, y.prev = true, s.last
	if s.last != nil {
		s.last.next = y
	} else {
		s.first = y
	}
	s.last = y
	return false
}

// leave gives a slot back, and returns whose it is now, if anybody waits.
func (s *slots) leave() *layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	y := s.first
	if y == nil {
		s.free++
		return nil
	}
	s.remove(y)
	return y
}

// cancel takes y out of the queue, and returns false if it is not there.
func (s *slots) cancel(y *layer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !y.queued {
		return false
	}
	s.remove(y)
	return true
}

func (s *slots) remove(y *layer) {
	if y.prev != nil {
		y.prev.next = y.next
	} else {
		s.first = y.next
	}
	if y.next != nil {
		y.next.prev = y.prev
	} else {
		s.last = y.prev
	}
	y.prev, y.next, y.queued = nil, nil, false
}

// leave gives a slot back, or to the next in the queue whose loop still runs.
func (e *Endpoint) leave() {
	for y := e.slots.leave(); y != nil; y = e.slots.leave() {
		if y.w.Conn().Post(func(*stream.Conn) { y.entered() }) == nil {
			return
		}
	}
}

// entered is begin, for one that has waited.
func (y *layer) entered() {
	if y.closed {
		y.e.leave()
		return
	}
	y.start()
	y.w.Resume()
}
