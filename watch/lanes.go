package watch

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aeloop/ae"
)

// laneSpans is how many spans are kept: 4,096 callbacks, with as many polls.
const laneSpans = 2 * 4096

// laneLease is for how long callbacks are recorded after somebody has asked.
const laneLease = 5 * time.Second

// lanes is the last callbacks and polls of a loop, recorded while somebody asks.
type lanes struct {
	on    atomic.Bool
	fixed bool // Options.Lanes

	mu        sync.Mutex
	ring      []span
	next      uint64 // how many there ever were
	lease     *time.Timer
	accepting map[uintptr]bool // functions that were seen on a listener, or not
}

// span is a callback, or a poll with its sleep. It names the function by its entry,
// so that the closure itself can be collected.
type span struct {
	call
	depth int
	sleep time.Duration // of a poll
	ready int
}

// kindPoll is what a poll is among the spans.
const kindPoll ae.Kind = ae.Kinds

func (l *lanes) init(on bool) {
	l.fixed = on
	l.accepting = map[uintptr]bool{}
	if on {
		l.begin()
	}
}

func (l *lanes) begin() {
	if l.ring == nil {
		l.ring = make([]span, laneSpans)
	}
	l.on.Store(true)
}

// called and polled are called on the loop's goroutine.

func (l *lanes) called(c call, depth int) {
	if l.on.Load() {
		l.add(span{call: c, depth: depth})
	}
}

func (l *lanes) polled(e *ae.Event, start time.Duration, depth int) {
	if l.on.Load() {
		c := call{kind: kindPoll, fd: -1, start: start, took: e.Time - start}
		l.add(span{call: c, depth: depth, sleep: e.Duration, ready: e.Ready})
	}
}

func (l *lanes) add(s span) {
	l.mu.Lock()
	l.ring[l.next%laneSpans] = s
	l.next++
	l.mu.Unlock()
}

// Lanes is what a loop did, callback by callback, in the order of their ends.
type Lanes struct {
	Loop  string   `json:"loop"`
	Next  uint64   `json:"next"` // the number behind the last span
	Funcs []string `json:"funcs"`
	Spans []Span   `json:"spans"`
}

// Span is one callback, or one poll.
type Span struct {
	Kind   string        `json:"kind"` // of ae.Kind, but "accept" for a readable listener, and "poll"
	Func   int           `json:"func"` // in Lanes.Funcs; -1 for a poll
	FD     int           `json:"fd"`   // -1 without one
	Depth  int           `json:"depth,omitempty"`
	Start  time.Duration `json:"start"` // since the loop was made
	Took   time.Duration `json:"took"`
	Sleep  time.Duration `json:"sleep,omitempty"` // of a poll: how much of it the loop slept
	Ready  int           `json:"ready,omitempty"` // of a poll: how many descriptors it found
	Number uint64        `json:"number"`
}

// Lanes returns the last callbacks, those from number after on, and has them
// recorded for the next five seconds: so the first time there are none. Any
// goroutine may call it.
func (w *Watcher) Lanes(after uint64) Lanes {
	l := &w.lanes
	recorded, next := l.copy(after)
	out := Lanes{Loop: w.opts.Name, Next: next, Funcs: []string{}, Spans: make([]Span, 0, len(recorded))}
	index := map[uintptr]int{}
	for i, s := range recorded {
		o := Span{Kind: "poll", Func: -1, FD: -1, Depth: s.depth, Start: s.start, Took: s.took, Sleep: s.sleep, Ready: s.ready}
		o.Number = next - uint64(len(recorded)) + uint64(i)
		if s.kind != kindPoll {
			o.Kind = s.kind.String()
			n, ok := index[s.pc]
			if !ok {
				n = len(out.Funcs)
				index[s.pc] = n
				out.Funcs = append(out.Funcs, funcName(s.pc))
			}
			o.Func = n
		}
		if s.kind == ae.KindReadable || s.kind == ae.KindWritable {
			o.FD = s.fd
		}
		if s.kind == ae.KindReadable && l.accepts(s.pc, s.fd) {
			o.Kind = "accept"
		}
		out.Spans = append(out.Spans, o)
	}
	return out
}

// copy returns what is recorded from number after on, and the number behind it.
func (l *lanes) copy(after uint64) (spans []span, next uint64) {
	spans = make([]span, 0, laneSpans) // here: the loop may wait for the lock
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	if !l.fixed {
		if l.lease == nil {
			l.lease = time.AfterFunc(laneLease, func() { l.on.Store(false) })
		}
		l.lease.Reset(laneLease)
	}
	from := max(after, l.next-min(l.next, laneSpans))
	for n := from; n < l.next; n++ {
		spans = append(spans, l.ring[n%laneSpans])
	}
	return spans, l.next
}

// accepts reports whether a readable proc is an accept callback: whether it was
// ever seen on a listener. The descriptor may be another one's by now, but a
// listener as a rule lives long.
func (l *lanes) accepts(pc uintptr, fd int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if yes, known := l.accepting[pc]; known {
		return yes
	}
	on, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err == nil {
		l.accepting[pc] = on != 0
	}
	return on != 0
}
