package main

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/aof"
	"github.com/aeloop/ae/examples/kv/store"
)

const (
	databases = 16

	// loopSize is one more than the largest descriptor that the loop takes. Its
	// tables grow as descriptors come, so it can be large.
	loopSize = 1_000_000

	// acceptBatch bounds how many connections are accepted at once, for the
	// clients that are there already to be served in between.
	acceptBatch = 1000

	// acceptPause is how long the listener rests when there are no descriptors.
	acceptPause = 100 * time.Millisecond

	// readSize is how much is read from a client at once.
	readSize = 64 << 10

	// outputLimit is how many bytes of replies may wait for a client that does not
	// read them before its commands wait too.
	outputLimit = 1 << 20
)

// A server is everything that the callbacks share. There are no locks in it:
// all of it belongs to the goroutine that runs the loop.
type server struct {
	el       *ae.EventLoop
	cfg      *config
	listener int // descriptor, or -1
	network  string
	address  string
	paused   bool // whether the listener rests

	commands []*command // without the subcommands
	byName   map[string]*command
	dbs      [databases]*store.DB
	aof      *aof.File // nil without one

	clients []*client
	pending []*client // those with output that was not tried to write yet, or must not be
	input   []byte    // what is being read and parsed, of whichever client
	spare   [][]byte  // output buffers that are not in use
	checked int       // where checkClients goes on
	lastID  int64     // of a client
	held    int       // bytes of memory, see returnMemory

	channels, patterns topics // see pubsub.go
	monitors           map[*client]struct{}
	slowlog            []slowCommand // the newest last
	slowID             int64
	digits             []byte // to write numbers in
	scratch            []byte // to make values in

	clock   func() time.Time
	now     int64 // milliseconds since 1970, see readClock
	mark    time.Time
	started time.Time
	log     *slog.Logger
	warned  map[string]int64 // when, as now; see seldom

	ending      bool
	interrupted chan struct{} // closed by the first signal: to end a DEBUG SLEEP

	stats statistics
}

type statistics struct {
	connections, rejected, commands, hits, misses, received, sent int64
	sampled, perSecond                                            int64 // see sampleRates
}

func newServer(cfg *config) (*server, error) {
	el, err := ae.New(loopSize)
	if err != nil {
		return nil, err
	}

	s := &server{
		el:       el,
		cfg:      cfg,
		listener: -1,
		byName:   make(map[string]*command),
		channels: make(topics),
		patterns: make(topics),
		monitors: make(map[*client]struct{}),
		warned:   make(map[string]int64),
		input:    make([]byte, resp.MaxInline+readSize),
		clock:    time.Now,
		started:  time.Now(),
		log:      slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: &cfg.logLevel})),

		interrupted: make(chan struct{}),
	}
	s.addCommands(commandTable())
	for i := range s.dbs {
		s.dbs[i] = store.New()
		s.dbs[i].Index = i
	}

	el.AddBeforeSleep(s.beforeSleep)
	el.CreateTimeEvent(0, s.expireKeys)
	el.CreateTimeEvent(0, s.checkClients)
	el.CreateTimeEvent(0, s.sampleRates)
	el.CreateTimeEvent(0, s.returnMemory)
	return s, nil
}

// sampleRates is the time event that finds out how much there is to do.
func (s *server) sampleRates(*ae.EventLoop, ae.TimeEventID) time.Duration {
	s.stats.perSecond = s.stats.commands - s.stats.sampled
	s.stats.sampled = s.stats.commands
	return time.Second
}

// returnMemory is the time event that gives memory back to the system once much of
// the data has gone and no more is going. Go does it too, but takes minutes.
func (s *server) returnMemory(*ae.EventLoop, ae.TimeEventID) time.Duration {
	const much = 64 << 20

	held, gone := 0, 0
	for _, db := range s.dbs {
		held += db.Values()
		gone += db.Shrunk()
	}
	going := held < s.held
	s.held = held
	if !going && gone >= max(much, held/8) {
		for _, db := range s.dbs {
			db.Forget()
		}
		go debug.FreeOSMemory()
	}
	return time.Second
}

