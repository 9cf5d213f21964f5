package stream

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// Loop is what the connections of one event loop share. It belongs to that loop's
// goroutine, and so do its connections and listeners.
type Loop struct {
	el    *ae.EventLoop
	epoch time.Time

	conns   []*Conn            // by descriptor
	dialing map[*Conn]struct{} // those that have none yet
	lns     []*Listener
	n       atomic.Int64 // connections whose Close has not been called; a Group's acceptor raises it
	taken   atomic.Int64 // descriptors of what lns have accepted; any loop of a Group lowers it
	resting atomic.Bool  // one of lns waits for that

	readable, writable ae.FileProc // method values, made once
	alarm              ae.TimeProc

	buf  []byte   // what is read goes here; nil while a callback uses it
	raw  []byte   // the same for what a Layer has still to decode
	vec  [][]byte // for one Writev
	pool pool

	work []*Conn // what settle has to look at before the loop sleeps,
	head int     // from here on
	held []*Conn // output that beforeSend holds back

	beforeSend func() bool
	wheel      wheel
	noted      bool    // somebody has asked for the time since catchUp
	blind      []*Conn // nothing is watched, so a reset has to be looked for
	looking    bool    // the time event that does is armed

	down       func() // called when the last connection has ended
	stopping   bool   // Shutdown was called
	taking     bool   // an Open is running, which may dial: its client waited in a backlog
	draining   bool   // the listeners are closed: those of connections are called
	shut       int    // the descriptor that comes next there
	over       bool   // the grace has ended, or the last connection
	removeHook func()
}

const (
	readSize  = 64 << 10
	blindLook = time.Second

	// maxRounds bounds how often what callbacks start before a sleep is looked at
	// again before the loop polls in between.
	maxRounds = 8
)

// On returns a Loop for connections on el. It adds a BeforeSleep hook, which sends
// what was written since the last sleep and calls what is due: whoever runs el
// with ProcessEvents passes CallBeforeSleep, as Main and Run do. Otherwise el is
// the caller's, with descriptors, time events and hooks of its own.
func On(el *ae.EventLoop) *Loop {
	if el == nil {
		panic("stream: On a nil EventLoop")
	}
	// The epoch is no later than any time of an iteration.
	l := &Loop{el: el, epoch: el.Now(), dialing: map[*Conn]struct{}{}}
	l.readable, l.writable, l.alarm = l.onReadable, l.onWritable, l.onAlarm
	l.removeHook = el.AddBeforeSleep(l.onBeforeSleep)
	return l
}

// closed reports whether the event loop is.
func (l *Loop) closed() bool { return errors.Is(l.el.DeleteFileEvent(0, ae.None), ae.ErrClosed) }

// EventLoop returns the loop that l is on.
func (l *Loop) EventLoop() *ae.EventLoop { return l.el }

// Len returns how many connections there are, those included that still connect,
// or wait for the peer after Close.
func (l *Loop) Len() int { return int(l.n.Load()) }

// All returns the connections that are open, and whose Layer, if any, is ready. Any of them may be closed meanwhile.
func (l *Loop) All() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for fd := 0; fd < len(l.conns); fd++ {
			if c := l.conns[fd]; c != nil && c.Open() && !c.opening() && !yield(c) {
				return
			}
		}
	}
}

// BeforeSend has fn called once before each batch of sends, so that what the
// replies acknowledge can be made durable first (a group commit). Output then
// always waits for the end of the iteration. If fn returns false nothing is sent,
// and it is called again before the next sleep; whoever holds output back sees to
// it that the loop wakes, with Post or a time event. Nil removes it.
func (l *Loop) BeforeSend(fn func() bool) { l.beforeSend = fn }

// Adopt makes a connection of a connected stream socket, which it makes
// non-blocking and close-on-exec. Open is called before the loop sleeps. After an
// error the descriptor is the caller's still: unix.EEXIST for one that the loop
// watches already, unix.EBADF, unix.ENOTSOCK, unix.EPROTOTYPE for a socket that is
// no stream, unix.ENOTCONN, unix.EINVAL for a bad Handler, ae.ErrRange,
// ae.ErrClosed, ErrShutdown.
func (l *Loop) Adopt(fd int, h *Handler) (*Conn, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if l.stopping {
		return nil, ErrShutdown
	}
	if err := l.adoptable(fd); err != nil {
		return nil, fmt.Errorf("stream: adopt: %w", err)
	}
	c := l.newConn(h)
	c.peer, _ = anet.PeerAddr(fd)
	if err := l.attach(c, fd); err != nil {
		return nil, fmt.Errorf("stream: adopt: %w", err)
	}
	l.n.Add(1)
	c.flags |= toOpen
	l.later(c)
	return c, nil
}

