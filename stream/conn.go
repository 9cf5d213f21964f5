package stream

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// Conn is a buffered connection. All its methods but Post belong to the goroutine
// of its loop, and may be called from any callback: none of them calls one. A Conn
// is never used again: after its Close was called its methods do nothing.
//
// It owns a buffer only while bytes wait in it.
type Conn struct {
	Data any // the caller's

	home       atomic.Pointer[Loop]
	h          *Handler
	ln         *Listener // that it was accepted by, and counts for
	prev, next *Conn     // in a slot of the wheel

	in  *chunk // input that Data has not used
	out queue  // output that the kernel has not taken
	ext *extra

	last   int64  // when a byte was last moved, on the loop's clock
	need   int    // Data is not called with less
	unsent uint32 // what the kernel's buffer held when last looked at
	fd     int32
	slot   int16
	flags  flags
	pauses pause
	mask   ae.Mask

	peer netip.AddrPort
}

var errMove = fmt.Errorf("stream: the connection cannot be moved now: %w", unix.EINVAL)

// extra is what few connections need.
type extra struct {
	err      error // why it ended
	deadline int64
	dial     *dial
	joined   *Conn // where Join takes the input to
	layered  *layered
}

type flags uint16

const (
	toOpen    flags = 1 << iota // Open is still to be called
	busy                        // Data is running
	ready                       // input in c.in is to be offered again
	inWork                      // in Loop.work or Loop.held
	inBlind                     // in Loop.blind
	ended                       // the peer has finished sending
	closing                     // Close was called
	finWanted                   // CloseWrite was called, or Close
	finSent                     // and is done
	blocked                     // the kernel has refused output: Writable is watched
	full                        // Queued has reached High, and not yet Low
	drained                     // Drained is to be called
	dead                        // the descriptor is closed
	done                        // and Close was called
	moving                      // on its way to its loop, after MoveTo
	told                        // Shutdown was called
)

// pause says why input is not read.
type pause uint8

const (
	byUser   pause = 1 << iota // Pause
	byOutput                   // Queued has reached High
	byJoin                     // the other side's has
	byData                     // Data runs the loop, which must not call it again
	byLayer                    // Wire.Pause
)

func (c *Conn) loop() *Loop { return c.home.Load() }

func (c *Conn) more() *extra {
	if c.ext == nil {
		c.ext = &extra{}
	}
	return c.ext
}

// Loop returns the Loop that the connection is on.
func (c *Conn) Loop() *Loop { return c.loop() }

// FD returns the descriptor, or -1 if there is none yet or no longer.
func (c *Conn) FD() int { return int(c.fd) }

// Peer returns the address of the other side, also after the end. It is the zero
// AddrPort for a Unix socket, and until a Dial has connected.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Open reports whether the connection can still be written: it was not closed, nor
// has it failed. One that still connects is open, and so is one whose Layer is not
// ready.
func (c *Conn) Open() bool { return c.flags&(dead|closing) == 0 }

// Queued returns how many bytes wait that the kernel has not taken.
func (c *Conn) Queued() int {
	if y := c.layered(); y != nil {
		return c.out.n + y.plain.n
	}
	return c.out.n
}

// Pause stops Data, from the moment it returns: what it has not used, and what
// comes, waits until Resume. Pausing twice is pausing once. A paused connection
// still ends when it idles, and within a second when the peer resets it.
func (c *Conn) Pause() { c.pause(byUser) }

// Resume undoes Pause. Input that waits in the connection's buffer is offered
// before the loop sleeps.
func (c *Conn) Resume() { c.unpause(byUser) }

func (c *Conn) pause(why pause) {
	c.pauses |= why
	if c.fd >= 0 {
		c.update()
	}
}

func (c *Conn) unpause(why pause) {
	if c.pauses&why == 0 || c.flags&dead != 0 {
		return
	}
	c.pauses &^= why
	c.again()
	if c.fd >= 0 {
		c.update()
	}
}

// again offers c.in to Data once more, before the loop sleeps; or, inside Data,
// what that leaves.
func (c *Conn) again() {
	if c.in != nil || c.flags&busy != 0 || c.layered() != nil {
		c.flags |= ready
		c.loop().later(c)
	}
}

// Need has Data called only once n bytes are there, those that wait included, and
// reads them into one buffer. It holds for one call; Data asks again. n may exceed
// Handler.MaxInput: the caller bounds it.
func (c *Conn) Need(n int) { c.need = n }

