package ae

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Mask is a set of file events: what a descriptor is watched for, or what it
// became ready for.
type Mask uint8

const (
	None     Mask = 0
	Readable Mask = 1 << 0 // data, a connection to accept, end of file, or an error can be read
	Writable Mask = 1 << 1 // room to write, the end of a connect, or an error

	// Barrier, together with Writable, asks for the writable proc to run before
	// the readable one when both are ready in one iteration. A server that makes
	// its data durable in BeforeSleep wants it: a reply is then never written in
	// the iteration that read its request, so it cannot overtake the sync.
	Barrier Mask = 1 << 2

	readWrite = Readable | Writable
)

// Flags selects what one call of ProcessEvents does.
type Flags uint8

const (
	FileEvents      Flags = 1 << iota // dispatch file events
	TimeEvents                        // run time events; without FileEvents, the wait for them has a resolution of 1 ms
	DontWait                          // do what is ready, then return without sleeping
	CallBeforeSleep                   // call the BeforeSleep hook
	CallAfterSleep                    // call the AfterSleep hook

	AllEvents = FileEvents | TimeEvents
)

// FileProc is called when fd is ready. mask is the one event that this call is
// for, Readable or Writable: a descriptor ready for both gets two calls. End of
// file, a hang-up and a pending error come as whichever event is registered;
// the next read or write on fd tells which it was.
type FileProc func(el *EventLoop, fd int, mask Mask)

var (
	// ErrClosed is what every method that returns an error returns once the loop
	// has been closed.
	ErrClosed = errors.New("ae: event loop is closed")

	// ErrRange is returned for a descriptor that is negative or not below the
	// loop's set size, and for a set size that is not positive or that would
	// leave a registered descriptor outside.
	ErrRange = errors.New("ae: descriptor or set size out of range")

	errMask = fmt.Errorf("ae: mask needs Readable or Writable: %w", unix.EINVAL)
	errOwn  = fmt.Errorf("ae: descriptor belongs to the loop: %w", unix.EINVAL)
)

// backend is what a polling mechanism does for the loop. It reports which
// descriptors are ready; only the loop calls procs. Each ae_*.go implements it
// once and supplies newBackend, apiName and maxSetSize.
//
// Masks hold Readable and Writable only. Polling is level-triggered: what is
// ready and has not been dealt with is reported again by the next poll.
type backend interface {
	// add watches fd for mask besides old, which it is watched for already; the
	// two may overlap. On error nothing has changed. errReused means that fd no
	// longer is the file that was registered: old is void, and the caller adds
	// again with old None.
	add(fd int, old, mask Mask) error

	// del stops watching fd for mask, a part of old. It cannot fail: a
	// descriptor that was closed first is no longer watched either.
	del(fd int, old, mask Mask)

	// poll waits at most d for a descriptor to become ready, without end if d is
	// negative, and not at all if d is 0: then it must not be able to block. It
	// fills fired with at most one entry for each descriptor and returns their
	// number. A signal, or a deadline cut short, is no error but zero events.
	poll(fired []firedEvent, d time.Duration) (int, error)

	// close releases the poller's own descriptor, if it has one.
	close() error
}

// errReused is how a backend tells that a number now names another file.
var errReused = errors.New("ae: descriptor was closed without DeleteFileEvent")

// firedEvent is one ready descriptor, as a backend reports it.
type firedEvent struct {
	fd   int32
	mask Mask
}

// fileEvent is the registration of one descriptor, at its number in
// EventLoop.files. readPoll and writePoll hold the number of the last poll
// before the proc was registered: what that poll reported is older than the
// registration and is not for it.
type fileEvent struct {
	readProc  FileProc
	writeProc FileProc
	readPoll  uint32
	writePoll uint32
	mask      Mask
}

const (
	minTable = 64  // first size of the table of file events
	minFired = 64  // first size of a batch; it doubles whenever a poll fills it
	maxFired = 512 // a batch as long as this is dispatched while what poll touched is still cached

	// maxWait bounds one sleep. Kernels differ in how long a timeout they take;
	// past a day the loop simply looks at the clock again.
	maxWait = 24 * time.Hour
)