// adoptable returns why fd cannot be a connection.
func (l *Loop) adoptable(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	if kind != unix.SOCK_STREAM {
		return unix.EPROTOTYPE
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return err
	}
	if l.el.FileEvents(fd) != ae.None || fd < len(l.conns) && l.conns[fd] != nil {
		return unix.EEXIST
	}
	if err := anet.SetNonblock(fd, true); err != nil {
		return err
	}
	return anet.SetCloseOnExec(fd, true)
}

func (l *Loop) newConn(h *Handler) *Conn {
	c := &Conn{h: h, fd: -1, slot: unplaced}
	c.home.Store(l)
	return c
}

// attach gives c its descriptor, and has it watched for input.
func (l *Loop) attach(c *Conn, fd int) error {
	if err := l.el.CreateFileEvent(fd, ae.Readable, l.readable); err != nil {
		return err
	}
	c.fd, c.mask = int32(fd), ae.Readable
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)))...)
	}
	l.conns[fd] = c
	c.last = l.exactly()
	l.time(c)
	return nil
}

// detach takes c's descriptor out of everything, but does not close it.
func (l *Loop) detach(c *Conn) {
	l.wheel.remove(c)
	if fd := int(c.fd); fd >= 0 && fd < len(l.conns) && l.conns[fd] == c {
		_ = l.el.DeleteFileEvent(fd, ae.Readable|ae.Writable) // the loop may be closed
		c.mask = ae.None
		l.conns[fd] = nil
	}
}

// owns reports whether c is on l. A callback may have moved it to another loop, and
// then it is for another goroutine to look at: only this may be asked.
func (l *Loop) owns(c *Conn) bool { return c.loop() == l && c.flags&moving == 0 }

// later has settle look at c before the loop sleeps.
func (l *Loop) later(c *Conn) {
	if c.flags&inWork == 0 {
		c.flags |= inWork
		l.work = append(l.work, c)
	}
}

// onBeforeSleep does what methods and callbacks have left to do. All input comes
// first, so that its replies go out in the same batch of sends.
func (l *Loop) onBeforeSleep(*ae.EventLoop) {
	defer func() {
		if l.noted {
			l.catchUp()
		}
	}()
	l.release()
	for round := 0; len(l.work) > 0; round++ {
		if round == maxRounds {
			_ = l.el.Post(func(*ae.EventLoop) {}) // no sleep: there is more to do
			return
		}
		l.settleAll()
	}
	if l.draining && l.down != nil && l.n.Load() == 0 {
		down := l.down
		l.down, l.over = nil, true
		l.removeHook()
		down()
	}
}

// release has looked at again what beforeSend held back.
func (l *Loop) release() {
	l.work = append(l.work, l.held...)
	clear(l.held)
	l.held = l.held[:0]
}

// settleAll takes one batch of work. A callback may panic, and it may run the loop
// or close it, which then does a part of that work: so all of it stays in l.
func (l *Loop) settleAll() {
	for i := l.head; i < len(l.work); i++ {
		if c := l.work[i]; l.owns(c) {
			c.resume()
		}
	}
	hold := l.beforeSend != nil && !l.sendBatch()
	for n := len(l.work) - l.head; n > 0 && l.head < len(l.work); n-- {
		c := l.work[l.head]
		l.work[l.head] = nil
		l.head++
		switch {
		case !l.owns(c):
		case c.flags&(dead|busy) == 0 && c.flags&(ready|toOpen) != 0:
			l.work = append(l.work, c) // since it was resumed
		case hold && c.waits():
			c.hold()
			l.held = append(l.held, c)
		default:
			c.flags &^= inWork
			c.settle()
		}
	}

	left := copy(l.work, l.work[l.head:])
	clear(l.work[left:])
	l.work, l.head = l.work[:left], 0
}

