//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !ae_select

package ae

import (
	"math"
	"os"
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
	events []unix.Kevent_t
	at     []int32 // by descriptor: where fired has it, while poll fills fired

	// broken lists pipes without a reader that are watched for Writable. Some
	// systems refuse the filter then, and would never report what epoll reports:
	// that the next write fails.
	broken []int
}

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
	pipe, err := watchable(fd)
	if err != nil {
		return os.NewSyscallError("kevent", err)
	}
	if mask&Readable != 0 {
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
			k.del(fd, mask, mask&Readable&^old)
			return os.NewSyscallError("kevent", err)
		}
	}

	if fd >= len(k.at) {
		at := make([]int32, max(fd+1, 2*len(k.at), minTable))
		copy(at, k.at)
		k.at = at
	}
	return nil
}

// watchable returns why fd cannot be watched, and whether it is a pipe. What
// kqueue says of regular files and directories differs between systems; the
// other backends refuse them.
func watchable(fd int) (pipe bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return false, unix.EPERM
	case unix.S_IFIFO:
		return true, nil
	}
	return false, nil
}

// del asks for one filter in each call: of several in one call, the first that
// fails would keep the rest from being deleted. That the filter, or the
// descriptor, is gone already (ENOENT, EBADF) is what was wanted.
func (k *kqueue) del(fd int, old, mask Mask) {
	if mask&Readable != 0 {
		k.change(fd, unix.EVFILT_READ, unix.EV_DELETE)
	}
	if mask&Writable != 0 {
		k.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
		k.mend(fd)
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
	k.broken = slices.DeleteFunc(k.broken, func(fd int) bool {
		pipe, err := watchable(fd)
		return err != nil || !pipe || k.change(fd, unix.EVFILT_WRITE, unix.EV_ADD) == nil
	})
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
		if mask := maskOf(ev); mask != None {
			n = k.report(fired, n, int(ev.Ident), mask)
		}
	}
	for _, fd := range k.broken {
		n = k.report(fired, n, fd, Writable)
	}
	return n, nil
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
	if i := int(k.at[fd]); i < n && int(fired[i].fd) == fd {
		fired[i].mask |= mask
		return n
	}
	if n == len(fired) {
		return n
	}
	k.at[fd] = int32(n)
	fired[n] = firedEvent{fd: int32(fd), mask: mask}
	return n + 1
}

func (k *kqueue) close() error { return unix.Close(k.fd) }
