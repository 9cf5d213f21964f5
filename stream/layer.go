package stream

import (
	"io"
	"time"

	"github.com/aeloop/ae/anet"
)

// Layer stands between the socket of a connection and its Handler, and changes what
// passes: TLS (package tlsstream), compression, a trace. Handlers notice nothing of
// it: Queued counts what waits on both sides of it, Pause and the marks stop the
// socket from being read, Close and CloseWrite send what it has to say last.
//
// The loop's goroutine calls the methods, none of them inside another, but Encode
// also inside Write. They may call those of the Wire, and Post of the Conn.
type Layer interface {
	// Start is the first call: the socket is connected. Nothing goes between the
	// Handler and the layer until w.Ready; what is written meanwhile waits.
	Start(w *Wire)

	// Decode takes what the socket has received from src, and puts what that means
	// for the Handler into dst. It returns how much of each was used, and is called
	// again until both are 0; what it leaves of src comes again, with more. eof says
	// that the socket's input ends behind src.
	//
	// An error comes after all that was decoded, each time: io.EOF when the peer
	// has finished sending, also if its socket has not ended; any other ends the
	// connection as Wire.Fail does. Once the layer is ready, eof with nothing left
	// to decode has to be one: which, is for the layer to say.
	Decode(dst, src []byte, eof bool) (nDst, nSrc int, err error)

	// Encode writes what all of p becomes to the Wire. An error is as in Decode.
	Encode(p []byte) error

	// CloseWrite writes to the Wire what tells the peer that no more comes. Nothing
	// is encoded after it.
	CloseWrite()

	// Close is the last call: the connection has ended, or was detached. It comes
	// before Handler.Close, and also without Start.
	Close()
}

// Wire is what a Layer has of its connection: the socket, and the connection's
// beginning. All methods are the loop's goroutine's. After the connection's end they
// do nothing.
type Wire Conn

// Conn returns the connection.
func (w *Wire) Conn() *Conn { return (*Conn)(w) }

// layered is what a connection with a Layer has besides.
type layered struct {
	Layer
	raw      *chunk // input that Decode has not used
	plain    queue  // output that is not encoded yet
	by       int64  // when Ready has to be called, or 0
	started  bool
	opening  bool // Ready is still to be called
	eof      bool // the socket's input has ended
	finished bool // CloseWrite was called, or the layer has failed
}

// openRead is how much is read at once before the layer is ready.
const openRead = 4 << 10

func (c *Conn) layered() *layered {
	if c.ext == nil {
		return nil
	}
	return c.ext.layered
}

// opening reports whether c has a layer that is not ready.
func (c *Conn) opening() bool {
	y := c.layered()
	return y != nil && y.opening
}

// Layer returns what SetLayer or ListenConfig.Layer has given the connection, or nil.
func (c *Conn) Layer() Layer {
	if y := c.layered(); y != nil {
		return y.Layer
	}
	return nil
}

// SetLayer puts y between the connection's socket and its Handler: for a new one,
// right after Dial or Adopt, or where a protocol changes over (STARTTLS). What was
// written before goes out as it is; input that Data has not used, or leaves, is the
// layer's. Open is called when the layer is ready, for an open connection once more.
// A nil Layer panics, a second one, and one for a connection that is joined. A
// connection that was closed, or finishes sending, has no use for it: the layer is
// closed.
func (c *Conn) SetLayer(y Layer) {
	switch {
	case y == nil:
		panic("stream: SetLayer with a nil Layer")
	case c.layered() != nil:
		panic("stream: SetLayer of a connection that has a Layer")
	case c.joinedTo() != nil:
		panic("stream: SetLayer of a connection that is joined")
	case c.flags&(dead|finWanted) != 0:
		y.Close()
		return
	}
	c.more().layered = &layered{Layer: y, opening: true}
	c.flags |= ready
	c.loop().time(c)
	c.loop().later(c)
}

// startLayer calls Start, once there is a socket.
func (c *Conn) startLayer(y *layered) {
	y.started = true
	c.flags &^= toOpen // comes back with Ready
	y.raw, c.in, c.need = c.in, nil, 0
	y.Start((*Wire)(c))
}

