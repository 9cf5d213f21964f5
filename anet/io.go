package anet

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read reads up to len(p) bytes from fd. It returns io.EOF at the end, ErrWouldBlock if there is nothing for now, and
// otherwise the bare errno. An empty p reads nothing and returns 0, nil.
//
// Read is for streams: sockets, pipes, terminals, eventfds. (Use RecvFrom for datagrams: Read cannot tell an empty one
// from the end.) It never waits, whatever the descriptor's flags say, allocates nothing, and retries EINTR. On a
// blocking descriptor that is no socket it asks poll first; should another process read the same pipe in between, the
// call waits as an ordinary system call would, without harm to other goroutines.
func Read(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}

	n, errno := recv(fd, p)
	if errno == errNotRaw {
		if err := readyToRead(fd); err != nil {
			return 0, err
		}
		n, errno = plainRead(fd, p)
	}

	if errno != 0 {
		return 0, errno
	}
	if n == 0 {
		return 0, io.EOF
	}

	return n, nil
}

// Write writes the bytes of p to fd, and returns how many it wrote: possibly fewer than len(p), with a nil error. Keep
// the rest and wait until the loop reports fd writable. If nothing could be written the error is ErrWouldBlock, or the
// bare errno; EPIPE says that the other side is gone, and no SIGPIPE ends the program.
//
// Write never waits, whatever the descriptor's flags say, allocates nothing, and retries EINTR. To a blocking
// descriptor that is no socket it writes no more at a time than poll vouches for: PIPE_BUF bytes to a pipe, one byte to a
// terminal. (Of a blocking eventfd poll only says that it can take a 1: a larger number may wait.)
func Write(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}

	n, errno := send(fd, p)
	if errno == errNotRaw {
		size, err := writable(fd, len(p))
		if err != nil {
			return 0, err
		}
		n, errno = plainWrite(fd, p[:size])
	}

	if errno != 0 {
		return 0, errno
	}

	return n, nil
}

// Close closes fd. It is never retried: on EINTR the number is free on Linux already, and may be somebody else's.
// Take a descriptor off the loop before closing it.
func Close(fd int) error {
	return unix.Close(fd)
}

// CloseWrite ends the outgoing half of a stream socket: the other side reads what was written, and then the end. Reading
// goes on. The error is a bare errno.
func CloseWrite(fd int) error {
	return unix.Shutdown(fd, unix.SHUT_WR)
}

// plainRead is read(2) by way of package syscall, whose hand-shake with the scheduler lets it wait without harm.
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
