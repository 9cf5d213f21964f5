package stream

import (
	"github.com/aeloop/ae/anet"
)

const (
	// direct is how much goes to the kernel at once instead of waiting for the end
	// of the callback: a system call costs little beside it, and a copy would not.
	direct = 16 << 10

	// chunksAtOnce is how many chunks one send takes.
	chunksAtOnce = 16
)

// Write sends p: in order, all of it or an error. It keeps no part of p. What Data
// writes to its own connection leaves in one send when Data returns; all else
// before the loop sleeps; and much of it at once. What the kernel does not take
// waits; see Handler.High and Limit. The error is ErrClosed after Close, CloseWrite
// or the end, ErrSlow, or what the system said; the connection has ended then, and
// Handler.Close gets the same.
func (c *Conn) Write(p []byte) (int, error) {
	if c.flags&(dead|finWanted) != 0 {
		return 0, ErrClosed
	}
	l := c.loop()
	if c.layered() != nil {
		c.writeLayered(p)
	} else {
		c.write(p)
	}
	if c.Queued() > c.h.limit() && c.flags&dead == 0 {
		c.overLimit()
	}
	if c.flags&busy == 0 {
		l.later(c)
	} else if c.flags&blocked != 0 {
		c.update() // Data may run the loop until this is sent
	}
	if c.flags&dead != 0 {
		return 0, c.ext.err
	}
	return len(p), nil
}

// write sends p, or has it wait.
func (c *Conn) write(p []byte) {
	if len(p) >= direct && c.maySend() {
		if c.out.n > 0 {
			c.flush()
		}
		if c.out.n == 0 {
			p = p[c.send(p):]
		}
	}
	if len(p) > 0 && c.flags&dead == 0 {
		c.out.push(&c.loop().pool, p)
		if c.out.n >= direct && c.maySend() {
			c.flush()
		}
	}
}

// maySend reports whether c may be sent to now, and has not been refused.
func (c *Conn) maySend() bool {
	return c.fd >= 0 && c.flags&(blocked|toOpen|dead) == 0 && c.loop().beforeSend == nil
}

// overLimit asks the kernel once more, if it may, before it ends a slow peer.
func (c *Conn) overLimit() {
	l := c.loop()
	if c.fd >= 0 && l.beforeSend != nil {
		return // judged when the batch is sent
	}
	if c.fd >= 0 {
		c.flush()
	}
	if c.Queued() > c.h.limit() {
		l.end(c, ErrSlow)
	}
}

// send offers p to the kernel, and returns how much it took: less than all means
// that there is no room, or that the connection has ended.
func (c *Conn) send(p []byte) int {
	n, err := anet.Write(int(c.fd), p)
	c.sent(n, len(p), err)
	return n
}

// flush offers what is queued to the kernel.
func (c *Conn) flush() {
	l := c.loop()
	if c.layered() != nil {
		c.encode()
	}
	for c.out.n > 0 && c.flags&dead == 0 {
		var n, size int
		var err error
		if k := c.out.first; k.next == nil {
			size = k.end - k.start
			n, err = anet.Write(int(c.fd), k.bytes())
		} else {
			vec := l.vec[:0]
			for ; k != nil && len(vec) < chunksAtOnce; k = k.next {
				vec = append(vec, k.bytes())
				size += k.end - k.start
			}
			n, err = anet.Writev(int(c.fd), vec)
			clear(vec)
			l.vec = vec
		}
		c.out.pop(&l.pool, n)
		c.sent(n, size, err)
		if n < size {
			break
		}
	}
	if c.flags&blocked != 0 && c.Queued() > c.h.limit() && c.flags&dead == 0 {
		l.end(c, ErrSlow)
	}
	c.mark(c.flags&blocked != 0)
}

// hold keeps output back that BeforeSend does not let go: as if the kernel had
// refused it, but without watching for room.
func (c *Conn) hold() {
	c.flags &^= blocked
	c.mark(true)
	if c.fd >= 0 {
		c.update()
	}
}

// sent notes what became of a send.
func (c *Conn) sent(n, size int, err error) {
	if err != nil && err != anet.ErrWouldBlock {
		c.loop().end(c, err)
		return
	}
	if n > 0 {
		c.touch()
	}
	if n == size {
		c.flags &^= blocked
		return
	}
	c.flags |= blocked
	if c.timed() {
		unsent, _ := anet.Unsent(int(c.fd)) // for moved
		c.unsent = uint32(unsent)
	}
}

// mark applies High and Low: to the connection's own input, or to that of the one
// it is joined to. waits says that what is queued cannot be sent now.
func (c *Conn) mark(waits bool) {
	switch {
	case c.flags&full == 0 && waits && c.Queued() >= c.h.high():
		c.flags |= full
		if j := c.joinedTo(); j != nil {
			j.pause(byJoin)
		} else if !c.h.FullDuplex {
			c.pauses |= byOutput
		}
	case c.flags&full != 0 && c.Queued() <= c.h.low():
		c.flags = c.flags&^full | drained
		c.unpause(byOutput)
		if j := c.joinedTo(); j != nil {
			j.unpause(byJoin)
		}
		c.loop().later(c)
	}
}

// dropAll gives back what waits.
func (c *Conn) dropAll(l *Loop) {
	c.out.drop(&l.pool)
	if c.in != nil {
		l.pool.put(c.in)
		c.in = nil
	}
	if y := c.layered(); y != nil {
		y.drop(l)
	}
}
