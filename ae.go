package ae

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
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
	CallBeforeSleep                   // call the BeforeSleep hooks
	CallAfterSleep                    // call the AfterSleep hooks

	AllEvents = FileEvents | TimeEvents
)

// FileProc is called when fd is ready. mask is the one event that this call is
// for, Readable or Writable: a descriptor ready for both gets two calls. End of
// file, a hang-up and a pending error come as whichever event is registered;
// the next read or write on fd tells which it was.
type FileProc func(el *EventLoop, fd int, mask Mask)

// ErrClosed is what every method that returns an error returns once Close has
// begun.
var ErrClosed = errors.New("ae: event loop is closed")

// ErrRange is returned for a descriptor that is negative or not below the loop's
// size, and for a size that is not positive or that would leave a registered
// descriptor outside.
var ErrRange = errors.New("ae: descriptor or size out of range")

// ErrRunning is what Main and Run return inside a callback. ProcessEvents may be
// nested, as in Redis; a loop that runs until Stop may not.
var ErrRunning = errors.New("ae: Main or Run inside a callback")

var (
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
	// number. A signal, or a deadline cut short, is no error but zero events. An
	// entry with lost in its mask says that the descriptor was closed without a
	// del, and cannot be watched any more; it comes again until there is a del.
	poll(fired []firedEvent, d time.Duration) (int, error)

	// close releases the poller's own descriptor, if it has one.
	close() error
}

// errReused is how a backend reports that a number now names another file.
var errReused = errors.New("ae: descriptor was closed without DeleteFileEvent")

// lost, in the mask of a firedEvent, ends the registration.
const lost Mask = 1 << 7

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

	clock time.Time // what Now returns; zero until somebody asks

	door  door         // the only part that other goroutines touch
	depth int          // iterations under way, one inside the other
	done  *atomic.Bool // of a Run: whether its context is done

	beforeSleep []*hook
	afterSleep  []*hook
	dontWait    bool
	closed      bool // Close has begun

	stats  Stats   // without what publish adds
	tracer *tracer // nil without observers
}

// hook is a function of AddBeforeSleep or AddAfterSleep; fn is nil once it was
// removed.
type hook struct{ fn func(el *EventLoop) }

// New returns an event loop for descriptors below setSize; see Size for where
// the system's own limit is lower. Memory is taken as descriptors come, so a
// large setSize costs nothing by itself: a loop takes some 40 bytes for each
// number up to the highest that it has watched, whoever has those in between.
// Errors are ErrRange for a setSize that is not positive, and what the system
// says when it has no descriptor left for the poller. (aeCreateEventLoop)
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
// run yet, run now: for them the loop is closed already, so that one which hands
// over a descriptor learns of it; later ones are refused. Close may be called
// from a callback, and the iteration then ends with it. Only the loop's own
// goroutine may call it, or, once that has left the loop, whoever owns it then. A
// second Close returns ErrClosed. (aeDeleteEventLoop)
func (el *EventLoop) Close() error {
	if el.closed {
		return ErrClosed
	}
	el.closed = true
	el.files, el.timers = nil, timers{}
	el.beforeSleep, el.afterSleep = nil, nil
	el.stats.Readers, el.stats.Writers = 0, 0

	el.door.refuse()
	defer func() { // also when a posted function panics
		el.door.close()
		el.backend.close()
		el.publish()
	}()
	el.runAllPosted()
	return nil
}

// CreateFileEvent watches fd for mask and calls proc when it is ready. A proc
// registered before for the same event is replaced; the other event of fd is
// left as it is. fd should be non-blocking, and DeleteFileEvent must be called
// before it is closed.
//
// Errors, after which nothing has changed: ErrRange; ErrClosed; unix.EINVAL for
// a mask without an event or with an unknown one, and for a descriptor of the
// loop's own; unix.EBADF for a descriptor that is not open; unix.EPERM for one
// that cannot be watched: a directory or a regular file, except that epoll takes
// a file whose file system can poll it, as some on FUSE; what else the kernel
// says (epoll_ctl(2), kevent(2)). A nil proc panics. (aeCreateFileEvent)
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
		el.stats.count(old, None)
		el.files[fd] = fileEvent{}
		err = el.backend.add(fd, None, mask&readWrite)
	}
	if err != nil {
		return err
	}

	el.files = grow(el.files, fd)
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
	el.stats.count(fe.mask, fe.mask|mask)
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
	el.stats.count(fe.mask, fe.mask&^mask)
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

