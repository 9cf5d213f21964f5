package anet

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dup marks the new descriptor under the fork lock: see socket_forklock.go.
func dup(fd int) (int, error) {
	syscall.ForkLock.RLock()
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 0)
	if err == nil {
		unix.CloseOnExec(nfd)
	}
	syscall.ForkLock.RUnlock()

	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}

	return nfd, nil
}
