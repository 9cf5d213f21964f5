package anet

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Accept takes one connection from the listener fd, with one system call where
// the system has accept4 (not macOS, not AIX), and retries EINTR. The new
// descriptor is non-blocking and close-on-exec from birth, and the caller's to
// close. peer is the other side's address, or the zero AddrPort for a Unix
// socket. Accept allocates nothing on Linux.
//
// The listener must be non-blocking, as those of Listen and Inherited are: on
// one that is not, the call waits for a connection, and on macOS and AIX every
// start of a child process waits with it.
//
// A server needs to tell four errors apart, all with errors.Is:
//
//   - ErrWouldBlock: no more for now; wait for the next event.
//   - ErrAborted: this connection failed and is gone; call Accept again.
//   - ErrExhausted: this connection cannot be taken and waits, for want of
//     descriptors or memory or because a rule forbids it; pause the listener for
//     a while.
//   - any other: the descriptor is no listener; stop.
//
// (anetTcpAccept, anetUnixAccept; accept(2))
func Accept(fd int) (nfd int, peer netip.AddrPort, err error) {
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
