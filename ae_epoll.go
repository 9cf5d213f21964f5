//go:build linux && !ae_select

package ae

import (
	"math"
	"os"
	"slices"
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
	slots   []epollSlot // by descriptor
	sleepy  int         // registrations whose poll operation may sleep
	lost    []int       // registrations that rebuild could not move
	events  []unix.EpollEvent
	noNanos bool // epoll_pwait2 is missing or forbidden here
}

type epollSlot struct {
	gen    uint32
	mask   Mask
	sleepy bool
}

var _ backend = (*epoll)(nil)

func newBackend() (backend, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &epoll{fd: fd}, nil
}

func (e *epoll) add(fd int, old, mask Mask) error {
	var slot epollSlot
	if fd < len(e.slots) {
		slot = e.slots[fd]
	}
	op := unix.EPOLL_CTL_MOD
	if old == None {
		op = unix.EPOLL_CTL_ADD
		slot.gen++
		slot.sleepy = maySleep(fd)
	}
	slot.mask = old | mask

	err := epollCtl(e.fd, op, fd, slot)
	if err == unix.EEXIST {
		// The number was closed without a del, and now names the same file again.
		err = epollCtl(e.fd, unix.EPOLL_CTL_MOD, fd, slot)
	}
	if err == unix.ENOENT {
		e.drop(fd)
		return errReused
	}
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}

	e.slots = grow(e.slots, fd)
	e.set(fd, slot)
	return nil
}

func (e *epoll) del(fd int, old, mask Mask) {
	slot := e.slots[fd]
	if slot.mask = old &^ mask; slot.mask == None {
		_ = epollCtl(e.fd, unix.EPOLL_CTL_DEL, fd, slot) // a closed descriptor is gone already
		e.drop(fd)
		return
	}
	_ = epollCtl(e.fd, unix.EPOLL_CTL_MOD, fd, slot)
	e.set(fd, slot)
}

// set replaces the slot of fd, and keeps count of what may sleep.
func (e *epoll) set(fd int, slot epollSlot) {
	e.sleepy += sleepers(slot) - sleepers(e.slots[fd])
	e.slots[fd] = slot
}

func sleepers(slot epollSlot) int {
	if slot.sleepy {
		return 1
	}
	return 0
}

// drop forgets what is registered for fd. The generation stays.
func (e *epoll) drop(fd int) {
	e.set(fd, epollSlot{gen: e.slots[fd].gen})
	if len(e.lost) > 0 {
		e.lost = slices.DeleteFunc(e.lost, func(l int) bool { return l == fd })
	}
}

// maySleep reports whether the poll operation of fd's file may have to wait for
// somebody, as that of a file on FUSE waits for its daemon. Sockets and pipes are
// known not to; most calls see a socket, which is the cheapest to recognize:
// getsockopt(2) never waits, whatever the descriptor.
func maySleep(fd int) bool {
	var value int32
	size := uint32(unsafe.Sizeof(value))
	_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_TYPE,
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 {
		return false
	}
	st, err := statPollable(fd)
	if err != nil {
		return true // a regular file that can be polled is one on FUSE
	}
	kind := st.Mode & unix.S_IFMT
	return kind != unix.S_IFIFO && kind != unix.S_IFSOCK
}

// epollCtl is epoll_ctl(2). The kernel asks the file's poll operation when it
// adds or modifies.
func epollCtl(epfd, op, fd int, slot epollSlot) error {
	ev := unix.EpollEvent{Fd: int32(fd), Pad: int32(slot.gen)}
	if slot.mask&Readable != 0 {
		ev.Events |= unix.EPOLLIN
	}
	if slot.mask&Writable != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	if !slot.sleepy {
		return unix.EpollCtl(epfd, op, fd, &ev) // raw
	}
	_, _, errno := unix.Syscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
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

	n, stale := 0, false
	for i := range e.events[:ready] {
		ev := &e.events[i]
		mask := None
		if ev.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			mask |= Readable
		}
		if ev.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			mask |= Writable
		}
		slot := e.slots[ev.Fd]
		if mask &= slot.mask; mask == None || slot.gen != uint32(ev.Pad) {
			stale = true
			continue
		}
		fired[n] = firedEvent{fd: ev.Fd, mask: mask}
		n++
	}
	if stale && !e.rebuild() && n == 0 && d != 0 {
		pause := stalePause
		if d > 0 {
			pause = min(pause, d)
		}
		_, _ = unix.Poll(nil, millis(pause)) // time.Sleep may want a descriptor, for Go's own poller
	}
	for _, fd := range e.lost {
		if n == len(fired) {
			break
		}
		fired[n] = firedEvent{fd: int32(fd), mask: lost}
		n++
	}
	return n, nil
}

// look is a poll that does not wait. It is called raw, which saves telling the Go
// scheduler about it twice, if it cannot sleep in the kernel either: a goroutine
// that sleeps unannounced stops the garbage collector for the whole process.
func (e *epoll) look() (int, error) {
	if e.sleepy > 0 {
		return unix.EpollWait(e.fd, e.events, 0)
	}
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

// stalePause bounds how often a loop looks that cannot get rid of a stale file.
const stalePause = 10 * time.Millisecond

// rebuild moves every registration to a new epoll instance. It is the only way
// to get rid of a stale file: one that was closed before del, and that somebody
// else still holds open, can no longer be named, but would be reported for ever.
// It returns false if there is no descriptor or memory for that now.
func (e *epoll) rebuild() bool {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	for fd, slot := range e.slots {
		if slot.mask == None {
			continue
		}
		// Does the number still name what was registered? It may be another
		// file's by now, even one that cannot be watched.
		err := epollCtl(e.fd, unix.EPOLL_CTL_MOD, fd, slot)
		switch err {
		case nil:
			err = epollCtl(epfd, unix.EPOLL_CTL_ADD, fd, slot)
		case unix.ENOENT, unix.EBADF, unix.EPERM, unix.EINVAL:
			if !slices.Contains(e.lost, fd) {
				e.lost = append(e.lost, fd)
			}
			err = nil
		}
		if err != nil {
			unix.Close(epfd)
			return false
		}
	}
	unix.Close(e.fd)
	e.fd = epfd
	return true
}

func (e *epoll) close() error { return unix.Close(e.fd) }
