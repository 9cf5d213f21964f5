package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// SetNonblock sets or clears O_NONBLOCK. The flag belongs to the open file description, so every dup of fd and every
// process that inherited it sees the change.
func SetNonblock(fd int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}

	want := flags &^ unix.O_NONBLOCK
	if on {
		want = flags | unix.O_NONBLOCK
	}
	if want == flags {
		return nil
	}

	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, want)
	return os.NewSyscallError("fcntl", err)
}

// Nonblock says whether O_NONBLOCK is set.
func Nonblock(fd int) (bool, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return flags&unix.O_NONBLOCK != 0, os.NewSyscallError("fcntl", err)
}

// SetCloseOnExec sets or clears FD_CLOEXEC. The flag belongs to the descriptor alone, not to its dups.
func SetCloseOnExec(fd int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}

	want := flags &^ unix.FD_CLOEXEC
	if on {
		want = flags | unix.FD_CLOEXEC
	}
	if want == flags {
		return nil
	}

	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, want)
	return os.NewSyscallError("fcntl", err)
}

// CloseOnExec says whether FD_CLOEXEC is set.
func CloseOnExec(fd int) (bool, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return flags&unix.FD_CLOEXEC != 0, os.NewSyscallError("fcntl", err)
}