// grow makes room for index i in a table by descriptor, which doubles so that
// growing one descriptor at a time stays linear.
func grow[T any](table []T, i int) []T {
	if i < len(table) {
		return table
	}
	larger := make([]T, max(i+1, 2*len(table), minTable))
	copy(larger, table)
	return larger
}

// statPollable is fstat(2) of a descriptor, and unix.EPERM for a regular file or a
// directory. epoll refuses those by itself, unless their file system can poll;
// kqueue and select take them, and differ in what they make of them.
func statPollable(fd int) (st unix.Stat_t, err error) {
	if err := unix.Fstat(fd, &st); err != nil {
		return st, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return st, unix.EPERM
	}
	return st, nil
}

// Size returns the bound below which descriptors can be watched. It is what New
// or Resize was given, or the system's own limit where that is lower: with
// select, FD_SETSIZE. (aeGetSetSize)
func (el *EventLoop) Size() int { return el.setSize }

// Resize changes what Size returns. It returns ErrRange, and changes nothing, if
// setSize is not positive or a descriptor not below it is registered.
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

// AddBeforeSleep has fn called before each poll, with CallBeforeSleep. It is the
// place for what a whole batch of events has prepared, such as writing the
// replies of all clients. Hooks add up, so that a library and an application can
// share a loop; they run in the order in which they were added. remove takes fn
// away again; it may be called more than once. Inside a hook, one that is removed
// is not called any more, and one that is added is called from the next poll on.
// A nil fn panics; on a closed loop nothing happens. (aeSetBeforeSleepProc)
func (el *EventLoop) AddBeforeSleep(fn func(el *EventLoop)) (remove func()) {
	return el.addHook(&el.beforeSleep, fn)
}

// AddAfterSleep has fn called after each poll, with CallAfterSleep, before any
// event is dispatched. Otherwise it is as AddBeforeSleep.
// (aeSetAfterSleepProc)
func (el *EventLoop) AddAfterSleep(fn func(el *EventLoop)) (remove func()) {
	return el.addHook(&el.afterSleep, fn)
}

// addHook leaves what a list has in its place, and so does the removal: whoever
// walks it goes on with the hooks that were there when the walk began.
func (el *EventLoop) addHook(list *[]*hook, fn func(el *EventLoop)) (remove func()) {
	if fn == nil {
		panic("ae: nil hook")
	}
	h := &hook{fn}
	if !el.closed {
		*list = append(*list, h)
	}
	return func() {
		h.fn = nil
		*list = slices.DeleteFunc(slices.Clone(*list), func(other *hook) bool { return other == h })
	}
}

func (el *EventLoop) runHooks(hooks []*hook) {
	for _, h := range hooks {
		if h.fn != nil && !el.closed {
			if el.tracer == nil {
				h.fn(el)
			} else {
				el.tracer.run(Event{Kind: KindHook, Func: h.fn}, func() { h.fn(el) })
			}
		}
	}
}

// SetDontWait makes every poll return at once while on is true. A BeforeSleep hook
// may set it when a callback has work left that no descriptor would announce,
// such as input that is decrypted but not yet parsed. (aeSetDontWait)
func (el *EventLoop) SetDontWait(on bool) { el.dontWait = on }

// Now returns the time at which the last poll ended, or rather at which somebody
// first asked for it since then: however many callbacks of an iteration ask, the
// clock is read once, and not at all if none does. It is for what needs no better
// than that, such as when a client was last heard of; a callback that runs for
// long makes it stale. Only the loop's goroutine may call it. (Redis keeps such a
// time in server.mstime.)
func (el *EventLoop) Now() time.Time {
	if el.clock.IsZero() {
		el.clock = time.Now()
	}
	return el.clock
}

// Main runs ProcessEvents until Stop is called, and returns nil then. A Stop that
// came before Main ends it before its first iteration. Errors are ErrClosed, also
// when a callback closed the loop; ErrRunning inside a callback; and what the
// poller says. A panic in a callback goes up to Main's caller, who may recover it:
// the loop is consistent, and Main can be called again. (aeMain)
func (el *EventLoop) Main() error {
	if el.depth > 0 {
		return ErrRunning
	}
	for {
		if el.closed {
			return ErrClosed
		}
		if el.door.stop.CompareAndSwap(true, false) || el.cancelled() {
			return nil
		}
		if _, err := el.ProcessEvents(AllEvents | CallBeforeSleep | CallAfterSleep); err != nil {
			return err
		}
	}
}

