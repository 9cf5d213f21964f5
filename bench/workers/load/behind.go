package main

import (
	"github.com/aeloop/ae/bench/internal/work"
	"golang.org/x/sys/unix"
)

// backend listens as the server behind a proxy. It is part of the client, so that
// the proxy has a core for itself.
type backend struct{ fd int }

func listen(port int) *backend {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	work.Check(err)
	work.Check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	work.Check(unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	work.Check(unix.Listen(fd, 4096))
	return &backend{fd}
}

// accept takes the connection that the proxy has made for each of the client's.
func (b *backend) accept(c *client) {
	for range c.list {
		fd, _, err := unix.Accept4(b.fd, unix.SOCK_CLOEXEC)
		work.Check(err)
		work.Check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		c.add(&conn{fd: fd, echo: true})
	}
}
