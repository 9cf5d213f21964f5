//go:build darwin || aix

package anet

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// These systems have no flags for close-on-exec at birth. The fork lock keeps os/exec from starting a child between
// the call that makes a descriptor and the call that marks it.

func socket(family, sotype, proto int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, sotype, proto)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()

	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}

	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setnonblock", err)
	}

	return fd, nil
}

func socketPair() ([2]int, error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	return markPair("socketpair", fds, err)
}

func pipe() ([2]int, error) {
	var fds [2]int
	syscall.ForkLock.RLock()
	err := unix.Pipe(fds[:])
	return markPair("pipe", fds, err)
}

// markPair marks what the call named made. It is called with the fork lock held for reading, and releases it.
func markPair(call string, fds [2]int, err error) ([2]int, error) {
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()

	if err != nil {
		return fds, os.NewSyscallError(call, err)
	}

	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return fds, os.NewSyscallError("setnonblock", err)
		}
	}

	return fds, nil
}