// Run is Main, ended by ctx too: it then returns context.Cause(ctx), and the loop
// can be run again.
func (el *EventLoop) Run(ctx context.Context) error {
	if el.depth > 0 {
		return ErrRunning
	}
	done := new(atomic.Bool) // not the loop's own: AfterFunc may set it after the end of Run
	done.Store(ctx.Err() != nil)
	release := context.AfterFunc(ctx, func() {
		done.Store(true)
		el.door.interrupt()
	})
	el.done = done
	defer func() {
		release()
		el.done = nil
	}()

	if err := el.Main(); err != nil {
		return err
	}
	if done.Load() {
		return context.Cause(ctx)
	}
	return nil
}

// cancelled reports whether the context of a Run is done.
func (el *EventLoop) cancelled() bool { return el.done != nil && el.done.Load() }

// ProcessEvents runs one iteration and returns how many procs and posted
// functions it called. The package comment gives the steps in order. It may be
// called from a callback. Errors are ErrClosed and what the poller says; a
// signal is no error. (aeProcessEvents)
func (el *EventLoop) ProcessEvents(flags Flags) (int, error) {
	if el.closed {
		return 0, ErrClosed
	}
	if flags&AllEvents == 0 {
		return 0, nil
	}
	el.depth++
	defer func() { el.depth-- }() // a panic must not leave it behind
	el.stats.Iterations++

	if flags&CallBeforeSleep != 0 {
		el.runHooks(el.beforeSleep)
	}
	if el.tracer != nil {
		el.tracer.polling()
	}
	ready, err := el.poll(flags)
	if el.tracer != nil {
		el.tracer.polled(ready)
	}
	batch := el.polls
	el.clock = time.Time{}
	if flags&CallAfterSleep != 0 {
		el.runHooks(el.afterSleep)
	}
	if err != nil {
		return 0, err
	}

	n := el.dispatch(batch, ready)
	n += el.runPosted()
	if flags&TimeEvents != 0 {
		n += el.runTimeEvents()
	}
	if el.stats.Iterations%publishEvery == 0 {
		el.publish()
	}
	return n, nil
}

// poll looks for ready descriptors, first without sleeping: a busy loop then
// needs neither the clock nor the door's lock, and the backend can use a system
// call that the Go scheduler does not have to be told about.
func (el *EventLoop) poll(flags Flags) (int, error) {
	if el.closed {
		return 0, ErrClosed // by a hook
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
	if d == 0 || !el.door.sleep(el) {
		return 0, nil
	}
	defer el.door.awake()
	if el.tracer != nil {
		el.tracer.sleeping(d)
	}
	if flags&FileEvents == 0 {
		// Only the door can end this sleep: a ready descriptor, which is not to
		// be dispatched, would end it over and over.
		woken, err := Wait(el.door.readFD, Readable, d)
		if woken != None {
			el.stats.WakeUps++
			el.door.drain()
		}
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
	for i := 0; i < ready && el.polls == batch; i++ {
		fd, mask := int(el.fired[i].fd), el.fired[i].mask
		if fd == el.door.readFD {
			el.stats.WakeUps++
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
		if mask&lost != 0 && el.polls == batch {
			el.forget(fd, batch)
		}
	}

	if ready == len(el.fired) {
		el.stats.FullBatches++
		if ready < maxFired {
			el.fired = make([]firedEvent, 2*ready)
		}
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

	kind := KindReadable
	if event == Writable {
		kind = KindWritable
		el.stats.Writable++
	} else {
		el.stats.Readable++
	}
	if el.tracer == nil {
		proc(el, fd, event)
	} else {
		el.tracer.run(Event{Kind: kind, FD: fd, Func: proc}, func() { proc(el, fd, event) })
	}
	return 1
}

// forget ends the registration of a descriptor that was closed without
// DeleteFileEvent, unless it was made anew since the poll that found out.
func (el *EventLoop) forget(fd int, batch uint32) {
	mask := el.FileEvents(fd)
	if mask == None {
		return
	}
	fe := &el.files[fd]
	if mask&Readable != 0 && fe.readPoll == batch || mask&Writable != 0 && fe.writePoll == batch {
		return
	}
	el.DeleteFileEvent(fd, readWrite)
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