// SetHandler makes h the connection's Handler, as when a protocol is agreed on.
// Open is not called. Input that Data has not used is offered to h before the loop
// sleeps, or when there is as much as Need has asked for. A bad Handler panics.
func (c *Conn) SetHandler(h *Handler) {
	if err := h.check(); err != nil {
		panic(err.Error())
	}
	if c.flags&dead != 0 {
		return
	}
	c.h = h
	c.again()
	if c.fd >= 0 {
		c.last = c.loop().exactly()
		c.loop().time(c)
	}
}

// SetDeadline ends the connection with ErrTimeout at t, whatever happens on it; the
// zero Time is never. It holds for a Dial and for the wait of Close too.
func (c *Conn) SetDeadline(t time.Time) {
	if c.flags&dead != 0 || t.IsZero() && c.ext == nil {
		return
	}
	l := c.loop()
	c.more().deadline = 0
	if !t.IsZero() {
		c.ext.deadline = max(1, int64(t.Sub(l.epoch)))
	}
	l.time(c)
}

func (c *Conn) deadline() int64 {
	switch {
	case c.ext == nil:
		return 0
	case c.opening() && c.ext.layered.by != 0:
		return min(c.ext.layered.by, cmp.Or(c.ext.deadline, math.MaxInt64))
	}
	return c.ext.deadline
}

// due returns when something is to be done about c if nothing happens, or false.
func (c *Conn) due() (at int64, ok bool) {
	at = math.MaxInt64
	switch {
	case c.flags&closing != 0:
		at = after(c.last, c.h.linger())
	case c.h.Idle > 0 && c.fd >= 0 && !c.opening(): // a dial has its deadline only
		at = after(c.last, c.h.Idle)
	}
	if d := c.deadline(); d != 0 {
		at = min(at, d)
	}
	return at, at != math.MaxInt64
}

// after returns t+d, or the end of time.
func after(t int64, d time.Duration) int64 {
	if int64(d) > math.MaxInt64-t {
		return math.MaxInt64
	}
	return t + int64(d)
}

// touch notes that bytes have moved.
func (c *Conn) touch() {
	if c.timed() {
		c.last = c.loop().now()
	}
}

// timed reports whether anybody asks for last.
func (c *Conn) timed() bool { return c.h.Idle > 0 || c.flags&closing != 0 }

// moved reports whether the peer has taken output from the kernel's buffer since
// the last look at it. A first look finds out nothing, and counts as progress if
// there is something to take.
func (c *Conn) moved() bool {
	n, err := anet.Unsent(int(c.fd))
	if err != nil || n == 0 {
		c.unsent = 0
		return false
	}
	before := c.unsent
	c.unsent = uint32(n)
	return before == 0 || c.unsent < before
}

// lingered returns how a Close ends that has waited long enough: well, if all that
// is missing is the peer's own end.
func (c *Conn) lingered() error {
	if c.Queued() > 0 {
		return ErrLinger
	}
	if n, err := anet.Unsent(int(c.fd)); err == nil && n > 0 {
		return ErrLinger
	}
	return nil
}

// CloseWrite finishes sending: the peer reads what was written, and then the end.
// Input goes on. When both sides have finished the connection ends.
func (c *Conn) CloseWrite() {
	if c.flags&(dead|finWanted) == 0 {
		c.flags |= finWanted
		c.loop().later(c)
	}
}

// Close ends the connection and loses nothing: what was written goes out, then the
// end; input is read and dropped until the peer's end comes, because closing a
// socket with unread input destroys output that is still on its way. If the peer
// takes nothing for Handler.Linger, or does not end, the descriptor is closed all
// the same. A connection that is not open yet gets no Open; one that still connects
// ends at once if nothing was written.
func (c *Conn) Close() {
	if c.flags&(dead|closing) != 0 {
		return
	}
	l := c.loop()
	c.flags |= closing | finWanted
	if c.in != nil && c.flags&busy == 0 {
		l.pool.put(c.in)
		c.in = nil
	}
	if c.fd < 0 && c.Queued() == 0 || c.opening() && c.ext.layered.plain.n == 0 {
		l.end(c, nil)
		return
	}
	c.last = l.exactly()
	c.moved() // so that the first look can tell
	l.time(c)
	l.later(c)
}

