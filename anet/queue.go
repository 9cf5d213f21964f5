package anet

// Unread returns how many bytes of input wait in fd, a socket or a pipe: what
// Read would return without waiting, if the buffer is large enough. 0 says that
// there is nothing for now, or nothing ever again. Of a UDP socket on Linux it
// is the size of the next datagram.
//
// The error is a bare errno: EINVAL for a TCP listener on Linux, ENOTTY for
// what has no such number. Nothing is allocated on Linux. (FIONREAD)
func Unread(fd int) (int, error) { return ioctlInt(fd, fionread) }

// Unsent returns how many bytes that were written to the socket fd have not
// reached the other side's system: for TCP, those that it has not acknowledged,
// so that 0 after CloseWrite means that it has all and knows the end. A number
// that gets smaller shows that a slow peer is alive. For a Unix socket it is
// what the peer has not read, on Linux with the memory that this takes besides.
//
// Linux, macOS, FreeBSD, NetBSD; errors.ErrUnsupported elsewhere, and otherwise
// a bare errno. Nothing is allocated on Linux. (SIOCOUTQ, SO_NWRITE, FIONWRITE)
func Unsent(fd int) (int, error) { return unsent(fd) }
