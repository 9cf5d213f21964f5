//go:build linux && !386 && !s390x

package anet

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// accept is accept4 without package syscall's allocation for the address. It is not a raw system call: nothing can
// promise that another process does not make a shared listener blocking meanwhile, and a raw call that blocks stops
// the garbage collector.
func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)

	nfd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}

	return int(nfd), fromRaw(&sa), 0
}