// Abort ends the connection at once: the peer sees a reset, and what it has not
// received is lost. Handler.Close gets ErrAborted.
func (c *Conn) Abort() { c.loop().reset(c, ErrAborted) }

// Detach takes the descriptor away from the connection, for the caller to use and
// close, with the input that Data has not used and the output that the kernel has
// not taken. No callback follows. fd is -1 if there is none. Inside Data, which has
// the input, in is nil. A connection that was joined to it is closed. A Layer is
// closed, and what it holds is lost.
func (c *Conn) Detach() (fd int, in, out []byte) {
	fd = int(c.fd)
	if c.flags&dead != 0 || fd < 0 {
		return -1, nil, nil
	}
	l := c.loop()
	if c.layered() != nil {
		c.encode()
	}
	if c.in != nil {
		in = append(in, c.in.bytes()...)
	}
	for k := c.out.first; k != nil; k = k.next {
		out = append(out, k.bytes()...)
	}
	l.detach(c)
	c.fd = -1
	c.out.drop(&l.pool)
	if j := c.joinedTo(); j != nil {
		c.ext.joined = nil
		j.partnerEnded(nil)
	}
	l.end(c, nil)
	c.flags |= done
	l.n.Add(-1)
	if y := c.layered(); y != nil {
		y.Close()
	}
	return fd, in, out
}

// Post has fn called on the connection's loop, also when the connection has ended:
// fn finds it not Open then. Any goroutine may call it. Functions that one
// goroutine posts run in order, except across a MoveTo. The error is ae.ErrClosed.
func (c *Conn) Post(fn func(c *Conn)) error {
	if fn == nil {
		panic("stream: Post of a nil function")
	}
	l := c.loop()
	return l.el.Post(func(*ae.EventLoop) {
		if !l.owns(c) && c.Post(fn) == nil {
			return // it has moved, or has still to arrive
		}
		fn(c)
	})
}

// MoveTo hands the connection over to another loop, with all that waits in it. Only
// that loop's goroutine may use it afterwards. If that loop has ended the error is
// ae.ErrClosed and the connection stays where it is. Not for a connection that
// still connects, is joined, on its way already, or whose Data is running, or whose
// Layer is not ready: unix.EINVAL.
func (c *Conn) MoveTo(to *Loop) error {
	if to == nil {
		panic("stream: MoveTo a nil Loop")
	}
	from := c.loop()
	if c.flags&dead != 0 {
		return ErrClosed
	}
	if c.fd < 0 || c.flags&(busy|toOpen|moving) != 0 || c.opening() || c.ext != nil && c.ext.joined != nil {
		return errMove
	}
	if to == from {
		return nil
	}

	from.detach(c)
	from.n.Add(-1)
	c.flags = c.flags&^(inWork|inBlind) | moving // entries that are left there see that it has moved
	c.home.Store(to)
	err := to.el.Post(func(*ae.EventLoop) {
		if to.arrive(c, from); c.flags&dead != 0 {
			c.settle() // the loop has ended: nothing else would
		} else if to.draining {
			c.shutDown()
		}
	})
	if err != nil {
		c.home.Store(from)
		from.arrive(c, from)
	}
	return err
}

// arrive takes over a connection that has moved.
func (l *Loop) arrive(c *Conn, from *Loop) {
	c.flags &^= moving | told | inWork | inBlind // whoever used it on the way
	l.n.Add(1)
	if d := c.deadline(); d != 0 {
		c.ext.deadline = max(1, int64(from.epoch.Add(time.Duration(d)).Sub(l.epoch)))
	}
	err := l.attach(c, int(c.fd))
	if err == nil && l.over {
		err = ErrShutdown
	}
	if err != nil {
		l.end(c, err)
		return
	}
	c.update() // it may be paused
	c.again()
	l.later(c)
}

// wanted is what the loop should watch c for.
func (c *Conn) wanted() ae.Mask {
	mask := ae.None
	if c.reads() {
		mask |= ae.Readable
	}
	if c.flags&blocked != 0 {
		mask |= ae.Writable
	}
	return mask
}

// reads reports whether c is to be read.
func (c *Conn) reads() bool {
	pauses, y := c.pauses, c.layered()
	switch {
	case c.flags&ended != 0 || y != nil && y.eof:
		return false
	case y != nil && y.opening:
		pauses &= byData | byLayer // the Handler's are for what comes later
	case c.flags&closing != 0:
		pauses &= byData
	}
	return pauses == 0
}

