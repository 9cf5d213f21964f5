//go:build linux && !386 && !s390x

package anet

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localAddr and peerAddr read the address into the stack: package unix would allocate it.

func localAddr(fd int) (netip.AddrPort, syscall.Errno) { return sockAddr(unix.SYS_GETSOCKNAME, fd) }
func peerAddr(fd int) (netip.AddrPort, syscall.Errno)  { return sockAddr(unix.SYS_GETPEERNAME, fd) }

func sockAddr(trap uintptr, fd int) (netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)

	_, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}, errno
	}

	return fromRaw(&sa), 0
}

// fromRaw turns a kernel address into an AddrPort: the zero one if it is no IP address.
func fromRaw(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swapPort(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(from16(in.Addr, in.Scope_id), swapPort(in.Port))
	}

	return netip.AddrPort{}
}

// swapPort turns a port into network byte order, and back, on machines of either order.
func swapPort(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
