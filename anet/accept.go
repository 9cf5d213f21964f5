package anet

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Accept takes one connection from the listener fd. The new descriptor is non-blocking and close-on-exec from birth,
// and the caller's to close. peer is the other side's address, or the zero AddrPort for a Unix socket.
//
// Accept never waits, not even on a blocking listener, and allocates nothing on Linux. EINTR is retried.
// A server needs to tell four errors apart, all with errors.Is:
//
//   - ErrWouldBlock: no more for now; wait for the next event.
//   - ErrAborted: this connection failed; call Accept again.
//   - ErrExhausted: out of descriptors or memory; pause the listener for a while.
//   - any other: the descriptor is no listener; stop.
//
// Should another process share a blocking listener, it may take the connection that this call saw waiting, and then
// the call waits for the next one as an ordinary system call would. A listener from Listen is non-blocking.
func Accept(fd int) (nfd int, peer netip.AddrPort, err error) {
	if err := readyToRead(fd); err != nil {
		return -1, netip.AddrPort{}, err
	}

	for {
		nfd, peer, errno := accept(fd)
		switch errno {
		case 0:
			return nfd, peer, nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return -1, netip.AddrPort{}, ErrWouldBlock
		}
		return -1, netip.AddrPort{}, classify(fd, errno)
	}
}

// asErrno takes the errno out of what package syscall returned.
func asErrno(err error) syscall.Errno {
	if err == nil {
		return 0
	}

	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}

	return unix.EINVAL
}
