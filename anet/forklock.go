//go:build darwin || aix

package anet

import (
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// These systems make no descriptor close-on-exec at birth (macOS could for dup
// alone). The fork lock keeps os/exec from starting a child between the call
// that makes a descriptor and the one that marks it.

func socket(family, sotype, proto int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, sotype, proto)
	return fd, mark("socket", true, err, fd)
}

func socketPair() ([2]int, error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	return fds, mark("socketpair", true, err, fds[:]...)
}

func pipe() ([2]int, error) {
	var fds [2]int
	syscall.ForkLock.RLock()
	err := unix.Pipe(fds[:])
	return fds, mark("pipe", true, err, fds[:]...)
}

func dup(fd int) (int, error) {
	syscall.ForkLock.RLock()
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 0)
	return nfd, mark("fcntl", false, err, nfd)
}

// accept holds the fork lock while it accepts. The listener is non-blocking, or
// a fork would wait with it.
func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	syscall.ForkLock.RLock()
	nfd, sa, err := syscall.Accept(fd)
	if err == nil {
		syscall.CloseOnExec(nfd)
	}
	syscall.ForkLock.RUnlock()

	if err == nil {
		if err = syscall.SetNonblock(nfd, true); err != nil {
			Close(nfd)
		}
	}
	if err != nil {
		return -1, netip.AddrPort{}, asErrno(err)
	}
	return nfd, fromSockaddr(sa), 0
}

// mark marks the descriptors that the call named made, unless it failed with
// err. It is called with the fork lock held for reading, and releases it.
func mark(call string, nonblock bool, err error, fds ...int) error {
	if err == nil {
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
	}
	syscall.ForkLock.RUnlock()
	if err != nil || !nonblock {
		return os.NewSyscallError(call, err)
	}

	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			for _, fd := range fds {
				Close(fd)
			}
			return os.NewSyscallError("setnonblock", err)
		}
	}
	return nil
}
