//go:build unix && (!linux || 386 || s390x)

package anet

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

func recvFrom(fd int, p []byte) (int, netip.AddrPort, bool, syscall.Errno) {
	if err := readyToRead(fd); err != nil {
		return 0, netip.AddrPort{}, false, asErrno(err)
	}

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

func sendTo(fd int, p []byte, to netip.AddrPort) error {
	// A datagram cannot go in part, so on a blocking socket it is poll's word alone that it does not wait.
	if _, err := writable(fd, len(p)); err != nil {
		return err
	}

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

// toSockaddr returns addr as package syscall wants it, or nil for the zero AddrPort. Not every system lets an IPv6
// socket send to an AF_INET address, so there it is mapped into IPv6.
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
