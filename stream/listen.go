package stream

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// ListenConfig has the options of a listener: those of the socket, and how many
// connections it takes. The zero value is right for most servers.
type ListenConfig struct {
	anet.ListenConfig

	// Layer makes the Layer of an accepted connection; nil is none. The connection's
	// loop calls it.
	Layer func(c *Conn) Layer

	// MaxConns is how many connections may be open at once. At the limit the
	// listener rests, and clients wait in its backlog; it goes on when one
	// closes. 0 is what the descriptors allow, and it is never more: the process's
	// limit (RLIMIT_NOFILE) or the loop's size, whichever is lower, less those that
	// are open for other things when Listen is called, less Reserve. The listeners
	// of a loop share that.
	MaxConns int

	// PerConn is how many descriptors each connection takes: 2 in a proxy. 0 is 1.
	PerConn int

	// Reserve is how many descriptors are left to the rest of the process: files,
	// other listeners, package net. 0 is an eighth of the limit, at least 16.
	Reserve int
}

// Listener accepts connections for one loop, or for those of a Group.
type Listener struct {
	l      *Loop
	fd     int
	addr   string
	file   os.FileInfo // of a Unix socket
	max    int64       // connections
	each   int64       // descriptors of a connection
	budget int64       // descriptors of all connections that l's listeners have accepted
	pause  ae.TimeEventID
	choose func(peer netip.AddrPort) (*Loop, *Handler)
	layer  func(c *Conn) Layer

	count atomic.Int64 // connections; any loop of a Group lowers it
	lost  atomic.Int64
}

const (
	acceptsAtOnce = 64
	acceptPause   = 100 * time.Millisecond
	maxBacklog    = 4096
)

// Listen accepts connections on address, for which h is the Handler. Networks are
// "tcp", "tcp4", "tcp6" and "unix", addresses those of package anet. Errors are
// what anet.Listen says, unix.EINVAL for a bad Handler or configuration and for
// another network, ae.ErrClosed, ErrShutdown.
func (l *Loop) Listen(network, address string, cfg ListenConfig, h *Handler) (*Listener, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	return l.listen(network, address, cfg, func(netip.AddrPort) (*Loop, *Handler) { return l, h })
}

func (l *Loop) listen(network, address string, cfg ListenConfig, choose func(netip.AddrPort) (*Loop, *Handler)) (*Listener, error) {
	if l.stopping {
		return nil, ErrShutdown
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, fmt.Errorf("stream: listen on %q: %w", network, unix.EINVAL)
	}
	if cfg.MaxConns < 0 || cfg.PerConn < 0 || cfg.Reserve < 0 {
		return nil, fmt.Errorf("stream: negative ListenConfig: %w", unix.EINVAL)
	}
	fd, err := cfg.ListenConfig.Listen(network, address)
	if err != nil {
		return nil, err
	}

	ln := &Listener{l: l, fd: fd, addr: address, choose: choose, layer: cfg.Layer,
		max: int64(orElse(cfg.MaxConns, math.MaxInt)), each: int64(orElse(cfg.PerConn, 1))}
	if network == "unix" {
		if !strings.HasPrefix(address, "@") {
			ln.file, _ = os.Lstat(address)
		}
	} else {
		var local netip.AddrPort
		local, err = anet.LocalAddr(fd)
		ln.addr = local.String()
		_ = anet.SetNoDelay(fd, true) // accepted sockets inherit it; a batch is sent at once already
	}
	if ln.budget = cfg.budget(fd, l.el.Size()) + l.taken.Load(); err != nil {
		err = fmt.Errorf("stream: listen %s: %w", address, err)
	} else if ln.full() {
		err = fmt.Errorf("stream: listen %s: no descriptor to spare: %w", address, unix.EMFILE)
	} else {
		err = l.el.CreateFileEvent(fd, ae.Readable, ln.onReadable)
	}
	if err != nil {
		ln.closeSocket()
		return nil, err
	}
	l.lns = append(l.lns, ln)
	return ln, nil
}

// budget returns how many descriptors connections may have. The listener's own
// number, the lowest that was free, tells how many were open before.
func (cfg ListenConfig) budget(fd, size int) int64 {
	limit := int64(size)
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil && uint64(r.Cur) < uint64(limit) {
		limit = int64(r.Cur)
	}
	reserve := int64(orElse(cfg.Reserve, max(16, int(limit/8))))
	return limit - int64(fd) - 1 - reserve
}

// Addr returns the address: for TCP with the port that the system chose, for a Unix
// socket the path as it was given.
func (ln *Listener) Addr() string { return ln.addr }

// Len returns how many of its connections there are, those in Close included. Any
// goroutine may call it.
func (ln *Listener) Len() int { return int(ln.count.Load()) }

// Lost returns how many connections were accepted for a loop that had ended, and
// closed. Any goroutine may call it.
func (ln *Listener) Lost() int { return int(ln.lost.Load()) }

