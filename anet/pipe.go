package anet

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Pipe makes a pipe: what is written to w is read from r. Both ends are
// non-blocking and close-on-exec, and the caller's to close.
func Pipe() (r, w int, err error) {
	return PipeFlags(unix.O_NONBLOCK|unix.O_CLOEXEC, unix.O_NONBLOCK|unix.O_CLOEXEC)
}

// PipeFlags makes a pipe whose ends have the given flags, each any of
// unix.O_NONBLOCK and unix.O_CLOEXEC. An end for a child process, say, wants
// neither. Other flags are EINVAL. (anetPipe)
func PipeFlags(rflags, wflags int) (r, w int, err error) {
	if (rflags|wflags)&^(unix.O_NONBLOCK|unix.O_CLOEXEC) != 0 {
		return -1, -1, os.NewSyscallError("pipe", unix.EINVAL)
	}
	fds, err := pipe()
	if err != nil {
		return -1, -1, err
	}

	// Both ends are born with both flags, so that a child started meanwhile
	// inherits neither.
	for i, flags := range [2]int{rflags, wflags} {
		if err := clearFlags(fds[i], flags); err != nil {
			Close(fds[0])
			Close(fds[1])
			return -1, -1, err
		}
	}
	return fds[0], fds[1], nil
}

// clearFlags takes from fd, which has both flags, those that are not in flags.
func clearFlags(fd, flags int) error {
	if flags&unix.O_NONBLOCK == 0 {
		if err := SetNonblock(fd, false); err != nil {
			return err
		}
	}
	if flags&unix.O_CLOEXEC == 0 {
		return SetCloseOnExec(fd, false)
	}
	return nil
}

// SocketPair makes two connected Unix stream sockets, non-blocking and
// close-on-exec, both the caller's to close. (socketpair(2))
func SocketPair() (a, b int, err error) {
	fds, err := socketPair()
	if err != nil {
		return -1, -1, err
	}
	return fds[0], fds[1], nil
}

// IsFIFO reports whether path is a FIFO (named pipe). Symbolic links are
// followed. (anetIsFifo)
func IsFIFO(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode()&fs.ModeNamedPipe != 0, nil
}
