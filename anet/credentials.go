package anet

// Credentials say who is at the other end of a Unix socket, as the system
// recorded it when the connection was made.
type Credentials struct {
	PID int // process, or 0 where the system does not tell
	UID int // effective user
	GID int // effective group
}

// PeerCredentials returns the credentials of the process that connected, or
// listens, at the other end of the Unix socket fd. Linux, macOS, FreeBSD;
// without the PID on FreeBSD. The error is errors.ErrUnsupported elsewhere; a
// socket that has no such other end, a TCP socket above all, is an error too.
// (SO_PEERCRED, LOCAL_PEERCRED)
func PeerCredentials(fd int) (Credentials, error) { return peerCredentials(fd) }
