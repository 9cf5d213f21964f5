package anet

import (
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// RecvFrom receives one datagram from the UDP socket fd into p, and returns its
// length and sender; an empty datagram is 0 with a nil error. One that is
// longer than p is cut off: n is len(p) and the error io.ErrShortBuffer.
// ErrWouldBlock says that there is none for now. Any other error is a bare
// errno; on a connected socket ECONNREFUSED tells of an earlier SendTo that
// nobody received.
//
// The socket must be non-blocking, as for Read. EINTR is retried, and nothing
// is allocated on Linux.
func RecvFrom(fd int, p []byte) (n int, from netip.AddrPort, err error) {
	n, from, truncated, errno := recvDatagram(fd, p)
	if errno != 0 {
		return 0, netip.AddrPort{}, errno
	}
	if truncated {
		return n, from, io.ErrShortBuffer
	}
	return n, from, nil
}

// SendTo sends p, even an empty one, as one datagram from the UDP socket fd to
// the address to; on a connected socket, to the zero AddrPort means to its
// peer. A datagram goes whole or not at all: EMSGSIZE says that it is too long.
// An IPv6 socket that serves both families takes IPv4 addresses as they are.
//
// The socket must be non-blocking, as for Write. EINTR is retried, and nothing
// is allocated on Linux.
func SendTo(fd int, p []byte, to netip.AddrPort) error {
	if !to.Addr().IsValid() && to.Port() != 0 {
		return unix.EINVAL
	}
	return sendDatagram(fd, p, to)
}
