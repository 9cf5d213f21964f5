//go:build linux && !386 && !s390x

package anet

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw system calls save the hand-shake with the scheduler, but one that waits stops the garbage collector of the whole
// process. MSG_DONTWAIT keeps these from waiting whatever the descriptor's flags say, and works on sockets only: for
// anything else they return errNotRaw and touch nothing. (linux/386 and linux/s390x go without: their old kernels know
// these calls only through socketcall.)

const (
	errNotRaw = unix.ENOTSOCK

	// pipeBuf is what a write to a pipe that poll reports writable can take: pipe(7), PIPE_BUF.
	pipeBuf = 4096
)

func recv(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			raceReceived(fd, p[:n])
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func send(fd int, p []byte) (int, syscall.Errno) {
	raceSending(p)

	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// statusNonblock asks for O_NONBLOCK. The call never waits.
func statusNonblock(fd int) (bool, syscall.Errno) {
	flags, _, errno := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0)
	return flags&unix.O_NONBLOCK != 0, errno
}
