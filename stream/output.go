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
	rest := p
	if len(p) >= direct && c.maySend() {
		if c.queued > 0 {
			c.flush()
		}
		if c.queued == 0 {
			rest = p[c.send(p):]
		}
	}
	if len(rest) > 0 && c.flags&dead == 0 {
		c.push(rest)
		if c.queued >= direct && c.maySend() {
			c.flush()
		}
		if c.queued > c.h.limit() && c.flags&dead == 0 {
			c.overLimit()
		}
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
	if c.queued > c.h.limit() {
		l.end(c, ErrSlow)
	}
}

// push copies p to the end of the queue.
func (c *Conn) push(p []byte) {
	l := c.loop()
	c.queued += len(p)
	if c.tail != nil {
		p = p[c.tail.append(p):]
	}
	for len(p) > 0 {
		k := l.pool.get(max(len(p), min(c.queued, chunkMax)))
		if c.tail == nil {
			c.out = k
		} else {
			c.tail.next = k
		}
		c.tail = k
		p = p[k.append(p):]
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
	for c.queued > 0 && c.flags&dead == 0 {
		var n, size int
		var err error
		if k := c.out; k.next == nil {
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
		c.pop(n)
		c.sent(n, size, err)
		if n < size {
			break
		}
	}
	if c.flags&blocked != 0 && c.queued > c.h.limit() && c.flags&dead == 0 {
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

// pop drops n bytes that were sent.
func (c *Conn) pop(n int) {
	l := c.loop()
	c.queued -= n
	for n > 0 {
		k := c.out
		if left := k.end - k.start; n < left {
			k.start += n
			return
		} else {
			n -= left
		}
		c.out = k.next
		if c.out == nil {
			c.tail = nil
		}
		l.pool.put(k)
	}
}

// mark applies High and Low: to the connection's own input, or to that of the one
// it is joined to. waits says that what is queued cannot be sent now.
func (c *Conn) mark(waits bool) {
	switch {
	case c.flags&full == 0 && waits && c.queued >= c.h.high():
		c.flags |= full
		if j := c.joinedTo(); j != nil {
			j.pause(byJoin)
		} else if !c.h.FullDuplex {
			c.pauses |= byOutput
		}
	case c.flags&full != 0 && c.queued <= c.h.low():
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
	for k := c.out; k != nil; {
		next := k.next
		l.pool.put(k)
		k = next
	}
	c.out, c.tail, c.queued = nil, nil, 0
	if c.in != nil {
		l.pool.put(c.in)
		c.in = nil
	}
}
