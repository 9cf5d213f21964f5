//go:build linux && !386 && !s390x

package anet

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovec is how many buffers go into one system call: few enough for the stack, and enough to make the call's own cost
// small. The system's limit is 1024 (IOV_MAX).
const maxIovec = 64

// writevSome writes the first buffers of bufs. It returns how many bytes it wrote of the size it tried, and how many
// buffers it used.
func writevSome(fd int, bufs [][]byte) (n, size, used int, err error) {
	var iov [maxIovec]unix.Iovec
	count := 0

	for ; used < len(bufs) && count < maxIovec; used++ {
		if p := bufs[used]; len(p) > 0 {
			iov[count].Base = unsafe.SliceData(p)
			iov[count].SetLen(len(p))
			count++
			size += len(p)
			raceSending(p)
		}
	}
	if count == 0 {
		return 0, 0, used, nil
	}

	n, errno := sendv(fd, iov[:count])
	if errno == errNotRaw {
		n, errno = plainWritev(fd, iov[:count], size)
	}
	runtime.KeepAlive(bufs)

	if errno != 0 {
		return 0, size, used, errno
	}

	return n, size, used, nil
}

// sendv sends to a socket. As a raw call it must not wait: see io_raw.go.
func sendv(fd int, iov []unix.Iovec) (int, syscall.Errno) {
	var msg unix.Msghdr
	msg.Iov = unsafe.SliceData(iov)
	msg.SetIovlen(len(iov))

	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// plainWritev writes to what is no socket: all of size if it is non-blocking, and else no more than poll vouches for.
func plainWritev(fd int, iov []unix.Iovec, size int) (int, syscall.Errno) {
	size, err := writable(fd, size)
	if err != nil {
		return 0, asErrno(err)
	}
	iov = cut(iov, size)

	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))),
			uintptr(len(iov)))
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// cut shortens iov to size bytes, of which it has at least that many.
func cut(iov []unix.Iovec, size int) []unix.Iovec {
	for i := range iov {
		if size <= int(iov[i].Len) {
			iov[i].SetLen(size)
			return iov[:i+1]
		}
		size -= int(iov[i].Len)
	}

	return iov
}