// expireKeys is the time event that removes keys nobody asks for any more. When
// there are many of them it takes about a fifth of the time.
func (s *server) expireKeys(*ae.EventLoop, ae.TimeEventID) time.Duration {
	wait := 100 * time.Millisecond
	s.readClock()
	for _, db := range s.dbs {
		db.Now = s.now
		if db.Sweep() {
			wait = 2 * time.Millisecond
		}
	}
	return wait
}

// readClock sets the time for the commands that follow. To ask for it costs as
// much as half a GET, so it is done once for all commands that came in one read,
// and again after one that may have taken long.
func (s *server) readClock() {
	s.mark = s.clock()
	s.now = s.mark.UnixMilli()
}

// The chain begins here: the listener is readable.
func (s *server) acceptConnections(el *ae.EventLoop, listener int, _ ae.Mask) {
	for range acceptBatch {
		fd, peer, err := anet.Accept(listener)
		switch {
		case err == nil:
			s.welcome(fd, peer)
		case errors.Is(err, anet.ErrWouldBlock):
			return
		case errors.Is(err, anet.ErrAborted):
			// That one is gone; there may be others.
		default:
			s.pauseListener(err)
			return
		}
	}
}

// pauseListener lets the listener rest after an error. Without descriptors the
// connection stays in the queue and the listener readable, so the loop would
// spin; and the clients that have one are still to be served.
func (s *server) pauseListener(err error) {
	if !s.paused {
		s.seldom(s.log.Warn, "cannot accept for now", "error", err)
	}
	s.paused = true

	s.el.DeleteFileEvent(s.listener, ae.Readable)
	s.el.CreateTimeEvent(acceptPause, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		if s.ending {
			return ae.NoMore
		}
		if err := el.CreateFileEvent(s.listener, ae.Readable, s.acceptConnections); err != nil {
			return acceptPause
		}
		return ae.NoMore
	})
}

// A client is one connection.
type client struct {
	srv   *server
	id    int64
	fd    int // -1 when closed
	index int // in srv.clients
	db    *store.DB

	name            string
	library         [2]string // name and version of the client's software
	last            *command
	recent          *command // the last one looked up, without regard to subcommands
	created, active int64    // as server.now; active when something was read or written
	noEvict         bool
	stranger        bool // has not given the password

	channels, patterns map[string]struct{} // subscriptions; nil without
	monitor            bool
	softSince          int64 // when the output exceeded its soft limit, or 0
	doomed             bool  // to be closed without writing the output

	req  resp.Parser
	rest []byte // input behind the last complete argument

	out      resp.Writer
	sent     int  // bytes of out that are written
	queued   bool // in srv.pending
	stalled  bool // too much output waits; no input is read or executed
	closing  bool // to be closed when the output is written
	doubtful int  // where in out the replies begin that acknowledge what is not written yet, plus one; or 0

	// The methods as values: to evaluate c.readable allocates, so it is done once.
	onReadable, onWritable ae.FileProc
}

// welcome takes a new connection in, or says why not.
func (s *server) welcome(fd int, peer netip.AddrPort) {
	s.readClock()
	s.stats.connections++
	if reason := s.refuse(peer); reason != "" {
		s.stats.rejected++
		_, _ = anet.Write(fd, []byte(reason))
		_ = anet.Close(fd)
		return
	}
	s.addClient(fd)
}

func (s *server) addClient(fd int) {
	s.paused = false
	s.lastID++
	c := &client{srv: s, id: s.lastID, fd: fd, db: s.dbs[0], index: len(s.clients), created: s.now, active: s.now}
	c.stranger = s.cfg.password != ""
	c.onReadable, c.onWritable = c.readable, c.writable
	s.clients = append(s.clients, c)

	if s.network == "tcp" {
		// Both only matter to how well the connection works: it does without.
		_ = anet.SetNoDelay(fd, true)
		_ = anet.SetKeepAlive(fd, time.Duration(s.cfg.keepAlive)*time.Second)
	}
	if err := s.el.CreateFileEvent(fd, ae.Readable, c.onReadable); err != nil {
		// The loop's backend has a limit, or the kernel's memory has.
		_, _ = anet.Write(fd, []byte("-ERR max number of clients reached\r\n"))
		c.close()
	}
}

