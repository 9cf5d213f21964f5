//go:build unix && (!linux || 386 || s390x)

package anet

import (
	"net/netip"
	"syscall"
)

func localAddr(fd int) (netip.AddrPort, syscall.Errno) {
	sa, err := syscall.Getsockname(fd)
	return fromSockaddr(sa), asErrno(err)
}

func peerAddr(fd int) (netip.AddrPort, syscall.Errno) {
	sa, err := syscall.Getpeername(fd)
	return fromSockaddr(sa), asErrno(err)
}

// fromSockaddr turns an address of package syscall into an AddrPort: the zero one if it is no IP address.
func fromSockaddr(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(from16(sa.Addr, sa.ZoneId), uint16(sa.Port))
	}

	return netip.AddrPort{}
}
