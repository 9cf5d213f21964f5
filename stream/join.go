package stream

// Join makes a proxy of two connections of one loop: what one receives the other
// sends. Data, EOF and Drained of their Handlers are not called any more. Reading
// from one stops while the other's output waits (its Handler's High and Low), and
// only that direction stops. The end of one side's sending is passed on, and the
// other direction goes on; a reset is passed on as a reset. When one connection
// ends so does the other. Either may still be connecting. Input that waits is
// passed on. Two loops, or a connection that is joined already, panic.
func Join(a, b *Conn) {
	if a == nil || b == nil || a == b || a.loop() != b.loop() {
		panic("stream: Join needs two connections of one loop")
	}
	if a.joinedTo() != nil || b.joinedTo() != nil {
		panic("stream: Join of a connection that is joined already")
	}
	a.more().joined, b.more().joined = b, a
	for _, side := range [][2]*Conn{{a, b}, {b, a}} {
		c, other := side[0], side[1]
		if c.flags&done != 0 {
			c.ext.joined = nil
			other.partnerEnded(c.ext.err)
			return
		}
		c.need = 0
		if c.flags&(ended|busy) == ended && c.in == nil {
			other.CloseWrite()
		}
		if c.flags&full != 0 {
			c.unpause(byOutput)
			other.pause(byJoin)
		}
		c.again()
	}
}

func (c *Conn) joinedTo() *Conn {
	if c.ext == nil {
		return nil
	}
	return c.ext.joined
}

// relay sends to other what c has received: to the kernel if it has room, without
// a copy.
func (c *Conn) relay(other *Conn, p []byte) {
	if other.flags&(dead|finWanted) != 0 {
		return
	}
	if other.layered() != nil {
		other.relayLayered(p)
	} else if other.out.n == 0 && other.maySend() {
		p = p[other.send(p):]
	}
	if len(p) > 0 && other.flags&dead == 0 {
		if other.layered() == nil {
			other.out.push(&c.loop().pool, p)
		}
		other.mark(other.flags&blocked != 0 || other.fd < 0 || other.opening())
	}
	switch {
	case other.fd < 0: // still connecting, or dead
	case other.loop().beforeSend != nil:
		other.loop().later(other)
	default:
		other.update()
	}
}

// partnerEnded ends c as the connection that it was joined to has ended. What cut
// that off cuts off c too, for its peer to see.
func (c *Conn) partnerEnded(err error) {
	c.ext.joined = nil
	c.unpause(byJoin)
	switch err {
	case nil:
		c.Close()
	case ErrIdle, ErrTimeout:
		c.loop().end(c, err)
	default:
		c.loop().reset(c, err)
	}
}