// sendBatch calls BeforeSend and sends what it covers. What callbacks write from now
// on waits for the next batch. It returns false if output is to be held back.
func (l *Loop) sendBatch() bool {
	batch := l.work[l.head:]
	if !slices.ContainsFunc(batch, func(c *Conn) bool { return l.sendable(c) }) {
		return true
	}
	if !l.beforeSend() {
		return false
	}
	for _, c := range l.work[l.head:] { // BeforeSend may have run the loop
		if l.sendable(c) {
			c.flush()
		}
	}
	return true
}

// sendable reports whether c has output that can be offered to the kernel.
func (l *Loop) sendable(c *Conn) bool {
	return l.owns(c) && c.waits() && c.fd >= 0 && c.flags&(dead|busy|toOpen) == 0
}

// takeBuf returns the read buffer, or another one if a callback that uses it runs
// the loop.
func (l *Loop) takeBuf() []byte {
	buf := l.buf
	l.buf = nil
	if buf == nil {
		buf = make([]byte, readSize)
	}
	return buf
}

// now is the iteration's time, on a clock that starts with l.
func (l *Loop) now() int64 {
	l.noted = true
	return int64(l.el.Now().Sub(l.epoch))
}

// catchUp returns the time as it is. When a callback has run for long, what was
// noted in this iteration may have happened after it: Idle is not early, so all of
// it is taken to be of now. That is rare, and a look at every connection is cheap
// beside such a callback.
func (l *Loop) catchUp() int64 {
	noted, now := l.now(), int64(time.Since(l.epoch))
	if now-noted >= 1<<fine {
		for _, c := range l.conns {
			if c != nil && c.last == noted {
				c.last = now
			}
		}
	}
	l.noted = false
	return now
}

// exactly is the time, for what is done once in a connection's life: a callback that
// runs long makes now too early.
func (l *Loop) exactly() int64 { return int64(time.Since(l.epoch)) }

// time has the wheel find c when something is due.
func (l *Loop) time(c *Conn) {
	due, ok := c.due()
	if !ok {
		l.wheel.remove(c)
		return
	}
	w := &l.wheel
	if w.used == [3]uint64{} {
		w.now = l.now()
	}
	w.place(c, due)
	l.arm()
}

// arm has the loop call onAlarm when the wheel has something to look at.
func (l *Loop) arm() {
	w := &l.wheel
	if at, ok := w.next(); ok && (w.alarm == 0 || at < w.alarm) {
		l.el.DeleteTimeEvent(w.event)
		w.alarm = at
		w.event = l.el.CreateTimeEvent(time.Until(l.epoch.Add(time.Duration(at))), l.alarm)
	}
}

// onAlarm looks at the connections whose time has come.
func (l *Loop) onAlarm(*ae.EventLoop, ae.TimeEventID) time.Duration {
	l.wheel.alarm = 0
	defer l.arm() // also when a callback panics
	l.wheel.advance(l.catchUp(), l.look)
	return ae.NoMore
}

// look ends c, or puts it off.
func (l *Loop) look(c *Conn) {
	now := l.exactly()
	if c.flags&toOpen != 0 {
		c.last = now // it has not even begun
	}
	if due, ok := c.due(); !ok || due > now {
		l.time(c)
		return
	}
	if d := c.deadline(); d != 0 && d <= now {
		l.end(c, ErrTimeout)
	} else if c.moved() {
		c.last = now
		l.time(c)
	} else if c.flags&closing != 0 {
		l.end(c, c.lingered())
	} else if c.h.Idled == nil {
		l.end(c, ErrIdle)
	} else {
		c.last = now
		l.time(c)
		c.h.Idled(c)
		if l.owns(c) {
			l.later(c)
		}
	}
}

// end closes c's descriptor, and has its Close called before the loop sleeps.
func (l *Loop) end(c *Conn, err error) {
	if c.flags&dead != 0 {
		return
	}
	c.flags |= dead
	if err != nil && c.more().err == nil { // a Layer's error comes before what its last words met
		c.ext.err = err
	}
	c.stopDial()
	l.detach(c)
	if c.fd >= 0 {
		if c.Queued() > 0 {
			_ = anet.SetLinger(int(c.fd), 0) // a reset: what was cut off must not look complete
		}
		_ = anet.Close(int(c.fd))
		c.fd = -1
	}
	c.dropAll(l)
	if c.ln != nil {
		c.ln.released()
		c.ln = nil
	}
	if c.flags&inWork != 0 {
		l.release() // it may be held
	}
	l.later(c)
}

