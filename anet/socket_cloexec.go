//go:build unix && !darwin && !aix

package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// socket makes a socket that is non-blocking and close-on-exec from birth.
func socket(family, sotype, proto int) (int, error) {
	fd, err := unix.Socket(family, sotype|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}

	return fd, nil
}

// socketPair makes two connected Unix stream sockets that are non-blocking and close-on-exec from birth.
func socketPair() ([2]int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return fds, os.NewSyscallError("socketpair", err)
}

// pipe makes a pipe with both ends non-blocking and close-on-exec from birth.
func pipe() ([2]int, error) {
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	return fds, os.NewSyscallError("pipe2", err)
}