// SetTimeout ends the connection with ErrTimeout if Ready is not called within d.
func (w *Wire) SetTimeout(d time.Duration) {
	c := w.Conn()
	if c.opening() && c.flags&dead == 0 {
		c.ext.layered.by = max(1, after(c.loop().exactly(), d))
		c.loop().time(c)
	}
}

// Ready opens the connection: its Open is called, then what was written is encoded
// and input decoded, beginning with unread: what Decode has taken before, and is
// still to be decoded.
func (w *Wire) Ready(unread []byte) {
	c := w.Conn()
	if c.flags&dead != 0 || !c.opening() {
		return
	}
	l, y := c.loop(), c.ext.layered
	y.opening = false
	if y.raw != nil {
		unread = append(unread, y.raw.bytes()...)
	}
	y.keep(l, unread)
	c.flags |= toOpen | ready
	c.pauses &^= byLayer
	c.last = l.exactly()
	l.time(c)
	l.later(c)
	c.update()
}

// Fail ends the connection with err: what was written to the Wire goes out first, as
// after Conn.Close. The Handler's output that was not encoded is lost.
func (w *Wire) Fail(err error) {
	c := w.Conn()
	if c.flags&dead != 0 {
		return
	}
	l, y := c.loop(), c.ext.layered
	if c.more().err == nil {
		c.ext.err = err
	}
	y.opening, y.finished = false, true
	y.drop(l)
	if c.flags&closing == 0 {
		c.Close()
	} else {
		l.later(c)
	}
}

// Pause stops the socket from being read before the layer is ready.
func (w *Wire) Pause() {
	if c := w.Conn(); c.opening() && c.flags&dead == 0 {
		c.pause(byLayer)
	}
}

// Resume undoes Pause, and has Decode called again.
func (w *Wire) Resume() { w.Conn().unpause(byLayer) }

// Write sends p as it is. It keeps no part of p. What was written goes out with all
// else, and much of it at once.
func (w *Wire) Write(p []byte) {
	c := w.Conn()
	if c.flags&(dead|finSent) != 0 {
		return
	}
	if len(p) >= direct && c.out.n == 0 && c.maySend() {
		p = p[c.send(p):]
	}
	if len(p) > 0 && c.flags&dead == 0 {
		c.out.push(&c.loop().pool, p)
	}
	c.loop().later(c)
}

// writeLayered is write through the layer. What is short waits for more that one
// call of Encode can take.
func (c *Conn) writeLayered(p []byte) {
	y := c.ext.layered
	if len(p) < direct || y.opening {
		y.plain.push(&c.loop().pool, p)
		p = nil
	}
	if y.opening || len(p) == 0 && y.plain.n < direct {
		return
	}
	c.encodeMore(y, p)
	if c.out.n >= direct && c.maySend() {
		c.flush()
	}
}

// relayLayered is for what the other side of a Join has received.
func (c *Conn) relayLayered(p []byte) {
	y := c.ext.layered
	if y.opening {
		y.plain.push(&c.loop().pool, p)
		return
	}
	c.encodeMore(y, p)
	if c.out.n > 0 && c.maySend() {
		c.flush()
	}
}

// encode has the layer encode what waits, and the end if that is due.
func (c *Conn) encode() {
	y := c.ext.layered
	if y.opening {
		return
	}
	c.encodeMore(y, nil)
	if c.flags&(finWanted|dead) == finWanted && !y.finished {
		y.finished = true
		y.CloseWrite()
	}
}

// encodeMore has the layer encode what waits, and then p.
func (c *Conn) encodeMore(y *layered, p []byte) {
	l := c.loop()
	var err error
	for y.plain.n > 0 && err == nil {
		waiting := y.plain.first.bytes()
		err = y.Encode(waiting)
		if c.flags&dead != 0 {
			return
		}
		y.plain.pop(&l.pool, len(waiting))
	}
	if len(p) > 0 && err == nil {
		err = y.Encode(p)
	}
	if err != nil {
		(*Wire)(c).Fail(err)
	}
}

