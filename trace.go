package ae

import (
	"slices"
	"time"
)

// Stats counts what a loop has done since New, and what it has now. The counters
// are always on.
type Stats struct {
	Iterations  uint64 // calls of ProcessEvents that looked for events
	Sleeps      uint64 // those that found nothing to do at first, and waited
	WakeUps     uint64 // sleeps, mostly, that Post or Stop ended
	FullBatches uint64 // polls that found more than they had room for, perhaps

	Readable   uint64 // procs called for Readable
	Writable   uint64 // procs called for Writable
	Posted     uint64 // posted functions called
	TimeEvents uint64 // time procs called

	Readers int // descriptors that are watched for Readable
	Writers int // descriptors that are watched for Writable
	Timers  int // time events that are armed
	Queue   int // posted functions that wait
}

// Callbacks returns how many procs and posted functions were called.
func (s *Stats) Callbacks() uint64 { return s.Readable + s.Writable + s.Posted + s.TimeEvents }

// Stats returns the counters as they are now. Only the loop's goroutine may call
// it.
func (el *EventLoop) Stats() Stats {
	el.publish()
	return el.PublishedStats()
}

// PublishedStats returns the counters as the loop last published them: when it
// went to sleep, when it was closed, and every 16 iterations while it is busy. So
// those of a loop that sleeps are exact. Any goroutine may call it; it neither
// wakes the loop nor waits for a callback.
func (el *EventLoop) PublishedStats() Stats {
	el.door.mu.Lock()
	defer el.door.mu.Unlock()
	return el.door.published
}

const publishEvery = 16

func (el *EventLoop) publish() {
	el.door.mu.Lock()
	defer el.door.mu.Unlock()
	el.publishLocked()
}

func (el *EventLoop) publishLocked() {
	d := &el.door
	d.published = el.stats
	d.published.Posted = d.ran
	d.published.Timers = len(el.timers.heap)
	d.published.Queue = len(d.posted) + len(d.taken) - d.head
}

// count keeps Readers and Writers right when the interest of a descriptor changes
// from old to mask.
func (s *Stats) count(old, mask Mask) {
	s.Readers += int(mask&Readable) - int(old&Readable)
	s.Writers += int(mask&Writable>>1) - int(old&Writable>>1)
}

// Kind says what a callback is.
type Kind uint8

const (
	KindReadable  Kind = iota // a FileProc, for Readable
	KindWritable              // a FileProc, for Writable
	KindPosted                // a function of Post
	KindTimeEvent             // a TimeProc
	KindHook                  // a function of AddBeforeSleep or AddAfterSleep

	Kinds = iota // how many kinds there are
)

var kindNames = [Kinds]string{"readable", "writable", "posted", "time event", "hook"}

func (k Kind) String() string { return kindNames[k] }

// Trace is a set of functions that observe a loop: nil ones are left out. They are
// called on the loop's goroutine, Post's excepted, and may read the loop but not
// change it. The Event is valid during the call; all calls share one.
//
// An iteration is Poll, perhaps Sleep, Polled, and then Call and Done around each
// callback; around each hook they come too. With a nested ProcessEvents all of it
// comes between a Call and its Done.
//
// Times cost a clock read at Sleep, Polled and each Done: one serves as the end of
// a callback and the start of the next. A Trace with nothing but Call and Post
// reads no clock for the loop.
type Trace struct {
	Poll   func(e *Event) // the loop is about to look for events
	Sleep  func(e *Event) // there are none: it is about to wait, for e.Wait at most
	Polled func(e *Event) // e.Ready descriptors are ready, after e.Duration of sleep
	Call   func(e *Event) // a callback is about to be called
	Done   func(e *Event) // it took e.Duration; also when it panicked

	// Post is called when Post has put a function into the queue, on the
	// goroutine that posts. It has the time whoever wants it, holds up all others
	// that post, and must neither call the loop nor panic.
	Post func(e *Event)
}

