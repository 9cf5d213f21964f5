package anet

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// LocalAddr returns the address that the socket fd is bound to: after Listen on
// port 0, the port that the system chose. An IPv4 address that arrives inside
// an IPv6 one is unmapped. The zone of a link-local address is the interface's
// index in digits. A Unix socket has the zero AddrPort: see LocalString.
//
// It never waits, and allocates nothing on Linux. The error is a bare errno.
// (getsockname(2))
func LocalAddr(fd int) (netip.AddrPort, error) {
	addr, errno := localAddr(fd)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addr, nil
}

// PeerAddr returns the address that the socket fd is connected to, in the form
// of LocalAddr. ENOTCONN says that it is not connected: not yet, or no longer.
// (anetFdToString; getpeername(2))
func PeerAddr(fd int) (netip.AddrPort, error) {
	addr, errno := peerAddr(fd)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addr, nil
}

// LocalString returns the address of fd as one line of text for logs: no two
// addresses have the same.
//
//	192.0.2.1:80, [2001:db8::1]:80   TCP and UDP
//	/run/x.sock, ./x.sock            the path of a Unix socket; a relative one
//	                                 gets a "./" if it does not begin with "."
//	@x                               an abstract name
//	"@x\x00y"                        what is not printable, as strconv.Quote has it
//	unix                             a Unix socket without a name
//	?                                no socket, or one of another kind
//
// All but the last two lead Connect to the socket, after strconv.Unquote where
// they begin with a quote.
func LocalString(fd int) string {
	if addr, errno := localAddr(fd); errno != 0 || addr.IsValid() {
		return addrString(addr)
	}
	return nameString(localName(fd))
}

// PeerString returns the address of the other side in the form of LocalString.
// The client's end of a Unix connection mostly has no name; where it has one,
// the client chose it.
// (anetFdToString)
func PeerString(fd int) string {
	if addr, errno := peerAddr(fd); errno != 0 || addr.IsValid() {
		return addrString(addr)
	}
	return nameString(peerName(fd))
}

func addrString(addr netip.AddrPort) string {
	if !addr.IsValid() {
		return "?"
	}
	return addr.String()
}

// nameString returns the text of a Unix socket's name, "" if it has none; an
// abstract one begins with a NUL. What is no Unix socket is not ok.
func nameString(name string, ok bool) string {
	switch {
	case !ok:
		return "?"
	case name == "":
		return "unix"
	case name[0] == 0:
		name = "@" + name[1:]
	case name[0] != '/' && name[0] != '.':
		name = "./" + name
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(name) {
		return strconv.Quote(name)
	}
	return name
}

// from16 returns the address of an IPv6 socket address: an IPv4 one if that is
// what it carries.
func from16(b [16]byte, zone uint32) netip.Addr {
	addr := netip.AddrFrom16(b).Unmap()
	if zone != 0 && addr.Is6() {
		return addr.WithZone(strconv.Itoa(int(zone)))
	}
	return addr
}

// sockaddr returns addr in the form that x/sys/unix wants, and the address
// family it belongs to.
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

// zoneIndex returns the interface index of a zone, which is its name or its
// index in digits.
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
