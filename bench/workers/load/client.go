package main

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/aeloop/ae/bench/internal/work"
	"golang.org/x/sys/unix"
)

// client is a number of connections to one server.
type client struct {
	conns   []*conn // by descriptor
	list    []*conn
	epfd    int
	events  []unix.EpollEvent
	buf     []byte
	keys    int
	rng     work.Rand
	replies int
	idle    time.Duration // spent on finding nothing ready
	looked  time.Time     // when that was last asked

	once bool // nothing is asked after a reply

	sequence int // if not 0, keys are asked for in order, once each, and this is one more than the next
}

// conn is one connection.
type conn struct {
	fd   int
	req  request
	owed int    // units until the batch is answered
	out  []byte // what the socket has not taken yet
	due  []time.Time
	echo bool // it is the end of a connection that a proxy has made
	head int  // of due
}

func dial(o options, conns int) *client {
	raiseLimit()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	work.Check(err)
	c := &client{epfd: epfd, events: make([]unix.EpollEvent, 4096), buf: make([]byte, 256<<10), keys: o.keys, rng: 1}
	for i := range conns {
		asked := o
		if o.what == "mixed" {
			asked.what = []string{"get", "set"}[i%2]
		}
		fd, err := connect(o.port)
		work.Check(err)
		cn := &conn{fd: fd, req: newRequest(asked)}
		c.add(cn)
		c.list = append(c.list, cn)
	}
	return c
}

func (c *client) add(cn *conn) {
	for cn.fd >= len(c.conns) {
		c.conns = append(c.conns, nil)
	}
	c.conns[cn.fd] = cn
	work.Check(unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, cn.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(cn.fd)}))
}

// choose leaves all but n connections idle, spread over them.
func (c *client) choose(n int) {
	for i := range n {
		c.list[i] = c.list[i*len(c.list)/n]
	}
	c.list = c.list[:n]
}

func raiseLimit() {
	var lim unix.Rlimit
	work.Check(unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	lim.Cur = lim.Max
	work.Check(unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
}

// connect is for a server that accepts: on loopback it then does not wait.
func connect(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// sendAll sends the first batch on every connection.
func (c *client) sendAll() {
	for _, cn := range c.list {
		c.sendBatch(cn)
	}
}

// askOnce has one batch answered on every connection: the server then has accepted
// them all, which can take it longer than the client takes to connect.
func (c *client) askOnce() {
	c.once = true
	c.sendAll()
	for end := c.replies + len(c.list)*c.list[0].req.requests(); c.replies < end; {
		c.step()
	}
	c.once = false
}

func (c *client) sendBatch(cn *conn) {
	if c.sequence > c.keys {
		return
	}
	cn.req.clearKeys()
	cn.req.fillKeys(c.key, c.keys)
	cn.owed += cn.req.owed
	c.send(cn, cn.req.batch)
}

// key chooses the next key.
func (c *client) key(n int) int {
	if c.sequence == 0 {
		return c.rng.IntN(n)
	}
	c.sequence++
	return (c.sequence - 2) % n
}

// send sends p, or keeps what the socket has no room for.
func (c *client) send(cn *conn, p []byte) {
	if len(cn.out) > 0 {
		cn.out = append(cn.out, p...)
		return
	}
	if n := write(cn.fd, p); n < len(p) {
		cn.out = append(cn.out, p[n:]...)
		c.watch(cn, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

func (c *client) watch(cn *conn, events uint32) {
	work.Check(unix.EpollCtl(c.epfd, unix.EPOLL_CTL_MOD, cn.fd, &unix.EpollEvent{Events: events, Fd: int32(cn.fd)}))
}

func (c *client) flush(cn *conn) {
	cn.out = cn.out[write(cn.fd, cn.out):]
	if len(cn.out) == 0 {
		cn.out = nil
		c.watch(cn, unix.EPOLLIN)
	}
}

// runUntil goes on with the closed loop until the time has come, and there was a reply at all: the machine may be busy.
func (c *client) runUntil(end time.Time) {
	for now := c.step(); now.Before(end) || c.replies == 0; now = c.step() {
	}
}

// step deals with what is ready, and returns the time.
func (c *client) step() time.Time {
	n := c.poll()
	for _, ev := range c.events[:n] {
		cn := c.conns[ev.Fd]
		if ev.Events&unix.EPOLLOUT != 0 {
			c.flush(cn)
		}
		if ev.Events&^unix.EPOLLOUT != 0 {
			c.receive(cn)
		}
	}
	return c.looked
}

// poll never sleeps. Two processes that each sleep until the other has done something fall into step, or do not, by
// chance, and the chance would be what is measured.
func (c *client) poll() int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(c.epfd), uintptr(unsafe.Pointer(&c.events[0])),
		uintptr(len(c.events)), 0, 0, 0)
	if errno == unix.EINTR {
		n, errno = 0, 0
	}
	if errno != 0 {
		work.Fail(errno)
	}
	now := time.Now()
	if n == 0 {
		c.idle += now.Sub(c.looked)
	}
	c.looked = now
	return int(n)
}

func (c *client) receive(cn *conn) {
	n := read(cn.fd, c.buf)
	if cn.echo {
		c.send(cn, c.buf[:n])
		return
	}
	before := cn.owed
	cn.owed -= cn.req.units(c.buf[:n])
	if cn.owed < 0 {
		work.Fail(fmt.Errorf("the server answers more than was asked"))
	}
	each := cn.req.each
	c.replies += (before+each-1)/each - (cn.owed+each-1)/each
	if cn.owed == 0 && !c.once {
		c.sendBatch(cn)
	}
}

// The system calls are raw: nobody but this goroutine is there to be held up.

func read(fd int, p []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return 0
	case errno != 0:
		work.Fail(fmt.Errorf("read: %w", errno))
	case n == 0:
		work.Fail(fmt.Errorf("the server ended a connection"))
	}
	return int(n)
}

func write(fd int, p []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return 0
	case errno != 0:
		work.Fail(fmt.Errorf("write: %w", errno))
	}
	return int(n)
}
