package anet

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// readyToRead returns nil if a read or an accept on fd will not wait: because fd is non-blocking, or because poll
// says so. Otherwise it returns ErrWouldBlock, or what is wrong with fd.
func readyToRead(fd int) error {
	nonblocking, errno := statusNonblock(fd)
	if errno != 0 {
		return errno
	}
	if nonblocking {
		return nil
	}

	return pollNow(unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// writable returns how many of n bytes can be written to fd without waiting: all if fd is non-blocking, and else what
// poll vouches for.
func writable(fd, n int) (int, error) {
	nonblocking, errno := statusNonblock(fd)
	if errno != 0 {
		return 0, errno
	}
	if nonblocking {
		return n, nil
	}

	if err := pollNow(unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}); err != nil {
		return 0, err
	}

	// A terminal that nobody reads is writable with hardly any room left.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return min(n, 1), nil
	}

	return min(n, pipeBuf), nil
}

// pollNow asks poll, without waiting, about one descriptor. Whatever poll reports, an error or a hang-up too, means
// that the next call on the descriptor does not wait.
func pollNow(pfd unix.PollFd) error {
	fds := [1]unix.PollFd{pfd}

	for {
		n, err := unix.Poll(fds[:], 0)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return ErrWouldBlock
		}
		return nil
	}
}
