//go:build unix && !solaris && !aix

package anet

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockDir keeps other callers of lockDir away from a directory until unlock is
// called. It waits for them a second at most, since a server takes far less,
// and anybody may hold a lock for ever. A directory that cannot be opened or
// locked, for want of a permission or of locks in its file system, is not
// locked; want of descriptors is an error.
func lockDir(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return nil, os.NewSyscallError("open", err)
	default:
		return func() {}, nil
	}

	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return func() { Close(fd) }, nil
		}
		if time.Now().After(deadline) {
			Close(fd)
			return nil, os.NewSyscallError("flock", err)
		}
	}
}
