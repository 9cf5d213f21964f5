package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
	"golang.org/x/sys/unix"
)

// churn connects, sends one request, takes the reply and closes, on many connections at a time. It closes with a reset,
// so that its ports are free again at once; the server reads that as the end.
func churn(o options) {
	raiseLimit()
	c := &churner{options: o, message: bytes.Repeat([]byte{'e'}, o.size)}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	work.Check(err)
	c.epfd, c.events, c.buf = epfd, make([]unix.EpollEvent, 4096), make([]byte, 64<<10)
	for range o.conns {
		c.begin()
	}
	c.runUntil(time.Now().Add(o.warm))

	u := c.measure(o.pid)
	c.runUntil(u.start.Add(o.timed))
	u.report()
}

type churner struct {
	client
	options
	message []byte
}

func (c *churner) begin() {
	fd, err := connect(c.port)
	work.Check(err)
	work.Check(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	if write(fd, c.message) != len(c.message) {
		work.Fail(fmt.Errorf("a new connection does not take %d bytes", len(c.message)))
	}
	work.Check(unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
}

// runUntil goes on until the time has come. A reply is as short as to come in one piece.
func (c *churner) runUntil(end time.Time) {
	for c.looked.Before(end) || c.replies == 0 {
		n := c.poll()
		for _, ev := range c.events[:n] {
			if got := read(int(ev.Fd), c.buf); got != len(c.message) {
				work.Fail(fmt.Errorf("a reply of %d bytes to %d", got, len(c.message)))
			}
			work.Check(unix.Close(int(ev.Fd)))
			c.replies++
			c.begin()
		}
	}
}