// update has the loop watch c for what is wanted.
func (c *Conn) update() {
	want := c.wanted()
	if want == c.mask || c.flags&(dead|moving) != 0 {
		return
	}
	l := c.loop()
	err := error(nil)
	if add := want &^ c.mask; add != ae.None {
		if add&ae.Readable != 0 {
			err = l.el.CreateFileEvent(int(c.fd), ae.Readable, l.readable)
		}
		if add&ae.Writable != 0 && err == nil {
			err = l.el.CreateFileEvent(int(c.fd), ae.Writable, l.writable)
		}
	}
	if drop := c.mask &^ want; drop != ae.None && err == nil {
		err = l.el.DeleteFileEvent(int(c.fd), drop)
	}
	c.mask = want
	if err != nil {
		l.end(c, err)
	} else if want == ae.None {
		l.watchBlind(c)
	}
}

// onReadable is the read callback of all connections.
func (l *Loop) onReadable(_ *ae.EventLoop, fd int, _ ae.Mask) {
	c := l.conns[fd]
	switch {
	case c.flags&busy != 0: // Data runs the loop
		c.pause(byData)
		return
	case c.flags&(toOpen|ready) != 0: // there was no BeforeSleep
		c.resume()
	default:
		c.read()
	}
	if l.owns(c) {
		c.after()
	}
}

// onWritable is the write callback of all connections.
func (l *Loop) onWritable(_ *ae.EventLoop, fd int, _ ae.Mask) {
	c := l.conns[fd]
	if c.flags&busy != 0 && l.beforeSend == nil { // Data runs the loop, perhaps until this is sent
		c.flush()
		c.update()
		return
	}
	if l.beforeSend != nil {
		c.flags &^= blocked // or the loop spins while output is held
	}
	c.after()
}

// after does what is left to do after an event, or has it done with all others once
// BeforeSend has been called.
func (c *Conn) after() {
	l := c.loop()
	if l.beforeSend != nil && c.waits() && c.flags&dead == 0 {
		l.later(c)
		c.update()
		return
	}
	if c.flags&inWork == 0 {
		c.settle()
	}
}

// settle brings the connection to where its flags say it should be. It may call
// Drained and Close.
func (c *Conn) settle() {
	l := c.loop()
	if c.flags&(dead|busy|toOpen) == 0 && c.fd >= 0 {
		if c.waits() && l.beforeSend == nil {
			c.flush()
		}
		if c.flags&(finWanted|finSent) == finWanted && !c.waits() && !c.opening() && c.flags&dead == 0 {
			c.flags |= finSent
			if err := anet.CloseWrite(int(c.fd)); err != nil {
				l.end(c, cmp.Or(anet.SocketError(int(c.fd)), err)) // the reset that it failed for
			}
		}
		if c.flags&(finSent|dead) == finSent && c.peerEnded() {
			l.end(c, nil)
		}
		if c.waits() && l.beforeSend != nil && c.flags&blocked == 0 {
			l.later(c) // written since the batch was sent
		}
		c.update()
	}
	if c.flags&(drained|busy|toOpen) == drained { // last: it may panic
		c.flags &^= drained
		if c.h.Drained != nil && c.Open() && c.joinedTo() == nil {
			c.h.Drained(c)
		}
		if !l.owns(c) {
			return
		}
	}
	if c.flags&(dead|busy|done) == dead {
		c.finish()
	}
}

// waits reports whether there is output for flush to take.
func (c *Conn) waits() bool {
	if c.out.n > 0 {
		return true
	}
	y := c.layered()
	return y != nil && !y.opening && (y.plain.n > 0 || c.flags&finWanted != 0 && !y.finished)
}

// peerEnded reports whether the peer has finished sending.
func (c *Conn) peerEnded() bool {
	y := c.layered()
	return c.flags&ended != 0 || y != nil && y.eof
}

// finish makes the last call.
func (c *Conn) finish() {
	l := c.loop()
	c.flags |= done
	l.n.Add(-1)
	var err error
	if c.ext != nil {
		err = c.ext.err
		if c.ext.layered != nil {
			c.ext.layered.Close()
		}
		if other := c.ext.joined; other != nil {
			c.ext.joined = nil
			other.partnerEnded(err)
		}
	}
	if c.h.Close != nil {
		c.h.Close(c, err)
	}
}