// Close stops accepting. Connections go on. The file of a Unix socket is removed,
// unless it is another socket's by now.
func (ln *Listener) Close() {
	if ln.fd < 0 {
		return
	}
	ln.l.el.DeleteTimeEvent(ln.pause)
	_ = ln.l.el.DeleteFileEvent(ln.fd, ae.Readable) // the loop may be closed
	ln.closeSocket()
	ln.l.lns = slices.DeleteFunc(ln.l.lns, func(other *Listener) bool { return other == ln })
}

func (ln *Listener) closeSocket() {
	if ln.file != nil {
		if now, err := os.Lstat(ln.addr); err == nil && os.SameFile(now, ln.file) {
			_ = os.Remove(ln.addr)
		}
	}
	_ = anet.Close(ln.fd)
	ln.fd = -1
}

// onReadable is the accept callback.
func (ln *Listener) onReadable(*ae.EventLoop, int, ae.Mask) {
	for range acceptsAtOnce {
		if ln.fd < 0 || ln.rest() || !ln.accept() {
			return
		}
	}
}

// acceptAll takes who waits in the backlog, as far as there is room. It takes no more
// than a backlog has, because clients may come as fast as they are accepted.
func (ln *Listener) acceptAll() {
	for n := 0; n < maxBacklog && ln.fd >= 0 && !ln.full() && ln.accept(); n++ {
	}
}

// accept takes one connection, and returns false if there is none for now.
func (ln *Listener) accept() bool {
	fd, peer, err := anet.Accept(ln.fd)
	switch {
	case err == nil:
		ln.deliver(fd, peer)
	case errors.Is(err, anet.ErrAborted): // that peer gave up while it waited
	case err == anet.ErrWouldBlock:
		return false
	default: // no descriptors or memory, or a firewall says no: anything but spin
		ln.sleep()
		return false
	}
	return true
}

// deliver makes a connection of fd on its loop.
func (ln *Listener) deliver(fd int, peer netip.AddrPort) {
	var to *Loop
	defer func() {
		if to == nil {
			_ = anet.Close(fd) // choose has panicked
		}
	}()
	to, h := ln.choose(peer)
	to.n.Add(1)
	ln.count.Add(1)
	ln.l.taken.Add(ln.each)
	if to == ln.l {
		to.accepted(ln, h, fd, peer)
		return
	}
	err := to.el.Post(func(*ae.EventLoop) { to.accepted(ln, h, fd, peer) })
	if err != nil {
		ln.drop(to, fd)
	}
}

// drop closes a connection that its loop cannot have.
func (ln *Listener) drop(to *Loop, fd int) {
	_ = anet.Close(fd)
	to.n.Add(-1)
	ln.lost.Add(1)
	ln.released()
}

// accepted takes over a connection from ln, on l's goroutine.
func (l *Loop) accepted(ln *Listener, h *Handler, fd int, peer netip.AddrPort) {
	c := l.newConn(h)
	c.peer = peer
	if l.over || l.attach(c, fd) != nil {
		ln.drop(l, fd)
		return
	}
	c.ln = ln
	switch {
	case ln.layer != nil:
		c.SetLayer(ln.layer(c))
	case h.Open != nil:
		l.open(c)
		if l.owns(c) {
			c.after()
		}
	}
}

// open calls Open, which may dial for a client that was accepted before a Shutdown.
func (l *Loop) open(c *Conn) {
	if c.ln != nil {
		l.taking = true
		defer func() { l.taking = false }()
	}
	c.h.Open(c)
}

// full reports whether the listener has all the connections that it may have.
func (ln *Listener) full() bool {
	return ln.count.Load() >= ln.max || ln.l.taken.Load()+ln.each > ln.budget
}

// rest stops watching the listener if it is full, and reports whether it rests.
func (ln *Listener) rest() bool {
	if !ln.full() {
		return false
	}
	ln.l.resting.Store(true)
	if !ln.full() { // one has closed meanwhile, on another loop
		return false
	}
	_ = ln.l.el.DeleteFileEvent(ln.fd, ae.Readable)
	return true
}

// released notes that a connection has closed, and wakes the listeners that rest.
func (ln *Listener) released() {
	l := ln.l
	ln.count.Add(-1)
	l.taken.Add(-ln.each)
	if l.resting.Load() && l.resting.CompareAndSwap(true, false) {
		_ = l.el.Post(func(*ae.EventLoop) { // a closed loop has no listener
			for _, ln := range l.lns {
				ln.watch()
			}
		})
	}
}

// watch goes on accepting, or tries again later.
func (ln *Listener) watch() {
	if ln.fd >= 0 && ln.l.el.CreateFileEvent(ln.fd, ae.Readable, ln.onReadable) != nil {
		ln.sleep()
	}
}

// sleep stops watching the listener for a while.
func (ln *Listener) sleep() {
	_ = ln.l.el.DeleteFileEvent(ln.fd, ae.Readable)
	ln.l.el.DeleteTimeEvent(ln.pause)
	ln.pause = ln.l.el.CreateTimeEvent(acceptPause, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		ln.watch()
		return ae.NoMore
	})
}
