package anet

import (
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// LocalAddr returns the address that the socket fd is bound to: after Listen on port 0, the port that the system
// chose. An IPv4 address that arrives inside an IPv6 one is unmapped. The zone of a link-local address is the
// interface's index in digits. A Unix socket has the zero AddrPort: see LocalString.
//
// LocalAddr never waits, and allocates nothing on Linux. The error is a bare errno.
func LocalAddr(fd int) (netip.AddrPort, error) {
	addr, errno := localAddr(fd)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}

	return addr, nil
}

// PeerAddr returns the address that the socket fd is connected to, in the form of LocalAddr. ENOTCONN says that it is
// not connected, or no longer.
func PeerAddr(fd int) (netip.AddrPort, error) {
	addr, errno := peerAddr(fd)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}

	return addr, nil
}

// LocalString returns the address of LocalAddr as text for logs: 192.0.2.1:80, [2001:db8::1]:80, the path /run/x.sock
// of a Unix socket, its abstract name as @x, "unix" for a Unix socket without a name, and "?" for a descriptor that has
// no address.
func LocalString(fd int) string {
	sa, err := unix.Getsockname(fd)
	return addrString(sa, err)
}

// PeerString returns the address of PeerAddr in the form of LocalString. The client's end of a Unix connection
// mostly has no name.
func PeerString(fd int) string {
	sa, err := unix.Getpeername(fd)
	return addrString(sa, err)
}

func addrString(sa unix.Sockaddr, err error) string {
	if err != nil {
		return "?"
	}

	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(from16(sa.Addr, sa.ZoneId), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		if sa.Name == "" || sa.Name == "@" {
			return "unix" // x/sys/unix makes "@" of no name on Linux
		}
		return sa.Name
	}

	return "?"
}

// from16 returns the address of an IPv6 socket address: an IPv4 one if that is what it carries.
func from16(b [16]byte, zone uint32) netip.Addr {
	addr := netip.AddrFrom16(b).Unmap()
	if zone != 0 && addr.Is6() {
		return addr.WithZone(strconv.Itoa(int(zone)))
	}

	return addr
}

// sockaddr returns addr in the form that x/sys/unix wants, and the address family it belongs to.
func sockaddr(addr netip.AddrPort) (unix.Sockaddr, int, error) {
	ip := addr.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}, unix.AF_INET, nil
	}
	if !ip.IsValid() {
		return nil, 0, os.NewSyscallError("sockaddr", unix.EINVAL)
	}

	zone, err := zoneIndex(ip.Zone())
	if err != nil {
		return nil, 0, err
	}

	return &unix.SockaddrInet6{Port: int(addr.Port()), ZoneId: zone, Addr: ip.As16()}, unix.AF_INET6, nil
}

// zoneIndex returns the interface index of a zone, which is its name or its index in digits.
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}

	if index, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(index), nil
	}

	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}

	return uint32(ifi.Index), nil
}
