package stream

import (
	"io"

	"github.com/aeloop/ae/anet"
)

// read takes what the kernel has, once, and offers it to Data with what waited.
func (c *Conn) read() {
	if y := c.layered(); y != nil && (y.opening || c.flags&closing == 0) {
		c.readLayered(y)
		return
	}
	l := c.loop()
	buf := l.takeBuf()
	defer func() { l.buf = buf }()

	if c.flags&closing != 0 {
		_, err := anet.Read(int(c.fd), buf) // dropped; see Close
		c.received(err)
		return
	}
	p, own := c.gather(buf)
	n, err := anet.Read(int(c.fd), p[len(p):cap(p)])
	if err != nil {
		if c.in = own; own == nil && len(p) > 0 {
			c.keep(p)
		}
		c.received(err)
		return
	}
	c.touch()
	p = p[:len(p)+n]
	if own != nil {
		own.end += n
	}
	c.offer(p, own)
}

// gather returns a slice with the input that waits, to read into behind it: the
// loop's buffer, or, when much waits, the connection's own, which is then taken
// from it and returned too.
func (c *Conn) gather(buf []byte) (p []byte, own *chunk) {
	k := c.in
	if k == nil {
		return buf[:0], nil
	}
	waiting := k.bytes()
	if size := max(c.need, len(waiting)+readSize/4); size <= len(buf) {
		n := copy(buf, waiting)
		c.in = nil
		c.loop().pool.put(k)
		return buf[:n], nil
	}

	c.in = nil
	if len(k.room()) == 0 || k.start > 0 && len(k.room()) < readSize/4 {
		// At most twice of what has come: Need alone must not cost memory.
		size := min(max(c.need, len(waiting)+readSize/4), 2*len(waiting)+readSize)
		larger := &chunk{buf: make([]byte, size)}
		larger.append(waiting)
		c.loop().pool.put(k)
		k = larger
	}
	return k.buf[k.start:k.end:len(k.buf)], k
}

// received deals with a read that brought nothing for Data.
func (c *Conn) received(err error) {
	switch err {
	case nil, anet.ErrWouldBlock:
	case io.EOF:
		if c.flags&ended != 0 {
			return // EOF runs the loop, or has panicked
		}
		c.touch()
		c.flags |= ended
		if c.flags&closing != 0 {
			return
		}
		if j := c.joinedTo(); j != nil {
			j.CloseWrite()
		} else if c.h.EOF != nil {
			c.h.EOF(c)
		} else {
			c.Close()
		}
	default:
		c.loop().end(c, err)
	}
}

// offer has Data take from p, which is own's or the loop's, and keeps the rest.
func (c *Conn) offer(p []byte, own *chunk) {
	l := c.loop()
	used := 0
	if len(p) >= c.need {
		c.need = 0
		used = c.callData(p)
		l = c.loop()
		if c.flags&(dead|closing) != 0 {
			used = len(p)
		}
	}
	rest := p[used:]
	if own != nil && len(rest) >= len(own.buf)/4 {
		own.start += used
		c.in = own
	} else {
		if len(rest) > 0 {
			c.keep(rest)
		}
		if own != nil {
			l.pool.put(own)
		}
		if len(rest) == 0 {
			return
		}
	}
	if c.Queued() >= c.h.high() && c.flags&dead == 0 {
		c.mark(true) // Data may have stopped for that
	}
	limit := max(c.h.maxInput(), c.need)
	if used > 0 {
		limit += readSize
	}
	if c.pauses == 0 && c.flags&ready == 0 && len(c.in.bytes()) >= limit {
		l.end(c, ErrTooLong)
	}
}

// keep copies input that Data has not used.
func (c *Conn) keep(p []byte) {
	k := c.loop().pool.get(len(p))
	if len(k.buf) < len(p) {
		k = &chunk{buf: make([]byte, len(p))}
	}
	k.append(p)
	c.in = k
}

// callData calls Data. A connection whose Data panics ends: what it has done with
// its input nobody knows.
func (c *Conn) callData(p []byte) (used int) {
	c.flags |= busy
	returned := false
	defer func() {
		c.flags &^= busy
		if !returned {
			c.loop().end(c, ErrAborted)
		}
	}()

	switch j := c.joinedTo(); {
	case j != nil:
		used = len(p)
		c.relay(j, p)
	case c.h.Data == nil:
		used = len(p)
	default:
		used = c.h.Data(c, p)
	}
	if used < 0 || used > len(p) {
		panic("stream: Data returned more than it was given, or less than 0")
	}
	returned = true

	if c.pauses&byData != 0 {
		c.pauses &^= byData // settle updates what is watched
	}
	if c.flags&ready != 0 {
		c.loop().later(c) // Data has called Resume, SetHandler or Join: what it has not used is due
	}
	return used
}

// resume calls Open if that is due, and offers input again that waits.
func (c *Conn) resume() {
	if c.flags&dead != 0 {
		return
	}
	y := c.layered()
	if y != nil && !y.started && c.fd >= 0 && c.flags&busy == 0 {
		c.startLayer(y)
	}
	if c.flags&toOpen != 0 {
		c.flags &^= toOpen
		l := c.loop()
		if c.h.Open != nil && c.Open() {
			c.loop().open(c)
		}
		if l.owns(c) && l.draining && c.Open() {
			c.shutDown()
		}
		if !l.owns(c) {
			return
		}
	}
	if c.flags&ready == 0 || c.flags&busy != 0 {
		return
	}
	c.flags &^= ready
	if k := c.in; k != nil && c.pauses == 0 && c.flags&(closing|dead) == 0 {
		c.in = nil
		c.offer(k.bytes(), k)
		c.loop().later(c) // Data may have run the loop, which found c busy
	}
	if y != nil && c.decodes(y) {
		c.decodeRaw(y)
	}
	if j := c.joinedTo(); j != nil && c.in == nil && c.flags&ended != 0 {
		j.CloseWrite() // which has waited for that input
	}
}