// EventLoop watches descriptors and time events and calls the procs registered
// for them. It belongs to one goroutine, the one that calls Main, Run or
// ProcessEvents: only Stop and Post may be called from others.
type EventLoop struct {
	files   []fileEvent // by descriptor; grows as descriptors come
	setSize int
	backend backend

	fired []firedEvent // what the last poll reported
	polls uint32       // its number, which names the batch; it may wrap

	timers timers
	epoch  time.Time // the origin of the loop's clock

	door  door           // the only part that other goroutines touch
	mains int            // calls of Main and Run under way, one inside the other
	done  []*atomic.Bool // of the calls of Run among them: whether its context is done

	beforeSleep func(el *EventLoop)
	afterSleep  func(el *EventLoop)
	dontWait    bool
	closing     bool // Close has begun: no more iterations
	closed      bool
}

// New returns an event loop for descriptors below setSize; see SetSize for
// where the system's own limit is lower. Memory is taken as descriptors come, so
// a large setSize costs nothing by itself. Errors are ErrRange for a setSize
// that is not positive, and what the system says when it has no descriptor left
// for the poller. (aeCreateEventLoop)
func New(setSize int) (*EventLoop, error) {
	if setSize <= 0 {
		return nil, ErrRange
	}
	b, err := newBackend()
	if err != nil {
		return nil, err
	}
	el := &EventLoop{
		setSize: min(setSize, maxSetSize),
		backend: b,
		fired:   make([]firedEvent, minFired),
		epoch:   time.Now(),
	}

	if err := el.door.open(b); err != nil {
		b.close()
		return nil, err
	}
	return el, nil
}

// Close releases the loop's own descriptors and forgets every registration. It
// closes none of the user's descriptors. Functions posted before Close, and not
// run yet, run now; later ones are refused. Close may be called from a callback,
// and the iteration then ends with it. Only the loop's own goroutine may call
// it, or, once that has left the loop, whoever owns it then. A second Close
// returns ErrClosed. (aeDeleteEventLoop)
func (el *EventLoop) Close() error {
	if el.closed {
		return ErrClosed
	}
	defer el.release()
	el.closing = true
	el.door.refuse()
	el.runAllPosted()
	return nil
}

// release is the part of Close that a panic in a posted function must not skip.
func (el *EventLoop) release() {
	if el.closed {
		return // a posted function called Close too
	}
	el.closed = true
	el.door.close()
	el.backend.close()
	el.files, el.fired, el.timers = nil, nil, timers{}
	el.beforeSleep, el.afterSleep = nil, nil
}

// CreateFileEvent watches fd for mask and calls proc when it is ready. A proc
// registered before for the same event is replaced; the other event of fd is
// left as it is. fd should be non-blocking, and DeleteFileEvent must be called
// before it is closed.
//
// Errors, after which nothing has changed: ErrRange; ErrClosed; unix.EINVAL for
// a mask without an event or with an unknown one, and for a descriptor of the
// loop's own; unix.EBADF for a descriptor that is not open;
// unix.EPERM for one that cannot be watched, such as a regular file; what else
// the kernel says (epoll_ctl(2), kevent(2)). A nil proc panics.
// (aeCreateFileEvent)
func (el *EventLoop) CreateFileEvent(fd int, mask Mask, proc FileProc) error {
	if proc == nil {
		panic("ae: CreateFileEvent with a nil proc")
	}
	if err := el.checkFD(fd); err != nil {
		return err
	}
	if mask&readWrite == 0 || mask&^(readWrite|Barrier) != 0 {
		return errMask
	}

	old := el.FileEvents(fd) & readWrite
	err := el.backend.add(fd, old, mask&readWrite)
	if err == errReused {
		el.files[fd] = fileEvent{}
		err = el.backend.add(fd, None, mask&readWrite)
	}
	if err != nil {
		return err
	}

	el.grow(fd)
	fe := &el.files[fd]
	if mask&Readable != 0 {
		fe.readProc = proc
		if fe.mask&Readable == 0 {
			fe.readPoll = el.polls
		}
	}
	if mask&Writable != 0 {
		fe.writeProc = proc
		if fe.mask&Writable == 0 {
			fe.writePoll = el.polls
		}
		fe.mask &^= Barrier // the newest writable registration decides
	} else {
		mask &^= Barrier
	}
	fe.mask |= mask
	return nil
}

