package tlsstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/stream"
)

// handshake is one that is under way, in a goroutine of its own: it computes for
// milliseconds, calls callbacks that may wait, and crypto/tls cannot go on with one
// that it had to break off. The loop feeds it. What the loop and the goroutine share
// is under mu, but for the tls.Conn, which is the goroutine's until it comes back.
type handshake struct {
	ctx    context.Context
	cancel context.CancelFunc
	addrs  addrs
	turn   turn

	mu      sync.Mutex
	changed sync.Cond
	in      bytes.Buffer // received, and not read
	out     []byte       // written, and not sent
	full    bool         // the socket is not read, for in has much
	eof     bool         // nothing comes behind in
	closed  bool
}

// PanicError is how a connection ends for which a callback of its tls.Config panics.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprint("tlsstream: panic in a handshake: ", e.Value) }

var errGoexit = errors.New("tlsstream: a callback has ended the goroutine of its handshake")

// afterTimeout is how much later than the connection its handshake times out. It
// matters only if nobody runs the loop any more.
const afterTimeout = time.Second

// start has the handshake made.
func (y *layer) start() {
	h := &handshake{addrs: addrsOf(y.w.Conn()), turn: turn{granted: make(chan struct{}, 1)}}
	h.changed.L = &h.mu
	h.ctx, h.cancel = context.WithTimeout(context.Background(), y.e.limits.Timeout+afterTimeout)
	context.AfterFunc(h.ctx, h.close)
	y.hs = h
	if y.e.client {
		y.conn = tls.Client((*socket)(y), y.config)
	} else {
		y.conn = tls.Server((*socket)(y), y.config)
	}
	go y.shake(h)
}

// shake is the goroutine.
func (y *layer) shake(h *handshake) {
	defer y.e.leave() // what counts is goroutines, not connections
	err := errGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
		y.e.computing.put(&h.turn)
		h.cancel()
		_ = y.w.Conn().Post(func(*stream.Conn) { y.shaken(h, err) }) // a closed loop needs no answer
	}()
	y.e.computing.take(&h.turn)
	err = y.conn.HandshakeContext(h.ctx)
}

// shaken takes the connection back from the goroutine.
func (y *layer) shaken(h *handshake, err error) {
	y.send(h)
	y.hs = nil
	switch {
	case y.closed:
	case err != nil:
		y.w.Fail(err)
	default:
		y.open = true
		y.w.Ready(h.in.Bytes())
	}
}

// send sends what the goroutine has written.
func (y *layer) send(h *handshake) {
	h.mu.Lock()
	out := h.out
	h.out = nil
	h.mu.Unlock()
	if len(out) > 0 {
		y.w.Write(out)
	}
}

// feed gives the goroutine input, and stops more of it if much waits.
func (h *handshake) feed(y *layer, src []byte, eof bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in.Write(src)
	h.eof = eof
	if h.in.Len() >= y.e.limits.Input {
		h.full = true
		y.w.Pause()
	}
	h.changed.Signal()
}

// read is the goroutine's. It waits for a record.
func (h *handshake) read(y *layer, p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mayRead(y) {
		if len(h.out) > 0 {
			_ = y.w.Conn().Post(func(*stream.Conn) { y.send(h) })
		}
		y.e.computing.put(&h.turn)
		for !h.mayRead(y) {
			h.changed.Wait()
		}
		h.mu.Unlock()
		y.e.computing.take(&h.turn)
		h.mu.Lock()
	}
	if h.closed {
		return 0, net.ErrClosed
	}
	n := y.records.read(p, h.in.Bytes())
	if n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	h.in.Next(n)
	if h.full && h.in.Len() < y.e.limits.Input/2 {
		h.full = false
		_ = y.w.Conn().Post(func(*stream.Conn) { y.w.Resume() })
	}
	return n, nil
}

// mayRead reports whether read has something to say.
func (h *handshake) mayRead(y *layer) bool {
	return h.closed || h.eof || y.records.next(h.in.Bytes()) > 0
}

// write is the goroutine's. What it writes is sent when it waits for an answer, or has
// come to its end: a flight in one piece.
func (h *handshake) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, net.ErrClosed
	}
	h.out = append(h.out, p...)
	return len(p), nil
}

// close wakes the goroutine, to end.
func (h *handshake) close() {
	h.mu.Lock()
	h.closed = true
	h.changed.Signal()
	h.mu.Unlock()
	h.cancel()
}

// addrs are the two ends of a connection, as they were when its handshake began.
type addrs struct{ local, remote net.Addr }

func addrsOf(c *stream.Conn) addrs {
	if c.Peer() == (netip.AddrPort{}) {
		return addrs{&net.UnixAddr{Net: "unix"}, &net.UnixAddr{Net: "unix"}}
	}
	local, _ := anet.LocalAddr(c.FD())
	return addrs{net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(c.Peer())}
}

func (h *handshake) addr() addrs {
	if h == nil {
		return addrs{&net.TCPAddr{}, &net.TCPAddr{}}
	}
	return h.addrs
}