// Event is what a Trace's functions are told. What does not apply is zero.
type Event struct {
	Loop     *EventLoop
	Kind     Kind          // of the callback
	FD       int           // KindReadable, KindWritable: the descriptor
	ID       TimeEventID   // KindTimeEvent
	Seq      uint64        // KindPosted: the first function ever posted to the loop has 1
	Func     any           // the callback: a FileProc, a TimeProc or a func(*EventLoop)
	Due      time.Duration // KindTimeEvent: its deadline, on the clock of Time
	Time     time.Duration // now, since New; 0 if no function needs the clock
	Duration time.Duration // Done, Polled
	Wait     time.Duration // Sleep: negative is without end
	Ready    int           // Polled
}

// Started returns when New made the loop, which is the origin of Event.Time: by it
// an observer compares that with a clock of its own. Any goroutine may call it.
func (el *EventLoop) Started() time.Time { return el.epoch }

// AddTrace has t's functions called from now on. Several observers can share a
// loop; they are called in the order in which they were added. remove takes t away
// again, at once; it may be called more than once. Both belong to the loop's
// goroutine, and callbacks may call them. While a loop has no observer, the price
// is one comparison for each callback.
func (el *EventLoop) AddTrace(t *Trace) (remove func()) {
	own := *t // what the caller does to t later changes nothing
	el.setTraces(append(el.traces(), &own))
	return func() {
		el.setTraces(slices.DeleteFunc(slices.Clone(el.traces()), func(other *Trace) bool { return other == &own }))
		own = Trace{} // for a callback under way, whose Done is still to come
	}
}

// tracer is what a loop with observers has besides. It is replaced when one comes
// or goes: a callback under way keeps the one it began with.
type tracer struct {
	el     *EventLoop
	traces []*Trace
	timed  bool          // somebody wants the time
	last   time.Duration // when it was last read
	asleep bool          // since last
	event  Event
}

func (el *EventLoop) traces() []*Trace {
	if el.tracer == nil {
		return nil
	}
	return el.tracer.traces
}

func (el *EventLoop) setTraces(traces []*Trace) {
	var tr *tracer
	if len(traces) > 0 {
		tr = &tracer{el: el, traces: traces}
		for _, t := range traces {
			tr.timed = tr.timed || t.Poll != nil || t.Sleep != nil || t.Polled != nil || t.Done != nil
		}
		tr.read()
	}
	el.tracer = tr

	el.door.mu.Lock()
	el.door.traces = traces
	el.door.mu.Unlock()
}

// tell calls, of each observer, the function that pick names.
func (tr *tracer) tell(e Event, pick func(t *Trace) func(*Event)) {
	e.Loop = tr.el
	for _, t := range tr.traces {
		if fn := pick(t); fn != nil {
			tr.event = e // anew for each: the one before may have changed it
			fn(&tr.event)
		}
	}
}

// read reads the clock, if anybody wants the time.
func (tr *tracer) read() time.Duration {
	if tr.timed {
		tr.last = tr.el.now()
	}
	return tr.last
}

func (tr *tracer) polling() {
	tr.tell(Event{Time: tr.last}, func(t *Trace) func(*Event) { return t.Poll })
}

func (tr *tracer) sleeping(wait time.Duration) {
	tr.asleep = true
	tr.tell(Event{Time: tr.read(), Wait: wait}, func(t *Trace) func(*Event) { return t.Sleep })
}

func (tr *tracer) polled(ready int) {
	e := Event{Ready: ready}
	if start := tr.last; tr.asleep {
		tr.asleep = false
		e.Duration = tr.read() - start
	} else {
		tr.read()
	}
	e.Time = tr.last
	tr.tell(e, func(t *Trace) func(*Event) { return t.Polled })
}

// run calls a callback, between Call and Done.
func (tr *tracer) run(e Event, callback func()) {
	start := tr.last
	e.Time = start
	tr.tell(e, func(t *Trace) func(*Event) { return t.Call })
	defer func() { // also when it panics
		e.Time = tr.read()
		e.Duration = e.Time - start
		tr.tell(e, func(t *Trace) func(*Event) { return t.Done })
	}()
	callback()
}

// trace tells of a function that was put into the queue. The lock is held.
func (d *door) trace(el *EventLoop, fn func(el *EventLoop)) {
	for _, t := range d.traces {
		if t.Post != nil {
			d.event = Event{Loop: el, Kind: KindPosted, Seq: d.posts, Func: fn, Time: el.now()}
			t.Post(&d.event)
		}
	}
}