// DeleteFileEvent stops watching fd for mask. It is final at once: an event that
// was already polled is not delivered. What is not registered is ignored, so
// deleting twice is no error. Errors are ErrRange, ErrClosed, and unix.EINVAL for
// the loop's own pipe. (aeDeleteFileEvent)
func (el *EventLoop) DeleteFileEvent(fd int, mask Mask) error {
	if err := el.checkFD(fd); err != nil {
		return err
	}
	if mask &= el.FileEvents(fd); mask == None {
		return nil
	}

	fe := &el.files[fd]
	if mask&readWrite != 0 {
		el.backend.del(fd, fe.mask&readWrite, mask&readWrite)
	}
	if mask&Readable != 0 {
		fe.readProc = nil
	}
	if mask&Writable != 0 {
		fe.writeProc = nil
		mask |= Barrier
	}
	fe.mask &^= mask
	return nil
}

// FileEvents returns what fd is watched for: None for a descriptor that is not
// registered or not in range. (aeGetFileEvents)
func (el *EventLoop) FileEvents(fd int) Mask {
	if fd < 0 || fd >= len(el.files) {
		return None
	}
	return el.files[fd].mask
}

// checkFD returns why fd cannot be registered, as far as the loop can tell.
func (el *EventLoop) checkFD(fd int) error {
	switch {
	case el.closed:
		return ErrClosed
	case fd < 0 || fd >= el.setSize:
		return ErrRange
	case fd == el.door.readFD || fd == el.door.writeFD:
		return errOwn
	}
	return nil
}

// grow makes room for fd in the table of file events, which doubles so that
// growing one descriptor at a time stays linear.
func (el *EventLoop) grow(fd int) {
	if fd < len(el.files) {
		return
	}
	size := min(max(fd+1, 2*len(el.files), minTable), el.setSize)
	files := make([]fileEvent, size)
	copy(files, el.files)
	el.files = files
}

// SetSize returns the bound below which descriptors can be watched. It is what
// New or Resize was given, or the system's own limit where that is lower: with
// select, FD_SETSIZE. (aeGetSetSize)
func (el *EventLoop) SetSize() int { return el.setSize }

// Resize changes what SetSize returns. It returns ErrRange, and changes nothing,
// if setSize is not positive or a descriptor not below it is registered.
// (aeResizeSetSize)
func (el *EventLoop) Resize(setSize int) error {
	if el.closed {
		return ErrClosed
	}
	if setSize <= 0 {
		return ErrRange
	}
	setSize = min(setSize, maxSetSize)
	for fd := setSize; fd < len(el.files); fd++ {
		if el.files[fd].mask != None {
			return ErrRange
		}
	}

	el.setSize = setSize
	if len(el.files) > setSize {
		el.files = append([]fileEvent(nil), el.files[:setSize]...)
	}
	return nil
}

// SetBeforeSleep makes fn the hook that runs before each poll, with
// CallBeforeSleep; nil removes it. It is the place for what a whole batch of
// events has prepared, such as writing the replies of all clients.
// (aeSetBeforeSleepProc)
func (el *EventLoop) SetBeforeSleep(fn func(el *EventLoop)) { el.beforeSleep = fn }

// SetAfterSleep makes fn the hook that runs after each poll, with
// CallAfterSleep, before any event is dispatched; nil removes it.
// (aeSetAfterSleepProc)
func (el *EventLoop) SetAfterSleep(fn func(el *EventLoop)) { el.afterSleep = fn }

// SetDontWait makes every poll return at once while on is true. BeforeSleep may
// set it when a callback has work left that no descriptor would announce, such
// as input that is decrypted but not yet parsed. (aeSetDontWait)
func (el *EventLoop) SetDontWait(on bool) { el.dontWait = on }