// readLayered takes what the kernel has, once, and has it decoded with what waited.
func (c *Conn) readLayered(y *layered) {
	l := c.loop()
	buf := l.takeRaw()
	defer func() { l.raw = buf }()

	n := 0
	if k := y.raw; k != nil {
		if n = copy(buf, k.bytes()); n == len(buf) {
			(*Wire)(c).Fail(ErrTooLong) // the layer waits for what no buffer holds
			return
		}
		y.raw = nil
		l.pool.put(k)
	}
	room := buf[n:]
	if y.opening {
		room = room[:min(openRead, len(room))]
	}
	got, err := anet.Read(int(c.fd), room)
	if err != nil && err != io.EOF {
		y.keep(l, buf[:n])
		c.received(err)
		return
	}
	y.eof = err == io.EOF
	c.touch()
	c.decode(y, buf[:n+got])
}

// decodes reports whether there may be input to decode, and Data may have it.
func (c *Conn) decodes(y *layered) bool {
	switch {
	case !y.started || c.flags&(dead|ended) != 0:
		return false
	case y.opening:
		return c.pauses&byLayer == 0
	}
	return c.pauses == 0 && c.flags&closing == 0
}

// decodeRaw has decoded what waits.
func (c *Conn) decodeRaw(y *layered) {
	k := y.raw
	y.raw = nil
	if k == nil {
		c.decode(y, nil)
		return
	}
	l := c.loop()
	c.decode(y, k.bytes())
	l.pool.put(k)
}

// decode has the layer make input of src, and offers that to Data, as much at once
// as the read buffer holds.
func (c *Conn) decode(y *layered, src []byte) {
	l := c.loop()
	buf := l.takeBuf()
	defer func() { l.buf = buf }()
	for {
		p, own := c.gather(buf)
		waiting := len(p)
		p, rest, err := y.fill(p, src)
		src = rest
		dry := len(p) < cap(p)
		switch {
		case len(p) > waiting:
			if own != nil {
				own.end += len(p) - waiting
			}
			c.offer(p, own)
		case own != nil:
			c.in = own
		case waiting > 0:
			c.keep(p)
		}

		switch {
		case c.flags&dead != 0 || c.flags&closing != 0 && !y.opening:
			return
		case c.flags&toOpen != 0 || c.pauses != 0 && !y.opening: // an error comes again
			y.keep(l, src)
			return
		case err == nil && y.eof && dry && !y.opening:
			err = io.EOF
		}
		switch {
		case err == io.EOF:
			c.received(err)
			return
		case err != nil:
			(*Wire)(c).Fail(err)
			return
		case dry:
			y.keep(l, src)
			return
		}
	}
}

// fill has the layer decode src into p, behind what is there, until p is full or src
// gives no more.
func (y *layered) fill(p, src []byte) (filled, rest []byte, err error) {
	for len(p) < cap(p) {
		nDst, nSrc, err := y.Decode(p[len(p):cap(p)], src, y.eof)
		p, src = p[:len(p)+nDst], src[nSrc:]
		if err != nil || nDst+nSrc == 0 {
			return p, src, err
		}
	}
	return p, src, nil
}

// keep copies input that Decode has not used.
func (y *layered) keep(l *Loop, src []byte) {
	k := y.raw
	y.raw = nil
	if len(src) > 0 {
		y.raw = l.pool.get(len(src))
		if len(y.raw.buf) < len(src) {
			y.raw = &chunk{buf: make([]byte, len(src))}
		}
		y.raw.append(src)
	}
	if k != nil {
		l.pool.put(k)
	}
}

// drop gives back what waits.
func (y *layered) drop(l *Loop) {
	y.plain.drop(&l.pool)
	y.keep(l, nil)
}

// takeRaw is takeBuf for what a Layer is to decode.
func (l *Loop) takeRaw() []byte {
	buf := l.raw
	l.raw = nil
	if buf == nil {
		buf = make([]byte, readSize)
	}
	return buf
}
