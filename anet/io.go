package anet

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read reads up to len(p) bytes from fd with one system call. It returns io.EOF
// at the end, ErrWouldBlock if there is nothing for now, and otherwise the bare
// errno. An empty p reads nothing and returns 0, nil. EINTR is retried, and
// nothing is allocated.
//
// It is for streams: sockets, pipes, terminals, eventfds. Use RecvFrom for
// datagrams: Read cannot tell an empty one from the end.
//
// The descriptor must be non-blocking, as all of this package's are; Read does
// not ask. On one that is not, Read waits as read(2) does, and the loop with
// it, but no other goroutine. (A socket on Linux never waits, whatever its
// flags: MSG_DONTWAIT. What is no socket costs one more call there, which says
// so. For a pipe, unix.Read is one call.)
func Read(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := read(fd, p)
	if errno != 0 {
		return 0, errno
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write writes the bytes of p to fd with one system call, and returns how many
// it wrote: possibly fewer than len(p), with a nil error. Keep the rest and
// wait until the loop reports fd writable. If nothing could be written the
// error is ErrWouldBlock, or the bare errno; EPIPE says that the other side is
// gone, and no SIGPIPE ends the program. An empty p writes nothing and returns
// 0, nil. EINTR is retried, and nothing is allocated.
//
// As for Read, the descriptor must be non-blocking.
func Write(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := write(fd, p)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// Close closes fd: take it off the loop first. It is never retried: after an
// error, EINTR too, the number is free already and may be somebody else's.
// (FreeBSD reports ECONNRESET when the peer had reset the connection; the
// descriptor is gone all the same.) The error is a bare errno. (close(2))
//
// Close of a TCP socket that still has unread input, or gets some afterwards,
// sends a reset, and a reset destroys what was written and has not reached the
// peer's program yet. (Of 4 MiB written to a peer that was still sending, 113
// KB arrived.) To lose nothing: write all, CloseWrite, read and drop until the
// end or a limit of time and of bytes, and then Close. Unix sockets drop what
// is unread, and give the peer what was written, and then ECONNRESET or the
// end.
func Close(fd int) error {
	return unix.Close(fd)
}

// CloseWrite ends the outgoing half of a stream socket: the other side reads
// what was written, and then the end. It waits for nothing, and what was
// written is not lost unless Close comes before the input has been read: see
// there. Reading goes on. The error is a bare errno. (shutdown(2))
func CloseWrite(fd int) error {
	return unix.Shutdown(fd, unix.SHUT_WR)
}

// plainRead is read(2) by way of package syscall, whose hand-shake with the
// scheduler lets it wait without harm.
func plainRead(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return max(n, 0), asErrno(err)
		}
	}
}

// plainWrite is write(2) by way of package syscall.
func plainWrite(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, err := syscall.Write(fd, p)
		if err != syscall.EINTR {
			return max(n, 0), asErrno(err)
		}
	}
}