// Main runs ProcessEvents until Stop is called, and returns nil then. A Stop
// that came before Main ends it before its first iteration; one that comes
// during a Main inside a callback ends both. Errors are ErrClosed, also when a
// callback closed the loop, and what the poller says. (aeMain)
func (el *EventLoop) Main() error {
	return el.run()
}

// Run is Main, ended by ctx too: it then returns context.Cause(ctx), and the
// loop can be run again. A Main or Run inside it, in a callback, ends with it and
// returns nil.
func (el *EventLoop) Run(ctx context.Context) error {
	var done atomic.Bool
	if ctx.Err() != nil {
		done.Store(true)
	}
	release := context.AfterFunc(ctx, func() {
		done.Store(true)
		el.door.interrupt()
	})
	defer release()

	el.done = append(el.done, &done)
	defer func() { el.done = el.done[:len(el.done)-1] }()
	if err := el.run(); err != nil {
		return err
	}
	if done.Load() {
		return context.Cause(ctx)
	}
	return nil
}

// run iterates until Stop is called, a context is done or an error ends it.
func (el *EventLoop) run() error {
	el.mains++
	defer func() { el.mains-- }()

	for {
		if el.closing {
			return ErrClosed
		}
		if el.door.stop.Load() {
			if el.mains == 1 {
				el.door.stop.Store(false)
			}
			return nil
		}
		if el.cancelled() {
			return nil
		}
		if _, err := el.ProcessEvents(AllEvents | CallBeforeSleep | CallAfterSleep); err != nil {
			return err
		}
	}
}

// cancelled tells whether the context of any Run under way is done.
func (el *EventLoop) cancelled() bool {
	for _, done := range el.done {
		if done.Load() {
			return true
		}
	}
	return false
}

// ProcessEvents runs one iteration and returns how many procs and posted
// functions it called. The package comment gives the steps in order. It may be
// called from a callback. Errors are ErrClosed and what the poller says; a
// signal is no error. (aeProcessEvents)
func (el *EventLoop) ProcessEvents(flags Flags) (int, error) {
	if el.closing {
		return 0, ErrClosed
	}
	if flags&AllEvents == 0 {
		return 0, nil
	}

	if flags&CallBeforeSleep != 0 && el.beforeSleep != nil {
		el.beforeSleep(el)
	}
	ready, err := el.poll(flags)
	batch := el.polls
	if flags&CallAfterSleep != 0 && el.afterSleep != nil {
		el.afterSleep(el)
	}
	if err != nil {
		return 0, err
	}

	n := el.dispatch(batch, ready)
	n += el.runPosted()
	if flags&TimeEvents != 0 {
		n += el.runTimeEvents()
	}
	return n, nil
}

// poll looks for ready descriptors, first without sleeping: a busy loop then
// needs neither the clock nor the door's lock, and the backend can use a system
// call that the Go scheduler does not have to be told about.
func (el *EventLoop) poll(flags Flags) (int, error) {
	if el.closing {
		return 0, ErrClosed
	}
	if flags&FileEvents != 0 {
		el.polls++
		n, err := el.backend.poll(el.fired, 0)
		if n > 0 || err != nil {
			return n, err
		}
	}

	if flags&DontWait != 0 || el.dontWait || el.door.stop.Load() || el.door.waiting() || el.cancelled() {
		return 0, nil
	}
	return el.sleep(flags)
}

// sleep polls until a descriptor is ready, a time event is due, or somebody
// comes to the door.
func (el *EventLoop) sleep(flags Flags) (int, error) {
	el.door.yield()
	d := el.sleepTime(flags)
	if d == 0 || !el.door.sleep() {
		return 0, nil
	}
	defer el.door.awake()
	if flags&FileEvents == 0 {
		// Only the door can end this sleep: a ready descriptor, which is not to
		// be dispatched, would end it over and over.
		_, err := Wait(el.door.readFD, Readable, d)
		el.door.drain()
		return 0, err
	}
	return el.backend.poll(el.fired, d)
}