// reset is end, and the peer sees a reset.
func (l *Loop) reset(c *Conn, err error) {
	if c.fd >= 0 {
		_ = anet.SetLinger(int(c.fd), 0)
	}
	l.end(c, err)
}

// Shutdown ends everything: each listener takes who waits in its backlog and
// closes; each connection's Shutdown is called; after grace those that are left
// are ended with ErrShutdown. When the last Close has been called, done is, if it
// is not nil. Nothing new is taken from now on. The error is ae.ErrClosed, and
// ErrShutdown the second time.
func (l *Loop) Shutdown(grace time.Duration, done func()) error {
	if l.stopping {
		return ErrShutdown
	}
	if done == nil {
		done = func() {}
	}
	if err := l.el.Post(func(*ae.EventLoop) { l.drain() }); err != nil {
		return err
	}
	l.stopping, l.down = true, done
	l.endAfter(grace)
	return nil
}

// endAfter has what is left after grace ended.
func (l *Loop) endAfter(grace time.Duration) {
	l.el.CreateTimeEvent(grace, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		l.over = true
		l.abortAll(ErrShutdown)
		return ae.NoMore
	})
}

// drain closes the listeners and calls each Shutdown. When a callback has panicked
// it goes on behind that.
func (l *Loop) drain() {
	finished := false
	defer func() {
		if !finished {
			_ = l.el.Post(func(*ae.EventLoop) { l.drain() }) // a closed loop has nothing left
		}
	}()
	l.acceptRest()
	l.draining = true
	for l.shut < len(l.conns) {
		c := l.conns[l.shut]
		l.shut++
		if c != nil && c.Open() {
			c.shutDown()
		}
	}
	finished = true
}

// acceptRest closes the listeners, behind those who wait in their backlogs.
func (l *Loop) acceptRest() {
	for len(l.lns) > 0 {
		ln := l.lns[0]
		ln.acceptAll()
		ln.Close()
	}
}

// shutDown calls Shutdown, once; for one that is not open yet, after Open.
func (c *Conn) shutDown() {
	if c.flags&(toOpen|told) != 0 || c.opening() {
		return
	}
	c.flags |= told
	if c.h.Shutdown != nil {
		c.h.Shutdown(c)
	}
}

// abortAll ends all connections.
func (l *Loop) abortAll(err error) {
	for fd := 0; fd < len(l.conns); fd++ {
		if c := l.conns[fd]; c != nil {
			l.reset(c, err)
		}
	}
	for _, c := range slices.Collect(maps.Keys(l.dialing)) {
		l.end(c, err)
	}
}

// Close ends everything at once, as the end of a grace does, and calls each Close,
// the only method here that does: for a loop that runs no more. Inside the Data of a
// connection that one's Close comes when Data has returned. A panic in a Close leaves
// the rest to another call. It does not close the EventLoop.
func (l *Loop) Close() {
	l.stopping, l.over = true, true
	for len(l.lns) > 0 {
		l.lns[0].Close()
	}
	for {
		l.abortAll(ErrShutdown)
		l.release()
		if l.head == len(l.work) {
			break // one whose Data is running ends when that returns
		}
		l.settleAll()
	}
	l.removeHook()
}

// watchBlind looks after c, which the loop does not watch: paused, or half closed
// with nothing to send. A reset would not be noticed, so it is asked for once a
// second.
func (l *Loop) watchBlind(c *Conn) {
	if c.flags&inBlind != 0 {
		return
	}
	c.flags |= inBlind
	l.blind = append(l.blind, c)
	if !l.looking {
		l.looking = l.el.CreateTimeEvent(blindLook, l.lookForResets) != 0
	}
}

func (l *Loop) lookForResets(*ae.EventLoop, ae.TimeEventID) time.Duration {
	l.blind = slices.DeleteFunc(l.blind, func(c *Conn) bool {
		if !l.owns(c) {
			return true
		}
		if c.flags&dead == 0 && c.mask == ae.None {
			if err := anet.SocketError(int(c.fd)); err != nil {
				l.end(c, err)
			}
		}
		if c.flags&dead == 0 && c.mask == ae.None {
			return false
		}
		c.flags &^= inBlind
		return true
	})
	if len(l.blind) == 0 {
		l.looking = false
		return ae.NoMore
	}
	return blindLook
}