// readable is called when there is something to read: input, the end, an error.
func (c *client) readable(*ae.EventLoop, int, ae.Mask) {
	s := c.srv

	// The input of all clients goes through one buffer, behind what an earlier
	// read left of an incomplete argument. So an idle client has no input buffer.
	rest := copy(s.input, c.rest)
	into := s.input[rest : rest+readSize]
	big := c.req.Room()
	if big != nil {
		into = big
	}

	n, err := anet.Read(c.fd, into)
	switch {
	case err == anet.ErrWouldBlock:
		return
	case err != nil:
		c.hangUp(err)
		return
	}

	s.stats.received += int64(n)
	if big != nil {
		c.active = s.now
		c.req.Filled(n)
		c.checkInput()
		return
	}
	c.execute(s.input[:rest+n])
}

// hangUp is called when there is no more to read. Someone who has only finished
// sending still gets the replies.
func (c *client) hangUp(err error) {
	if err != io.EOF || len(c.out.Buf) == 0 {
		c.close()
		return
	}
	c.finish()
}

// finish ends the reading; the client is closed as soon as the output is written.
func (c *client) finish() {
	c.closing = true
	c.rest = nil
	_ = c.srv.el.DeleteFileEvent(c.fd, ae.Readable)
}

// execute executes the commands in input, and keeps what does not make one.
func (c *client) execute(input []byte) {
	c.srv.readClock()
	c.active = c.srv.now
	for len(input) > 0 && !c.closing && !c.stalled {
		c.req.Limits = c.limits()
		n, complete, err := c.req.Parse(input)
		input = input[n:]
		if err != nil {
			c.queue()
			c.out.Error("ERR " + err.Error())
			c.closing = true
			break
		}
		if !complete {
			break
		}

		if len(c.req.Args) > 0 {
			c.call(c.req.Args)
		}
		c.req.Reset()
		c.stalled = len(c.out.Buf)-c.sent > outputLimit
	}

	switch {
	case c.closing:
		c.finish()
		return
	case c.stalled:
		_ = c.srv.el.DeleteFileEvent(c.fd, ae.Readable)
	}
	c.keep(input)
}

// keep stores the input that is not parsed yet.
func (c *client) keep(input []byte) {
	if len(input) == 0 {
		c.rest = nil
		return
	}
	c.rest = append(c.rest[:0], input...)
	c.checkInput()
}

// queue makes sure that the output is written before the loop sleeps. Whoever
// appends to the output of a client calls it first.
func (c *client) queue() {
	if c.queued {
		return
	}
	c.queued = true
	c.srv.pending = append(c.srv.pending, c)
	if c.out.Buf == nil {
		c.out.Buf = c.srv.takeBuffer()
	}
}

// beforeSleep makes sure that no reply leaves before its command is in the
// append-only file.
func (s *server) beforeSleep(*ae.EventLoop) {
	if s.aof != nil && s.aof.Save() {
		s.settle()
	}
	s.flushAll()
}

// flushAll is called before the loop sleeps. By now all that was readable has
// been read, so the replies to a pipeline leave in one write.
func (s *server) flushAll() {
	waiting := s.pending[:0]
	for _, c := range s.pending {
		if c.doubtful > 0 && c.fd >= 0 && !c.doomed {
			waiting = append(waiting, c) // for the append-only file
			continue
		}
		c.queued = false
		if c.fd >= 0 {
			c.flush()
		}
	}
	clear(s.pending[len(waiting):])
	s.pending = waiting
}

