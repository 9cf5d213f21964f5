//go:build linux && !ae_select

package ae

import (
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	apiName    = "epoll"
	maxSetSize = math.MaxInt32
)

// epoll watches descriptors with epoll(7), level-triggered. The kernel knows a
// registration by number and open file; the two come apart when a descriptor is
// closed while a child process, or a dup, still holds the file. Each
// registration therefore has a generation, which the kernel hands back with
// every event.
type epoll struct {
	fd      int
	spare   int         // a second instance, for rebuild when no descriptor is left; or -1
	slots   []epollSlot // by descriptor
	events  []unix.EpollEvent
	noNanos bool // epoll_pwait2 is missing or forbidden here
}

type epollSlot struct {
	gen  uint32
	mask Mask
}

var _ backend = (*epoll)(nil)

func newBackend() (backend, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	spare, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &epoll{fd: fd, spare: spare}, nil
}

func (e *epoll) add(fd int, old, mask Mask) error {
	if fd == e.spare {
		return errOwn // the kernel refuses the other one itself
	}
	var slot epollSlot
	if fd < len(e.slots) {
		slot.gen = e.slots[fd].gen
	}
	slot.mask = old | mask

	op := unix.EPOLL_CTL_MOD
	if old == None {
		op = unix.EPOLL_CTL_ADD
		slot.gen++
	}
	err := e.ctl(op, fd, slot)
	if err == unix.EEXIST {
		// The number was closed without a del, and now names the same file again.
		err = e.ctl(unix.EPOLL_CTL_MOD, fd, slot)
	}
	if err == unix.ENOENT {
		e.slots[fd].mask = None
		return errReused
	}
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}

	if fd >= len(e.slots) {
		slots := make([]epollSlot, max(fd+1, 2*len(e.slots), minTable))
		copy(slots, e.slots)
		e.slots = slots
	}
	e.slots[fd] = slot
	return nil
}

func (e *epoll) del(fd int, old, mask Mask) {
	slot := &e.slots[fd]
	slot.mask = old &^ mask
	if slot.mask == None {
		e.ctl(unix.EPOLL_CTL_DEL, fd, *slot)
	} else {
		e.ctl(unix.EPOLL_CTL_MOD, fd, *slot)
	}
}

func (e *epoll) ctl(op, fd int, slot epollSlot) error {
	return epollCtl(e.fd, op, fd, slot)
}

func epollCtl(epfd, op, fd int, slot epollSlot) error {
	ev := unix.EpollEvent{Fd: int32(fd), Pad: int32(slot.gen)}
	if slot.mask&Readable != 0 {
		ev.Events |= unix.EPOLLIN
	}
	if slot.mask&Writable != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(epfd, op, fd, &ev)
}

func (e *epoll) poll(fired []firedEvent, d time.Duration) (int, error) {
	if len(e.events) != len(fired) {
		e.events = make([]unix.EpollEvent, len(fired))
	}
	var ready int
	var err error
	if d == 0 {
		ready, err = e.look()
	} else {
		ready, err = e.sleep(d)
	}
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, os.NewSyscallError("epoll_wait", err)
	}

	n, orphans := 0, false
	for i := range e.events[:ready] {
		ev := &e.events[i]
		slot := e.slots[ev.Fd]
		if slot.gen != uint32(ev.Pad) || slot.mask == None {
			orphans = true
			continue
		}
		mask := None
		if ev.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			mask |= Readable
		}
		if ev.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			mask |= Writable
		}
		if mask &= slot.mask; mask == None {
			orphans = true // del could not tell the kernel, for the same reason
			continue
		}
		fired[n] = firedEvent{fd: ev.Fd, mask: mask}
		n++
	}
	if orphans {
		e.rebuild()
	}
	return n, nil
}

// look is a poll that cannot block, and therefore called raw, which saves telling
// the Go scheduler about it twice. A call that may block must never be raw: a
// goroutine that blocks unannounced stops the garbage collector for the whole
// process.
func (e *epoll) look() (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd),
		uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// sleep is a poll that blocks, for as long as d says to the nanosecond if the
// kernel can do that.
func (e *epoll) sleep(d time.Duration) (int, error) {
	if d > 0 && !e.noNanos {
		n, err := e.waitNanos(d)
		switch err {
		case unix.ENOSYS, unix.EPERM, unix.ENOTSUP:
			e.noNanos = true // before Linux 5.11, or a seccomp filter
		default:
			return n, err
		}
	}

	ms := -1
	if d > 0 {
		ms = millis(d)
	}
	return unix.EpollWait(e.fd, e.events, ms)
}

// waitNanos is epoll_pwait2(2). Its timespec has 64-bit fields on every
// architecture, unlike unix.Timespec.
func (e *epoll) waitNanos(d time.Duration) (int, error) {
	ts := struct{ sec, nsec int64 }{int64(d / time.Second), int64(d % time.Second)}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(e.fd),
		uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rebuild moves every registration to a new epoll instance. It is the only way
// to get rid of an orphan: a file that was closed before del, and that somebody
// else still holds open, can no longer be named, but would be reported for ever,
// and the loop would spin. So an instance is kept in reserve: orphans are made
// by programs that lose descriptors, and those run out of them. Should the
// kernel have no memory, the orphan stays until the next poll tries again.
func (e *epoll) rebuild() {
	if e.spare < 0 {
		e.restock()
	}
	if e.spare < 0 {
		return
	}
	old := e.spare
	if e.moveTo(e.spare) {
		old, e.fd = e.fd, e.spare
	}
	unix.Close(old)
	e.restock()
}

// restock makes a new spare instance, if it can.
func (e *epoll) restock() {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		fd = -1
	}
	e.spare = fd
}

// moveTo adds to epfd what the present instance still knows by its number:
// another file may have the number now, one that cannot even be watched. It
// returns false if the kernel cannot take them all.
func (e *epoll) moveTo(epfd int) bool {
	for i, slot := range e.slots {
		if slot.mask == None {
			continue
		}
		switch e.ctl(unix.EPOLL_CTL_MOD, i, slot) {
		case nil:
			if epollCtl(epfd, unix.EPOLL_CTL_ADD, i, slot) != nil {
				return false
			}
		case unix.ENOENT, unix.EBADF, unix.EPERM, unix.EINVAL:
			e.slots[i].mask = None
		default:
			return false
		}
	}
	return true
}

func (e *epoll) close() error {
	if e.spare >= 0 {
		unix.Close(e.spare)
	}
	return unix.Close(e.fd)
}
