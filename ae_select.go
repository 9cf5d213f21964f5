//go:build unix && (ae_select || !(linux || darwin || dragonfly || freebsd || netbsd || openbsd))

package ae

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	apiName = "select"

	// Neither unix.FdSet nor every libc takes a descriptor past FD_SETSIZE, so
	// the loop refuses it when it is registered.
	maxSetSize = unix.FD_SETSIZE
)

// selector watches descriptors with select(2), which every Unix has. Each poll
// costs time in proportion to the highest descriptor.
type selector struct {
	read, write unix.FdSet
	top         int // one more than the highest descriptor watched
	next        int // where the next batch begins: behind one that was cut off

	ids []fileID // by descriptor: which file was registered
}

// fileID tells files apart, as far as fstat(2) does. It is how a number that was
// closed without a del, and names another file now, is noticed. (Linux's anonymous
// files, such as eventfds, all have one identity.)
type fileID struct{ dev, ino uint64 }

var _ backend = (*selector)(nil)

func newBackend() (backend, error) { return &selector{}, nil }

func (s *selector) add(fd int, old, mask Mask) error {
	if fd >= maxSetSize {
		return ErrRange // only the loop's own pipe comes here unchecked
	}
	st, err := statPollable(fd)
	if err != nil {
		return os.NewSyscallError("select", err)
	}
	s.ids = grow(s.ids, fd)
	id := fileID{uint64(st.Dev), uint64(st.Ino)}
	if old != None && s.ids[fd] != id {
		s.del(fd, old, readWrite)
		return errReused
	}

	s.ids[fd] = id
	if mask&Readable != 0 {
		s.read.Set(fd)
	}
	if mask&Writable != 0 {
		s.write.Set(fd)
	}
	s.top = max(s.top, fd+1)
	return nil
}

func (s *selector) del(fd int, old, mask Mask) {
	if mask&Readable != 0 {
		s.read.Clear(fd)
	}
	if mask&Writable != 0 {
		s.write.Clear(fd)
	}
	for s.top > 0 && maskOf(s.top-1, &s.read, &s.write) == None {
		s.top--
	}
}

func (s *selector) poll(fired []firedEvent, d time.Duration) (int, error) {
	// The kernel writes its answer over the sets and may change the timeout.
	read, write := s.read, s.write
	var timeout *unix.Timeval
	if d >= 0 {
		tv := unix.NsecToTimeval(int64(d)) // rounds up
		timeout = &tv
	}
	ready, err := unix.Select(s.top, &read, &write, nil, timeout)
	switch err {
	case nil:
	case unix.EINTR, unix.EAGAIN:
		return 0, nil
	case unix.EBADF:
		return s.reportClosed(fired), nil
	default:
		return 0, os.NewSyscallError("select", err)
	}
	if ready == 0 {
		return 0, nil
	}
	return s.collect(fired, &read, &write), nil
}

// collect turns the sets into fired events. A batch that is full goes on at the
// next poll where it was cut off, so that low descriptors which are always ready
// cannot hide the high ones.
func (s *selector) collect(fired []firedEvent, read, write *unix.FdSet) int {
	n, start := 0, s.next
	s.next = 0
	for i := range s.top {
		fd := (start + i) % s.top
		mask := maskOf(fd, read, write)
		if mask == None {
			continue
		}
		if n == len(fired) {
			s.next = fd
			break
		}
		fired[n] = firedEvent{fd: int32(fd), mask: mask}
		n++
	}
	return n
}

func maskOf(fd int, read, write *unix.FdSet) Mask {
	mask := None
	if read.IsSet(fd) {
		mask |= Readable
	}
	if write.IsSet(fd) {
		mask |= Writable
	}
	return mask
}

// reportClosed finds the descriptors that were closed without a del: one of them
// fails every select. Each is reported as ready, so that its proc meets the error,
// and as lost.
func (s *selector) reportClosed(fired []firedEvent) int {
	n := 0
	for fd := 0; fd < s.top && n < len(fired); fd++ {
		mask := maskOf(fd, &s.read, &s.write)
		if mask == None {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF {
			s.ids[fd] = fileID{} // whatever has the number next is another file
			fired[n] = firedEvent{fd: int32(fd), mask: mask | lost}
			n++
		}
	}
	return n
}

func (s *selector) close() error { return nil }
