//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !ae_select

package ae

import (
	"math"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	apiName    = "kqueue"
	maxSetSize = math.MaxInt32
)

// kqueue watches descriptors with kevent(2), level-triggered. Reading and
// writing are two filters, each with events of its own; they are merged into one
// fired event for a descriptor, or the loop could not keep the order that
// Barrier asks for.
type kqueue struct {
	fd     int
	slots  []kqueueSlot // by descriptor
	events []unix.Kevent_t

	// broken lists pipes without a reader that are watched for Writable. epoll
	// reports them, as the next write fails; kernels here may refuse the filter,
	// end it after its first event, or never fire it.
	broken []int
}

type kqueueSlot struct {
	at   int32 // where fired has the descriptor, while poll fills fired
	mask Mask
	pipe bool
}

// spyOnPipes: on OpenBSD and NetBSD the write filter of a full pipe is not told
// when the reader goes. The read filter is, on the write end too; so that is added
// besides, with EV_CLEAR, as an end that is reported over and over is no news.
// Where Readable is registered as well its filter tells the same.
const spyOnPipes = runtime.GOOS == "openbsd" || runtime.GOOS == "netbsd"

var _ backend = (*kqueue)(nil)

func newBackend() (backend, error) {
	// There is no way to have the descriptor close-on-exec from birth, so a fork
	// has to wait.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	return &kqueue{fd: fd}, nil
}

// add issues EV_ADD for the whole mask even where old has it: if the descriptor
// was closed without a del, the kernel has dropped the filter.
func (k *kqueue) add(fd int, old, mask Mask) error {
	st, err := statPollable(fd)
	if err != nil {
		return os.NewSyscallError("kevent", err)
	}
	pipe := st.Mode&unix.S_IFMT == unix.S_IFIFO
	spy := spyOnPipes && pipe && (old|mask)&Readable == 0

	if mask&Readable != 0 {
		if spyOnPipes && pipe && old&Readable == 0 {
			_ = k.change(fd, unix.EVFILT_READ, unix.EV_DELETE) // EV_ADD would keep the spy's EV_CLEAR
		}
		if err := k.change(fd, unix.EVFILT_READ, unix.EV_ADD); err != nil {
			return os.NewSyscallError("kevent", err)
		}
	}
	if mask&Writable != 0 {
		k.mend(fd)
		err := k.change(fd, unix.EVFILT_WRITE, unix.EV_ADD)
		if err != nil && pipe {
			k.broken = append(k.broken, fd) // EPIPE, EBADF or EPERM, as the system has it
		} else if err != nil {
			k.del(fd, old|mask&Readable, mask&Readable&^old)
			return os.NewSyscallError("kevent", err)
		}
		if spy {
			_ = k.change(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR) // a FIFO open for writing alone refuses
		}
	}

	k.slots = grow(k.slots, fd)
	k.slots[fd].mask, k.slots[fd].pipe = old|mask, pipe
	return nil
}

// del asks for one filter in each call: of several in one call, the first that
// fails would keep the rest from being deleted. That the filter, or the
// descriptor, is gone already (ENOENT, EBADF) is what was wanted.
func (k *kqueue) del(fd int, old, mask Mask) {
	left := old &^ mask
	spy := spyOnPipes && fd < len(k.slots) && k.slots[fd].pipe

	if mask&Readable != 0 || spy && left == None {
		_ = k.change(fd, unix.EVFILT_READ, unix.EV_DELETE)
	}
	if mask&Readable != 0 && spy && left&Writable != 0 {
		_ = k.change(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR)
	}
	if mask&Writable != 0 {
		_ = k.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
		k.mend(fd)
	}
	if fd < len(k.slots) { // it is not when an add is taken back
		k.slots[fd].mask = left
	}
}

// mend takes fd off the list of broken pipes.
func (k *kqueue) mend(fd int) {
	k.broken = slices.DeleteFunc(k.broken, func(b int) bool { return b == fd })
}

// change applies one change. A call that a signal interrupts has applied it.
func (k *kqueue) change(fd, filter, flags int) error {
	var ev [1]unix.Kevent_t
	unix.SetKevent(&ev[0], fd, filter, flags)
	_, err := unix.Kevent(k.fd, ev[:], nil, nil)
	if err == unix.EINTR {
		return nil
	}
	return err
}

func (k *kqueue) poll(fired []firedEvent, d time.Duration) (int, error) {
	if len(k.events) != len(fired) {
		k.events = make([]unix.Kevent_t, len(fired))
	}
	// A FIFO may have found a reader again; while it has none, nobody sleeps.
	// One that was closed without a del is forgotten, whoever has its number.
	k.broken = slices.DeleteFunc(k.broken, k.mended)
	if len(k.broken) > 0 {
		d = 0
	}
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	ready, err := unix.Kevent(k.fd, nil, k.events, timeout)
	switch err {
	case nil:
	case unix.EINTR, unix.ETIMEDOUT: // Darwin has been seen to return the latter
		ready = 0
	default:
		return 0, os.NewSyscallError("kevent", err)
	}

	n := 0
	for i := range k.events[:ready] {
		ev := &k.events[i]
		fd := int(ev.Ident)
		slot := &k.slots[fd]
		if slot.pipe && slot.mask&Writable != 0 && noReader(ev) && !slices.Contains(k.broken, fd) {
			k.broken = append(k.broken, fd)
		}
		if mask := maskOf(ev) & slot.mask; mask != None {
			n = k.report(fired, n, fd, mask)
		}
	}
	for _, fd := range k.broken {
		n = k.report(fired, n, fd, Writable)
	}
	return n, nil
}

// mended reports whether a broken pipe has a reader again, or is not what it was.
// A filter that is still there would be left as it is by EV_ADD: only a new one is
// checked.
func (k *kqueue) mended(fd int) bool {
	st, err := statPollable(fd)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return true
	}
	_ = k.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
	return k.change(fd, unix.EVFILT_WRITE, unix.EV_ADD) == nil
}

// noReader reports whether ev is the last that a kernel says of a pipe whose reader
// has gone: FreeBSD ends the write filter, which EV_ONESHOT shows, nobody having
// asked for it; others say so by the read filter alone.
func noReader(ev *unix.Kevent_t) bool {
	return ev.Flags&unix.EV_EOF != 0 && (int(ev.Filter) == unix.EVFILT_READ || ev.Flags&unix.EV_ONESHOT != 0)
}

// maskOf returns what an event means. EV_EOF alone is no reason to report the
// other filter: the peer may have shut down only one direction, and its data may
// still be waiting. An error on a socket concerns both.
func maskOf(ev *unix.Kevent_t) Mask {
	if ev.Flags&unix.EV_ERROR != 0 {
		return None
	}
	if ev.Flags&unix.EV_EOF != 0 && ev.Fflags != 0 {
		return readWrite
	}
	switch int(ev.Filter) {
	case unix.EVFILT_READ:
		return Readable
	case unix.EVFILT_WRITE:
		return Writable
	}
	return None
}

// report merges mask into the event that fired already has for fd, among its
// first n, or appends one if there is room. It returns how many there are now.
func (k *kqueue) report(fired []firedEvent, n, fd int, mask Mask) int {
	if i := int(k.slots[fd].at); i < n && int(fired[i].fd) == fd {
		fired[i].mask |= mask
		return n
	}
	if n == len(fired) {
		return n
	}
	k.slots[fd].at = int32(n)
	fired[n] = firedEvent{fd: int32(fd), mask: mask}
	return n + 1
}

func (k *kqueue) close() error { return unix.Close(k.fd) }
