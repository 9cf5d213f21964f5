//go:build unix && !linux

package anet

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Here the ordinary calls of packages syscall and unix do. sys_linux.go has the
// same functions without their cost.

func read(fd int, p []byte) (int, syscall.Errno)  { return plainRead(fd, p) }
func write(fd int, p []byte) (int, syscall.Errno) { return plainWrite(fd, p) }

// maxIovec is the IOV_MAX that POSIX grants everywhere.
const maxIovec = 16

// writevSome writes the first buffers of bufs. It returns how many bytes it
// wrote of the size it tried, and how many buffers it used. sendmsg is the
// vectored write that every system has, and is for sockets: what is none gets
// one buffer at a time.
func writevSome(fd int, bufs [][]byte) (n, size, used int, err error) {
	used = min(len(bufs), maxIovec)
	for _, p := range bufs[:used] {
		size += len(p)
	}
	if size == 0 {
		return 0, 0, used, nil
	}
	for {
		n, err = unix.SendmsgBuffers(fd, bufs[:used], nil, nil, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.ENOTSOCK {
		n, err = Write(fd, bufs[0])
		return n, len(bufs[0]), 1, err
	}
	return max(n, 0), size, used, err
}

func recvDatagram(fd int, p []byte) (n int, from netip.AddrPort, truncated bool, errno syscall.Errno) {
	for {
		n, _, flags, from, err := syscall.Recvmsg(fd, p, nil, 0)
		if err == nil {
			return n, fromSockaddr(from), flags&unix.MSG_TRUNC != 0, 0
		}
		if err != syscall.EINTR {
			return 0, netip.AddrPort{}, false, asErrno(err)
		}
	}
}

func sendDatagram(fd int, p []byte, to netip.AddrPort) error {
	sa, err := toSockaddr(fd, to)
	if err != nil {
		return err
	}
	for {
		if _, err := syscall.SendmsgN(fd, p, nil, sa, 0); err != syscall.EINTR {
			return err
		}
	}
}

// toSockaddr returns addr as package syscall wants it, or nil for the zero
// AddrPort. Not every system lets an IPv6 socket send to an AF_INET address, so
// there it is mapped into IPv6.
func toSockaddr(fd int, addr netip.AddrPort) (syscall.Sockaddr, error) {
	ip := addr.Addr().Unmap()
	if !ip.IsValid() {
		return nil, nil
	}
	if ip.Is4() {
		local, err := syscall.Getsockname(fd)
		if err != nil {
			return nil, err
		}
		if _, is6 := local.(*syscall.SockaddrInet6); !is6 {
			return &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}, nil
		}
	}
	zone, err := zoneIndex(ip.Zone())
	return &syscall.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16(), ZoneId: zone}, err
}

// FIONREAD of <sys/filio.h>, the same everywhere.
const fionread = 0x4004667f

var errUnsent = fmt.Errorf("unsent bytes: %w", errors.ErrUnsupported)

func unsent(fd int) (int, error) {
	switch runtime.GOOS {
	case "darwin", "ios":
		const soNWrite = 0x1024
		return unix.GetsockoptInt(fd, unix.SOL_SOCKET, soNWrite)
	case "freebsd":
		return ioctlInt(fd, 0x40046677) // FIONWRITE
	case "netbsd":
		return ioctlInt(fd, 0x40046679) // FIONWRITE
	}
	return 0, errUnsent
}

func ioctlInt(fd int, req uint32) (int, error) { return getInt(unix.IoctlGetInt, fd, req) }

// getInt calls ioctl, whose request is not of the same type everywhere. The
// kernel writes an int of C to where a Go int begins.
func getInt[R int | uint](ioctl func(fd int, req R) (int, error), fd int, req uint32) (int, error) {
	n, err := ioctl(fd, R(req))
	if err != nil {
		return 0, err
	}
	return int(*(*int32)(unsafe.Pointer(&n))), nil
}

// pendingErrors is empty: only Linux hands the network errors of a new
// connection to accept.
var pendingErrors []syscall.Errno

func localAddr(fd int) (netip.AddrPort, syscall.Errno) {
	sa, err := syscall.Getsockname(fd)
	return fromSockaddr(sa), asErrno(err)
}

func peerAddr(fd int) (netip.AddrPort, syscall.Errno) {
	sa, err := syscall.Getpeername(fd)
	return fromSockaddr(sa), asErrno(err)
}

func localName(fd int) (name string, ok bool) { return nameOf(unix.Getsockname(fd)) }
func peerName(fd int) (name string, ok bool)  { return nameOf(unix.Getpeername(fd)) }

// nameOf returns the name of a Unix socket: there are no abstract ones here.
func nameOf(sa unix.Sockaddr, err error) (name string, ok bool) {
	if sa, ok := sa.(*unix.SockaddrUnix); ok && err == nil {
		return sa.Name, true
	}
	return "", false
}

// fromSockaddr turns an address of package syscall into an AddrPort: the zero
// one if it is no IP address.
func fromSockaddr(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(from16(sa.Addr, sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