// sleepTime returns how long the loop may sleep by its time events: negative is
// without end.
func (el *EventLoop) sleepTime(flags Flags) time.Duration {
	if flags&TimeEvents == 0 || len(el.timers.heap) == 0 {
		return -1
	}
	return min(max(el.timers.heap[0].when-el.now(), 0), maxWait)
}

// dispatch calls the procs of the descriptors that poll number batch found
// ready. Anything may have happened since: each step looks at the loop again. A
// later poll, by a call of ProcessEvents from a callback, replaces what is left.
func (el *EventLoop) dispatch(batch uint32, ready int) int {
	n := 0
	for i := 0; i < ready && el.polls == batch && !el.closed; i++ {
		fd, mask := int(el.fired[i].fd), el.fired[i].mask
		if fd == el.door.readFD {
			el.door.drain()
			continue
		}

		first, second := mask&Readable, mask&Writable
		if second != None && el.FileEvents(fd)&Barrier != 0 {
			first, second = second, first
		}
		if first != None {
			n += el.call(fd, first, batch)
		}
		if second != None {
			n += el.call(fd, second, batch)
		}
	}

	if ready == len(el.fired) && ready > 0 && ready < maxFired {
		el.fired = make([]firedEvent, 2*ready)
	}
	return n
}

// call calls the proc for event, Readable or Writable, if fd is still watched
// for it by a registration that is older than the poll.
func (el *EventLoop) call(fd int, event Mask, batch uint32) int {
	if event&el.FileEvents(fd) == 0 || el.polls != batch {
		return 0
	}
	fe := &el.files[fd]
	proc, poll := fe.readProc, fe.readPoll
	if event == Writable {
		proc, poll = fe.writeProc, fe.writePoll
	}
	if poll == batch {
		return 0
	}
	proc(el, fd, event)
	return 1
}

// Wait waits at most d for fd to become ready for mask, without end if d is
// negative, and returns what it is ready for: None when d has passed. It needs
// no loop; it serves a program that must do one thing after another on a
// non-blocking descriptor. The resolution is 1 ms, rounded up. Errors are
// unix.EINVAL for a mask without an event, unix.EBADF for a descriptor that is
// not open, and what poll(2) says. Any goroutine may call it. (aeWait)
func Wait(fd int, mask Mask, d time.Duration) (Mask, error) {
	if mask&readWrite == 0 {
		return None, errMask
	}
	if fd < 0 || fd > math.MaxInt32 {
		return None, os.NewSyscallError("poll", unix.EBADF)
	}
	fds := []unix.PollFd{{Fd: int32(fd)}}
	if mask&Readable != 0 {
		fds[0].Events |= unix.POLLIN
	}
	if mask&Writable != 0 {
		fds[0].Events |= unix.POLLOUT
	}

	n, err := pollFor(fds, d)
	if err != nil || n == 0 {
		return None, os.NewSyscallError("poll", err)
	}
	revents := fds[0].Revents
	if revents&unix.POLLNVAL != 0 {
		return None, os.NewSyscallError("poll", unix.EBADF)
	}
	ready := None
	if revents&(unix.POLLIN|unix.POLLERR|unix.POLLHUP) != 0 {
		ready |= Readable
	}
	if revents&(unix.POLLOUT|unix.POLLERR|unix.POLLHUP) != 0 {
		ready |= Writable
	}
	return ready & mask, nil
}

// pollFor is poll(2) for a time that signals do not cut short or prolong.
func pollFor(fds []unix.PollFd, d time.Duration) (int, error) {
	start := time.Now()
	for {
		ms := -1
		if d >= 0 {
			left := max(d-time.Since(start), 0)
			ms = millis(min(left, maxWait))
		}
		n, err := unix.Poll(fds, ms)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n != 0 || err != nil || ms >= 0 && time.Since(start) >= d {
			return n, err
		}
	}
}

// millis rounds d up to milliseconds, so that no wait ends early.
func millis(d time.Duration) int {
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// APIName returns the name of the polling mechanism: "epoll", "kqueue" or
// "select". (aeGetApiName)
func APIName() string { return apiName }
