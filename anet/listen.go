package anet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ListenConfig are the options of Listen. The zero value is what most servers
// want.
type ListenConfig struct {
	// Backlog is how many connections may wait to be accepted. 0 is the most
	// that the system allows; OpenBSD raises a small one to 80.
	Backlog int

	// ReusePort lets several sockets listen on one address, and the system
	// spread connections or datagrams over them: SO_REUSEPORT on Linux and
	// DragonFly, SO_REUSEPORT_LB on FreeBSD. Where the system would give them
	// all to one of the sockets, Listen returns errors.ErrUnsupported. A Unix
	// socket ignores it.
	ReusePort bool

	// Perm are the permissions of the file of a Unix socket, set before anybody
	// can connect. 0 leaves them to the umask. Other networks ignore it.
	Perm fs.FileMode

	// Replace lets a Unix socket take the place of one that a dead server left
	// behind. A socket that some process has open is never replaced, nor is a
	// file that is no socket: both are EADDRINUSE. A living server does not
	// notice. To be sure when servers start at once, all of them must use
	// Replace: it locks the directory meanwhile, and gives up with EAGAIN if
	// somebody else holds that lock for a second. Other networks ignore it.
	Replace bool
}

// Listen returns a listening socket, or a bound one for datagrams, as the zero
// ListenConfig does.
// (anetTcpServer, anetTcp6Server, anetUnixServer)
func Listen(network, address string) (fd int, err error) {
	return ListenConfig{}.Listen(network, address)
}

// Listen returns a socket that listens on address, non-blocking and
// close-on-exec, and the caller's to close.
//
// The network is "tcp" or "udp", or one of these with a "4" or a "6" for one
// address family alone, or "unix". A UDP socket is bound, ready for RecvFrom
// and SendTo.
//
// The address of a TCP or UDP socket is host:port, and port 0 lets the system
// choose: see LocalAddr. An address means itself: 0.0.0.0 is all of IPv4, and
// [::] all of IPv6 and no IPv4. Nothing or "*" for a host is all of both with
// "tcp" and "udp" (of IPv4, where the system has no IPv6 or cannot serve both
// with one socket: OpenBSD, DragonFly). A name is looked up, which waits, and
// its first address taken, an IPv4 one before others. SO_REUSEADDR is set on
// TCP sockets, so that a server can start again at once.
//
// The address of a Unix socket is a path. On Linux @name is an abstract name,
// which needs no file, and "" lets the system choose one; elsewhere these are
// errors.ErrUnsupported. More than 107 bytes on Linux, or 103 on most others,
// are ENAMETOOLONG. The file stays when the socket is closed: remove it, or use
// Replace the next time.
//
// Errors wrap the errno: EADDRINUSE, EADDRNOTAVAIL, EACCES and so on.
func (lc ListenConfig) Listen(network, address string) (int, error) {
	fd, err := lc.listen(network, address)
	if err != nil {
		return -1, fmt.Errorf("listen %s %s: %w", network, address, err)
	}
	return fd, nil
}

func (lc ListenConfig) listen(network, address string) (int, error) {
	if lc.Backlog < 0 {
		return -1, os.NewSyscallError("listen", unix.EINVAL)
	}
	if network == "unix" {
		return lc.listenUnix(address)
	}
	addrs, err := Resolve(context.Background(), network, address, PreferIPv4)
	if err != nil {
		return -1, err
	}

	host, _, _ := net.SplitHostPort(address)
	if isAny(host) && (network == "tcp" || network == "udp") {
		return lc.listenAny(network, addrs[0].Port())
	}
	return lc.listenIP(network, addrs[0], true)
}

// listenAny listens on every address of both families, or of IPv4 where that is
// all there is.
func (lc ListenConfig) listenAny(network string, port uint16) (int, error) {
	if dualStack {
		fd, err := lc.listenIP(network, netip.AddrPortFrom(netip.IPv6Unspecified(), port), false)
		if !lacksIPv6(err) {
			return fd, err
		}
	}
	return lc.listenIP(network, netip.AddrPortFrom(netip.IPv4Unspecified(), port), true)
}

// lacksIPv6 reports whether err comes of a system without IPv6: built without,
// or switched off.
func lacksIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) ||
		errors.Is(err, unix.EADDRNOTAVAIL)
}

func (lc ListenConfig) listenIP(network string, addr netip.AddrPort, v6only bool) (int, error) {
	sa, family, err := sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := socket(family, socketType(network), 0)
	if err != nil {
		return -1, err
	}
	if err := lc.setUpIP(fd, network, family, sa, v6only); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

// setUpIP makes a listener of a new socket.
func (lc ListenConfig) setUpIP(fd int, network string, family int, sa unix.Sockaddr, v6only bool) error {
	if family == unix.AF_INET6 {
		// Set both ways: the default is not the same everywhere.
		if err := optV6Only.setBool(fd, v6only); err != nil {
			return err
		}
	}

	stream := socketType(network) == unix.SOCK_STREAM
	if stream {
		if err := optReuseAddr.setBool(fd, true); err != nil {
			return err
		}
	}
	if lc.ReusePort {
		if err := optReusePort.setBool(fd, true); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if !stream {
		return nil
	}
	return os.NewSyscallError("listen", unix.Listen(fd, lc.backlog()))
}

// backlog is what listen(2) is told. Every system cuts a number that is too
// great down to its own maximum.
func (lc ListenConfig) backlog() int {
	if lc.Backlog == 0 {
		return math.MaxInt32
	}
	return min(lc.Backlog, math.MaxInt32)
}

// socketType returns the type of socket that belongs to a network that Resolve
// knows.
func socketType(network string) int {
	if strings.HasPrefix(network, "udp") {
		return unix.SOCK_DGRAM
	}
	return unix.SOCK_STREAM
}
