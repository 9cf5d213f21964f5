package stream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// attemptDelay is how long the first address has before the second is tried beside
// it: RFC 8305, section 5.
const attemptDelay = 250 * time.Millisecond

// dial is a connection that has no descriptor yet.
type dial struct {
	network string
	addrs   []netip.AddrPort // those not tried yet
	fds     []int            // attempts under way
	err     error            // of the first attempt that failed
	cancel  context.CancelFunc
	timeout ae.TimeEventID
	delay   ae.TimeEventID
}

// Dial connects to address: networks "tcp", "tcp4", "tcp6" and "unix", as in
// package anet. A name is looked up by another goroutine. Its addresses are tried
// in turn, IPv6 and IPv4 alternating, each with a head start of 250 ms; the first
// that answers is taken. All of it must be done within timeout, if that is
// positive. The connection may be written at once.
//
// If it fails, Close is called with the error of the first attempt, such as
// unix.ECONNREFUSED, a *net.DNSError, unix.EAGAIN for a Unix socket whose backlog is
// full, or ErrTimeout, and Open is not. A bad Handler panics. On a loop that is
// closed the connection is not Open, and no call follows; on one that shuts down, or
// has, Close is called with ErrShutdown.
func (l *Loop) Dial(network, address string, timeout time.Duration, h *Handler) *Conn {
	if err := h.check(); err != nil {
		panic(err.Error())
	}
	c := l.newConn(h)
	if l.closed() {
		c.flags |= dead | done
		return c
	}
	l.n.Add(1)
	d := &dial{network: network}
	c.more().dial = d
	l.dialing[c] = struct{}{}
	if l.stopping && !l.taking {
		l.end(c, ErrShutdown)
		_ = l.el.Post(func(*ae.EventLoop) { c.settle() }) // there may be no hook any more
		return c
	}
	if timeout > 0 {
		d.timeout = l.el.CreateTimeEvent(timeout, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			l.end(c, ErrTimeout)
			return ae.NoMore
		})
	}

	switch {
	case network == "unix":
		if fd, err := anet.Connect(network, address); err != nil {
			l.end(c, err)
		} else {
			l.connected(c, fd)
		}
	case !strings.HasPrefix(network, "tcp"):
		l.end(c, net.UnknownNetworkError(network))
	default:
		addrs, err := anet.Resolve(context.Background(), network, address, anet.NumericOnly)
		if err == nil {
			d.addrs = addrs
			c.try()
		} else {
			c.resolve(address)
		}
	}
	return c
}

// resolve looks a name up, off the loop.
func (c *Conn) resolve(address string) {
	l, d := c.loop(), c.ext.dial
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		addrs, err := anet.Resolve(ctx, d.network, address, 0)
		_ = l.el.Post(func(*ae.EventLoop) { // a loop that has ended needs no answer
			switch {
			case c.flags&dead != 0:
			case err != nil:
				l.end(c, err)
			default:
				d.addrs = alternate(addrs)
				c.try()
			}
		})
	}()
}

// alternate puts the addresses of the two families in turn, beginning with the
// first one's, and otherwise keeps their order.
func alternate(addrs []netip.AddrPort) []netip.AddrPort {
	var families [2][]netip.AddrPort
	for _, a := range addrs {
		i := 0
		if a.Addr().Is4() != addrs[0].Addr().Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	var mixed []netip.AddrPort
	for i := range addrs {
		for _, f := range families {
			if i < len(f) {
				mixed = append(mixed, f[i])
			}
		}
	}
	return mixed
}

// try begins to connect to the next address that can be begun with.
func (c *Conn) try() {
	l, d := c.loop(), c.ext.dial
	l.el.DeleteTimeEvent(d.delay)
	for len(d.addrs) > 0 {
		addr := d.addrs[0]
		d.addrs = d.addrs[1:]
		fd, err := anet.ConnectTCP(addr)
		if err == nil {
			err = l.el.CreateFileEvent(fd, ae.Writable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { c.answered(fd) })
			if err != nil {
				_ = anet.Close(fd)
			}
		}
		if err != nil {
			d.failed(err)
			continue
		}
		d.fds = append(d.fds, fd)
		if len(d.addrs) > 0 {
			d.delay = l.el.CreateTimeEvent(attemptDelay, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
				c.try()
				return ae.NoMore
			})
		}
		return
	}
	if len(d.fds) == 0 {
		l.end(c, d.err)
	}
}

func (d *dial) failed(err error) {
	if d.err == nil {
		d.err = err
	}
}

// answered is called when an attempt has succeeded or failed.
func (c *Conn) answered(fd int) {
	l, d := c.loop(), c.ext.dial
	_ = l.el.DeleteFileEvent(fd, ae.Writable)
	d.fds = slices.DeleteFunc(d.fds, func(f int) bool { return f == fd })
	err := anet.SocketError(fd)
	if err == nil && selfConnected(fd) {
		err = unix.ECONNREFUSED
	}
	if err == nil {
		l.connected(c, fd)
		return
	}
	_ = anet.Close(fd)
	d.failed(err)
	c.try()
}

// selfConnected reports whether a socket is its own peer, which a connect to an
// unused local port ends as when the system picks that very port.
func selfConnected(fd int) bool {
	local, err := anet.LocalAddr(fd)
	if err != nil {
		return false
	}
	peer, err := anet.PeerAddr(fd)
	return err == nil && local == peer
}

// connected gives c the descriptor that the dial has made.
func (l *Loop) connected(c *Conn, fd int) {
	c.stopDial()
	if c.ext.dial.network != "unix" {
		c.peer, _ = anet.PeerAddr(fd)
		_ = anet.SetNoDelay(fd, true) // a batch is sent at once already
	}
	c.ext.dial = nil
	if err := l.attach(c, fd); err != nil {
		_ = anet.Close(fd)
		l.end(c, err)
		return
	}
	c.flags |= toOpen
	l.later(c)
}

// stopDial gives up all attempts.
func (c *Conn) stopDial() {
	if c.ext == nil || c.ext.dial == nil {
		return
	}
	l, d := c.loop(), c.ext.dial
	delete(l.dialing, c)
	l.el.DeleteTimeEvent(d.timeout)
	l.el.DeleteTimeEvent(d.delay)
	if d.cancel != nil {
		d.cancel()
	}
	for _, fd := range d.fds {
		_ = l.el.DeleteFileEvent(fd, ae.Writable)
		_ = anet.Close(fd)
	}
	d.fds, d.addrs = nil, nil
}
