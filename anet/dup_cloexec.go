//go:build unix && !aix

package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// dup returns another descriptor of what fd is open on, close-on-exec from birth.
func dup(fd int) (int, error) {
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}

	return nfd, nil
}