// flush writes the output, as much as the socket takes.
func (c *client) flush() {
	if c.doomed {
		c.close()
		return
	}
	if err := c.send(); err != nil {
		c.close()
		return
	}

	switch {
	case c.sent < len(c.out.Buf):
		c.compactOutput()
		c.awaitWritable()
		if c.checkOutput(); c.doomed {
			c.close()
		}
	case c.closing:
		c.close()
	default:
		c.srv.giveBuffer(c.out.Buf)
		c.out.Buf, c.sent, c.softSince = nil, 0, 0
		c.drained()
	}
}

// send gives the kernel what it takes of the output.
func (c *client) send() error {
	n, err := anet.Write(c.fd, c.out.Buf[c.sent:])
	if err != nil && err != anet.ErrWouldBlock {
		return err
	}
	if n > 0 {
		c.active = c.srv.now
	}
	c.srv.stats.sent += int64(n)
	c.sent += n
	return nil
}

// waiting returns how much output is not sent.
func (c *client) waiting() int64 { return int64(len(c.out.Buf) - c.sent) }

// compactOutput drops what is written, once that is the larger part.
func (c *client) compactOutput() {
	if c.sent > len(c.out.Buf)/2 {
		c.out.Buf = c.out.Buf[:copy(c.out.Buf, c.out.Buf[c.sent:])]
		c.sent = 0
	}
}

// drained is called when all output is written. A stalled client goes on when it
// is writable, which it is already: by way of the loop, so that others have
// their turn.
func (c *client) drained() {
	el := c.srv.el
	switch {
	case c.stalled:
		c.awaitWritable()
	case el.FileEvents(c.fd)&ae.Writable != 0:
		_ = el.DeleteFileEvent(c.fd, ae.Writable)
	}
}

func (c *client) awaitWritable() {
	mask := ae.Writable
	if c.srv.aof != nil {
		mask |= ae.Barrier // writable first, or it would send what readable has just replied
	}
	if err := c.srv.el.CreateFileEvent(c.fd, mask, c.onWritable); err != nil {
		c.close()
	}
}

// writable is called when the socket takes output again.
func (c *client) writable(el *ae.EventLoop, fd int, _ ae.Mask) {
	if c.doubtful > 0 { // flushAll will send it, and no sooner
		_ = el.DeleteFileEvent(fd, ae.Writable)
		return
	}
	if len(c.out.Buf) > 0 {
		c.flush()
		return
	}

	// A stalled client with nothing left to write: back to its input.
	c.stalled = false
	_ = el.DeleteFileEvent(fd, ae.Writable)
	if err := el.CreateFileEvent(fd, ae.Readable, c.onReadable); err != nil {
		c.close()
		return
	}
	c.execute(c.srv.input[:copy(c.srv.input, c.rest)])
}

// close ends the connection at once.
func (c *client) close() {
	s := c.srv
	_ = s.el.DeleteFileEvent(c.fd, ae.Readable|ae.Writable)
	_ = anet.Close(c.fd)
	c.fd = -1

	last := s.clients[len(s.clients)-1]
	s.clients[c.index] = last
	last.index = c.index
	s.clients[len(s.clients)-1] = nil
	s.clients = s.clients[:len(s.clients)-1]
	s.leave(c)
	if s.ending && len(s.clients) == 0 {
		s.el.Stop()
	}

	s.giveBuffer(c.out.Buf)
	c.out.Buf, c.rest, c.req = nil, nil, resp.Parser{}
}

// An output buffer is only held while there is output, so the loop needs about
// as many as there are clients in one iteration. Those that had to grow a lot
// are left to the garbage collector.
const (
	bufferSize    = 16 << 10
	bufferMax     = 64 << 10
	buffersToKeep = 256
)

func (s *server) takeBuffer() []byte {
	if n := len(s.spare); n > 0 {
		b := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return b
	}
	return make([]byte, 0, bufferSize)
}

func (s *server) giveBuffer(b []byte) {
	if cap(b) >= bufferSize && cap(b) <= bufferMax && len(s.spare) < buffersToKeep {
		s.spare = append(s.spare, b[:0])
	}
}
