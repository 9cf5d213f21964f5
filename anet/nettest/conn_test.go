// Package nettest runs the conformance tests of golang.org/x/net/nettest, which
// the root module does not depend on, over the net.Conn that package anet makes
// of a descriptor.
package nettest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/aeloop/ae/anet"
	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"
)

func TestConnOfATCPDescriptor(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		return pipe("tcp", "127.0.0.1:0")
	})
}

func TestConnOfAUnixDescriptor(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		dir, err := os.MkdirTemp("", "anet")
		if err != nil {
			return nil, nil, nil, err
		}
		defer os.RemoveAll(dir)
		return pipe("unix", filepath.Join(dir, "s"))
	})
}

func TestConnOfASocketPair(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b, err := anet.SocketPair()
		if err != nil {
			return nil, nil, nil, err
		}
		return conns(a, b)
	})
}

// pipe makes two connected descriptors, and a net.Conn of each.
func pipe(network, address string) (net.Conn, net.Conn, func(), error) {
	ln, err := anet.Listen(network, address)
	if err != nil {
		return nil, nil, nil, err
	}
	defer anet.Close(ln)

	client, err := anet.Connect(network, anet.LocalString(ln))
	if err != nil {
		return nil, nil, nil, err
	}

	if err := wait(ln); err != nil {
		return nil, nil, nil, errors.Join(err, anet.Close(client))
	}
	server, _, err := anet.Accept(ln)
	if err != nil {
		return nil, nil, nil, errors.Join(err, anet.Close(client))
	}
	return conns(client, server)
}

func conns(a, b int) (net.Conn, net.Conn, func(), error) {
	c1, err := anet.NetConn(a)
	if err != nil {
		return nil, nil, nil, errors.Join(err, anet.Close(a), anet.Close(b))
	}
	c2, err := anet.NetConn(b)
	if err != nil {
		return nil, nil, nil, errors.Join(err, c1.Close(), anet.Close(b))
	}
	return c1, c2, func() { c1.Close(); c2.Close() }, nil
}

// wait waits until fd is readable.
func wait(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = os.ErrDeadlineExceeded
		}
		return err
	}
}
