package anet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ConnectConfig are the options of Connect.
type ConnectConfig struct {
	// Source is the local address to connect from. Port 0 lets the system
	// choose the port; the zero AddrPort lets it choose all. Unix sockets
	// ignore it.
	Source netip.AddrPort

	// BestEffort connects without Source where it cannot be used: it is not
	// this machine's, say, or of the other address family.
	BestEffort bool
}

// Connect begins to connect, as the zero ConnectConfig does.
// (anetTcpNonBlockConnect)
func Connect(network, address string) (fd int, err error) {
	return ConnectConfig{}.Connect(network, address)
}

// Connect begins to connect to address, without waiting for the other side, and
// returns the socket: non-blocking and close-on-exec, and the caller's to
// close. Networks and addresses are those of Listen; a host that is any
// address, or nothing, is this machine.
//
// A nil error means that the connection stands or is in progress, and nothing
// more. Register the descriptor for Writable; when the callback comes,
// SocketError tells which it is. What is known at once is an error at once: on
// the BSDs and macOS a port of this machine that nobody listens on may be
// ECONNREFUSED here.
//
// A Unix socket connects at once or not at all. If the server's backlog is full
// the error wraps EAGAIN on Linux: errors.Is(err, ErrWouldBlock), and there is
// nothing to wait for but time: begin again later. A UDP socket is connected
// when Connect returns: its Read and Write then go to and come from address
// alone.
//
// A host name is looked up first, which waits: see Resolve. Of several
// addresses, the first that a connection can be begun to is taken; whether it
// answers shows later, and the other addresses are then up to the caller.
// (anetTcpNonBlockBestEffortBindConnect)
func (cc ConnectConfig) Connect(network, address string) (int, error) {
	fd, err := cc.connect(network, address)
	if err != nil {
		return -1, fmt.Errorf("connect %s %s: %w", network, address, err)
	}
	return fd, nil
}

// ConnectTCP begins to connect to an address that is known already, as one that
// Resolve has returned; otherwise it is Connect.
func ConnectTCP(addr netip.AddrPort) (fd int, err error) {
	return connectIP("tcp", toLocal(addr), netip.AddrPort{})
}

// SocketError takes the pending error of a socket and clears it: SO_ERROR. On a
// connecting socket that has become writable, nil means connected, and
// ECONNREFUSED, ETIMEDOUT and the like that it failed: close it.
// (anetGetError)
func SocketError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

func (cc ConnectConfig) connect(network, address string) (int, error) {
	if network == "unix" {
		name, err := unixName(address)
		if err != nil {
			return -1, err
		}
		return connectUnix(name)
	}
	addrs, err := Resolve(context.Background(), network, address, 0)
	if err != nil {
		return -1, err
	}

	// Nothing for a host is this machine, which may well have no IPv6.
	if host, _, _ := net.SplitHostPort(address); isAny(host) && (network == "tcp" || network == "udp") {
		addrs[0] = netip.AddrPortFrom(netip.IPv4Unspecified(), addrs[0].Port())
	}

	fd, err := connectFirst(network, addrs, cc.Source)
	if err != nil && cc.Source.IsValid() && cc.BestEffort {
		return connectFirst(network, addrs, netip.AddrPort{})
	}
	return fd, err
}

// connectFirst begins to connect to the first of addrs that this can be done
// for. The error is that of the last.
func connectFirst(network string, addrs []netip.AddrPort, source netip.AddrPort) (fd int, err error) {
	for _, addr := range addrs {
		fd, err = connectIP(network, toLocal(addr), source)
		if err == nil {
			return fd, nil
		}
	}
	return -1, err
}

// toLocal makes this machine's loopback address of any address.
func toLocal(addr netip.AddrPort) netip.AddrPort {
	switch addr.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port())
	}
	return addr
}

func connectIP(network string, addr, source netip.AddrPort) (int, error) {
	sa, family, err := sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := socket(family, socketType(network), 0)
	if err != nil {
		return -1, err
	}
	if source.IsValid() {
		err = bindSource(fd, network, family, source)
	}
	if err == nil {
		err = connect(fd, sa)
	}
	if err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindSource binds a socket that is about to connect.
func bindSource(fd int, network string, family int, source netip.AddrPort) error {
	sa, sourceFamily, err := sockaddr(source)
	if err != nil {
		return err
	}
	if sourceFamily != family {
		return os.NewSyscallError("bind", unix.EAFNOSUPPORT)
	}

	// As in Redis: a source port with connections in TIME_WAIT is good for a
	// connection to elsewhere.
	if socketType(network) == unix.SOCK_STREAM {
		if err := optReuseAddr.setBool(fd, true); err != nil {
			return err
		}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, sa))
}

// connect begins to connect. An interrupted connect goes on by itself, so EINTR
// is one more way to be in progress.
func connect(fd int, sa unix.Sockaddr) error {
	err := unix.Connect(fd, sa)
	if err == unix.EINPROGRESS || err == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("connect", err)
}
