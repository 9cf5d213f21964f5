//go:build linux && !386 && !s390x

package anet

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvFrom uses recvmsg for its MSG_TRUNC in the answer. Raw calls must not wait: see io_raw.go.
func recvFrom(fd int, p []byte) (int, netip.AddrPort, bool, syscall.Errno) {
	var sa unix.RawSockaddrAny
	var iov unix.Iovec
	iov.Base = unsafe.SliceData(p)
	iov.SetLen(len(p))

	var msg unix.Msghdr
	msg.Name = (*byte)(unsafe.Pointer(&sa))
	msg.Namelen = unix.SizeofSockaddrAny
	msg.Iov = &iov
	msg.SetIovlen(1)

	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT)
		if errno == 0 {
			raceReceived(fd, p[:n])
			return int(n), fromRaw(&sa), msg.Flags&unix.MSG_TRUNC != 0, 0
		}
		if errno != unix.EINTR {
			return 0, netip.AddrPort{}, false, errno
		}
	}
}

func sendTo(fd int, p []byte, to netip.AddrPort) error {
	var sa unix.RawSockaddrAny
	size, err := toRaw(&sa, to)
	if err != nil {
		return err
	}

	name := &sa
	if size == 0 {
		name = nil // to the peer of a connected socket
	}
	raceSending(p)

	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(name)), size)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// toRaw writes addr in the kernel's form, and returns its size: 0 for the zero AddrPort.
func toRaw(sa *unix.RawSockaddrAny, addr netip.AddrPort) (uintptr, error) {
	ip := addr.Addr().Unmap()

	switch {
	case ip.Is4():
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swapPort(addr.Port()), Addr: ip.As4()}
		return unix.SizeofSockaddrInet4, nil

	case ip.Is6():
		zone, err := zoneIndex(ip.Zone())
		if err != nil {
			return 0, err
		}
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swapPort(addr.Port()), Addr: ip.As16(), Scope_id: zone}
		return unix.SizeofSockaddrInet6, nil
	}

	return 0, nil
}
