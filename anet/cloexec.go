//go:build unix && !darwin && !aix

package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors that are non-blocking and close-on-exec from birth. forklock.go
// has the same for systems that cannot make them so.

func socket(family, sotype, proto int) (int, error) {
	fd, err := unix.Socket(family, sotype|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	return fd, nil
}

// socketPair makes two connected Unix stream sockets.
func socketPair() ([2]int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return fds, os.NewSyscallError("socketpair", err)
}

func pipe() ([2]int, error) {
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	return fds, os.NewSyscallError("pipe2", err)
}

// dup returns another descriptor of what fd is open on, close-on-exec. Whether
// it blocks is not the descriptor's but the file's.
func dup(fd int) (int, error) {
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return nfd, nil
}
