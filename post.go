package ae

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/aeloop/ae/anet"
)

// door is how other goroutines reach the loop: Stop and Post, and a pipe that
// ends the loop's sleep. Everything else of the loop belongs to its goroutine.
type door struct {
	stop    atomic.Bool // Stop was called and no Main has ended by it yet
	pending atomic.Bool // posted is not empty: a look without the lock

	mu          sync.Mutex
	posted      []func(el *EventLoop) // what other goroutines have posted
	sleeping    bool                  // the loop sleeps, or is about to, and nobody has woken it yet
	interrupted bool                  // the next sleep is to be skipped
	refusing    bool                  // Close has begun
	published   Stats
	traces      []*Trace
	event       Event  // for traces
	posts       uint64 // how many functions were ever posted

	// wakers counts goroutines on their way from the decision to wake the loop
	// to the end of their write. Close waits for them, because afterwards the
	// number of the pipe can belong to somebody else.
	wakers sync.WaitGroup

	readFD, writeFD int

	// The rest belongs to the loop's goroutine: the posted functions it has
	// taken over, from head on, and how many it ever called.
	taken   []func(el *EventLoop)
	head    int
	ran     uint64
	yielded uint64 // what ran was at the last yield
}

// Stop makes Main return after the iteration under way; if the loop sleeps, it
// wakes. It is remembered: without a Main, the next one ends at once, and until
// then ProcessEvents does not sleep. Any goroutine may call it, at any time; on a
// closed loop it does nothing. (aeStop)
func (el *EventLoop) Stop() {
	el.door.stop.Store(true)
	el.door.interrupt()
}

// Post has the loop's goroutine call fn, in this iteration or the next, and
// wakes the loop if it sleeps. Functions posted by one goroutine run in the
// order of their posting. A nil error is a promise that fn runs exactly once,
// at the latest in Close; after Close the result is ErrClosed. Any goroutine may
// call it, the loop's own too. A nil fn panics.
//
// Somebody has to run the loop, or close it: a program that ends Main by itself
// wants a deferred Close, or what was promised never runs. The queue is not
// bounded: whoever posts faster than the loop can run needs a limit of its own.
func (el *EventLoop) Post(fn func(el *EventLoop)) error {
	if fn == nil {
		panic("ae: Post of a nil function")
	}
	d := &el.door
	d.mu.Lock()
	if d.refusing {
		d.mu.Unlock()
		return ErrClosed
	}
	d.posted = append(d.posted, fn)
	d.posts++
	d.pending.Store(true)
	if d.traces != nil {
		d.trace(el, fn)
	}
	d.unlockAndWake()
	return nil
}

// runPosted calls the functions that are posted now, and returns how many it
// called. What they post themselves waits for the next iteration. A function is
// taken off the queue, and counted, before it is called, so that neither a panic
// in it nor an iteration that it runs itself can call it twice.
func (el *EventLoop) runPosted() int {
	d := &el.door
	if !d.waiting() {
		return 0
	}
	d.take()

	n := 0
	for last := d.ran + uint64(len(d.taken)-d.head); d.ran < last; {
		fn := d.taken[d.head]
		d.taken[d.head] = nil
		d.head++
		d.ran++
		n++
		if el.tracer == nil {
			fn(el)
		} else {
			el.tracer.run(Event{Kind: KindPosted, Seq: d.ran, Func: fn}, func() { fn(el) })
		}
	}
	return n
}

// runAllPosted calls what is posted until nothing is left, through panics too.
func (el *EventLoop) runAllPosted() {
	if el.door.waiting() {
		defer el.runAllPosted()
		el.runPosted()
	}
}

// waiting reports whether a function is waiting to be called.
func (d *door) waiting() bool { return d.pending.Load() || d.head < len(d.taken) }

// take moves everything posted to the end of what was taken over before. The
// two slices change places when they can, so that nothing is copied.
func (d *door) take() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.head == len(d.taken) {
		d.taken, d.posted = d.posted, d.taken[:0]
		d.head = 0
	} else {
		d.taken = append(d.taken, d.posted...)
		clear(d.posted)
		d.posted = d.posted[:0]
	}
	d.pending.Store(false)
}

// yield lets other goroutines run first, before a sleep, where that pays. If
// posted functions ran since the last one: what they answered has made goroutines
// ready, which wait in the queue of the loop's thread, and what they post now
// needs no wake-up. And if one processor is all there is: a blocking system call
// would hold it until the scheduler's monitor looks. Otherwise a yield only costs:
// it wakes a second thread.
func (d *door) yield() {
	if d.yielded != d.ran || runtime.GOMAXPROCS(0) == 1 {
		d.yielded = d.ran
		runtime.Gosched()
	}
}

// sleep announces that the loop is about to sleep, and publishes its counters. It
// returns false if it must not, because something came in before: whatever comes
// later finds sleeping set, and wakes it.
func (d *door) sleep(el *EventLoop) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting() || d.interrupted {
		d.interrupted = false
		return false
	}
	d.sleeping = true
	el.stats.Sleeps++
	el.publishLocked()
	return true
}

// awake takes the announcement back: from here on nobody needs to write.
func (d *door) awake() {
	d.mu.Lock()
	d.sleeping = false
	d.interrupted = false
	d.mu.Unlock()
}

// interrupt ends the loop's sleep, or the next one if it does not sleep.
func (d *door) interrupt() {
	d.mu.Lock()
	d.interrupted = true
	d.unlockAndWake()
}

// unlockAndWake releases the lock and writes to the pipe if the loop sleeps and
// nobody has woken it yet. The write is outside the lock: the loop, once awake,
// wants the lock first of all.
func (d *door) unlockAndWake() {
	wake := d.sleeping
	d.sleeping = false
	if wake {
		d.wakers.Add(1)
	}
	d.mu.Unlock()

	if wake {
		// A pipe that is full has woken the loop already; no other error but a
		// signal's is possible on a pipe that is open at both ends.
		for {
			if _, err := syscall.Write(d.writeFD, wakeByte[:]); err != syscall.EINTR {
				break
			}
		}
		d.wakers.Done()
	}
}

var wakeByte [1]byte

// open makes the pipe and has b watch it.
func (d *door) open(b backend) error {
	r, w, err := anet.Pipe()
	if err != nil {
		return err
	}
	if err := b.add(r, None, Readable); err != nil {
		anet.Close(r)
		anet.Close(w)
		return err
	}
	d.readFD, d.writeFD = r, w
	return nil
}

// drain empties the pipe, which would otherwise stay readable. It holds one byte
// as a rule: one read.
func (d *door) drain() {
	var buf [64]byte
	for {
		n, err := syscall.Read(d.readFD, buf[:])
		if n < len(buf) && err != syscall.EINTR {
			return
		}
	}
}

// refuse makes Post return ErrClosed from now on.
func (d *door) refuse() {
	d.mu.Lock()
	d.refusing = true
	d.mu.Unlock()
}

// close closes the pipe once nobody can be writing to it any more.
func (d *door) close() {
	d.wakers.Wait()
	anet.Close(d.readFD)
	anet.Close(d.writeFD)
	d.readFD, d.writeFD = -1, -1
	d.taken, d.head = nil, 0
}
