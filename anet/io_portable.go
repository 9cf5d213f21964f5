//go:build unix && (!linux || 386 || s390x)

package anet

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Here every read and write goes the plain way, after a look at O_NONBLOCK. MSG_DONTWAIT would save that look, but is
// not honoured for sends on every one of these systems, and AIX has none.

const (
	errNotRaw = unix.ENOTSOCK

	// pipeBuf is what a write can take when poll reports the descriptor writable: POSIX grants 512 bytes on a pipe,
	// and a stream socket is not writable with less room than its low-water mark, which is more than that.
	pipeBuf = 512
)

func recv(fd int, p []byte) (int, syscall.Errno) { return 0, errNotRaw }
func send(fd int, p []byte) (int, syscall.Errno) { return 0, errNotRaw }

// statusNonblock asks for O_NONBLOCK.
func statusNonblock(fd int) (bool, syscall.Errno) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return flags&unix.O_NONBLOCK != 0, asErrno(err)
}
