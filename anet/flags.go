package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// SetNonblock sets or clears O_NONBLOCK. The flag belongs to the open file
// description, so every dup of fd and every process that inherited it sees the
// change: the shell too, if fd is its terminal. (anetNonBlock, anetBlock)
func SetNonblock(fd int, on bool) error {
	return setFlag(fd, unix.F_GETFL, unix.F_SETFL, unix.O_NONBLOCK, on)
}

// Nonblock reports whether O_NONBLOCK is set.
func Nonblock(fd int) (bool, error) { return hasFlag(fd, unix.F_GETFL, unix.O_NONBLOCK) }

// SetCloseOnExec sets or clears FD_CLOEXEC. The flag belongs to the descriptor
// alone, not to its dups. (anetCloexec)
func SetCloseOnExec(fd int, on bool) error {
	return setFlag(fd, unix.F_GETFD, unix.F_SETFD, unix.FD_CLOEXEC, on)
}

// CloseOnExec reports whether FD_CLOEXEC is set.
func CloseOnExec(fd int) (bool, error) { return hasFlag(fd, unix.F_GETFD, unix.FD_CLOEXEC) }

func setFlag(fd, get, set, flag int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), get, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	want := flags &^ flag
	if on {
		want = flags | flag
	}
	if want == flags {
		return nil
	}
	_, err = unix.FcntlInt(uintptr(fd), set, want)
	return os.NewSyscallError("fcntl", err)
}

func hasFlag(fd, get, flag int) (bool, error) {
	flags, err := unix.FcntlInt(uintptr(fd), get, 0)
	return err == nil && flags&flag != 0, os.NewSyscallError("fcntl", err)
}
