package main

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/aof"
	"github.com/aeloop/ae/examples/kv/store"
	"github.com/aeloop/ae/stream"
)

const (
	databases = 16

	// loopSize is one more than the largest descriptor that the loop takes. Its
	// tables grow as descriptors come, so it can be large.
	loopSize = 1_000_000

	// outputLimit is how many bytes of replies may wait for a client that does not
	// read them before its commands wait too.
	outputLimit = 1 << 20

	// batch is how many bytes of replies are collected before they are sent.
	batch = 64 << 10
)

// A server is everything that the callbacks share. There are no locks in it:
// all of it belongs to the goroutine that runs the loop.
type server struct {
	cfg      *config
	commands []*command // without the subcommands
	byName   map[string]*command

	// The connections.
	el       *ae.EventLoop
	loop     *stream.Loop
	network  string
	address  string
	handlers [len(classNames)]*stream.Handler // see setHandlers
	clients  []*client
	lastID   int64     // of a client
	checked  int       // where checkClients goes on
	pending  []*client // those with output that is not handed to its connection yet
	spare    [][]byte  // output buffers that are not in use

	// The data.
	dbs    [databases]*store.DB
	aof    *aof.File // nil without one
	held   int       // bytes of memory, see returnMemory
	digits []byte    // to write numbers in

	// Who is told what others do: see pubsub.go.
	channels, patterns topics
	monitors           map[*client]struct{}

	// What the server says about itself.
	log     *slog.Logger
	warned  map[string]int64 // when, as now; see seldom
	slowlog []slowCommand    // the newest last
	slowID  int64
	stats   statistics

	// The time.
	clock   func() time.Time
	now     int64 // milliseconds since 1970, see readClock
	mark    time.Time
	started time.Time

	// The end.
	ending      bool
	interrupted chan struct{} // closed by the first signal: to end a DEBUG SLEEP
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
		byName:   make(map[string]*command),
		channels: make(topics),
		patterns: make(topics),
		monitors: make(map[*client]struct{}),
		warned:   make(map[string]int64),
		clock:    time.Now,
		started:  time.Now(),
		log:      slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: &cfg.logLevel})),

		interrupted: make(chan struct{}),
	}
	s.addCommands(commandTable)
	for i := range s.dbs {
		s.dbs[i] = store.New()
		s.dbs[i].Index = i
	}

	el.AddBeforeSleep(s.beforeSleep)
	s.loop = stream.On(el) // behind beforeSleep, and sends what that hands over
	s.setHandlers()
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

// A client is one connection.
type client struct {
	srv  *server
	conn *stream.Conn // nil for who executes the append-only file

	// Who it is.
	id       int64
	index    int // in srv.clients, or -1
	name     string
	library  [2]string // name and version of the client's software
	created  int64     // as server.now
	active   int64     // when something was read or written
	noEvict  bool
	stranger bool // has not given the password

	// What it does.
	db                 *store.DB
	last               *command
	recent             *command            // the last one looked up, without regard to subcommands
	channels, patterns map[string]struct{} // subscriptions; nil without
	monitor            bool

	// Its input.
	req     resp.Parser
	left    int  // bytes that wait for what makes them an argument
	stalled bool // until the append-only file lets its replies go

	// Its output.
	out       resp.Writer
	queued    bool  // in srv.pending
	doubtful  int   // where in out the replies begin that acknowledge what is not written yet, plus one; or 0
	closing   bool  // nothing is executed any more, and the connection ends behind the output
	softSince int64 // when the output exceeded its soft limit, or 0
}

// setHandlers makes what the connections of each class have in common, from the
// settings. Only for subscribers and monitors there is a limit of the output unless
// somebody sets one: other clients' commands wait with their replies.
func (s *server) setHandlers() {
	for class, limit := range s.cfg.output {
		h := &stream.Handler{
			Open:     s.onOpen,
			Data:     func(c *stream.Conn, p []byte) int { return of(c).onData(p) },
			EOF:      func(c *stream.Conn) { of(c).finish() },
			Shutdown: func(c *stream.Conn) { of(c).leaveOff() },
			Close: func(c *stream.Conn, err error) {
				if c, ok := c.Data.(*client); ok { // else its Open was never called
					c.onClose(err)
				}
			},
			High:   outputLimit,
			Limit:  math.MaxInt,
			Linger: time.Second, // who has been told to go has what was said
		}
		if limit.hard > 0 {
			h.Limit = int(max(1, limit.hard-1))
		}
		if class != pubsubClass { // who has nothing to say
			h.Idle = time.Duration(s.cfg.timeout) * time.Second
		}
		s.handlers[class] = h
	}
	for _, c := range s.clients {
		c.conn.SetHandler(s.handlers[c.class()])
	}
}

func of(c *stream.Conn) *client { return c.Data.(*client) }

// onOpen takes a new connection in, or says why not. The chain from there to the
// replies: onData, execute, call, flush.
func (s *server) onOpen(conn *stream.Conn) {
	s.readClock()
	s.stats.connections++
	s.lastID++
	c := &client{srv: s, conn: conn, id: s.lastID, db: s.dbs[0], index: -1, created: s.now, active: s.now}
	conn.Data = c
	if reason := s.refuse(conn.Peer()); reason != "" {
		s.stats.rejected++
		_, _ = conn.Write([]byte(reason))
		c.drop()
		return
	}
	c.stranger = s.cfg.password != ""
	c.index = len(s.clients)
	s.clients = append(s.clients, c)
	if !c.unix() { // only matters to how well the connection works
		_ = anet.SetKeepAlive(conn.FD(), time.Duration(s.cfg.keepAlive)*time.Second)
	}
}

// onData executes the commands in what was read. Replies leave before the loop sleeps:
// by now all that was readable has been read, and one write has all that a client is
// to be sent.
func (c *client) onData(p []byte) (used int) {
	s := c.srv
	s.stats.received += int64(len(p) - c.left)
	used = c.execute(p)
	c.active = s.now
	c.left = len(p) - used
	if size := int64(c.req.Size() + c.left); size > s.cfg.queryLimit && !c.closing {
		s.seldom(s.log.Warn, "client closed for too long a command", "id", c.id, "name", c.name, "bytes", size)
		c.drop()
	}
	if len(c.out.Buf) > 0 || c.closing {
		c.queue()
	}
	return used
}

// execute executes the commands in input, and returns how much of it is done with.
func (c *client) execute(input []byte) (used int) {
	c.srv.readClock()
	c.req.Limits = c.limits()
	for used < len(input) && !c.closing && (len(c.out.Buf) < batch || !c.stalls()) {
		n, complete, err := c.req.Parse(input[used:])
		used += n
		if err != nil {
			c.prepare()
			c.out.Error("ERR " + err.Error())
			c.closing = true
		}
		if !complete {
			break
		}
		if len(c.req.Args) > 0 {
			c.call(c.req.Args)
		}
		c.req.Reset()
	}
	return used
}

// stalls reports whether so much output waits that commands have to wait too. The
// connection brings them again once it has been taken; or, if it is not to be sent
// yet, flush does.
func (c *client) stalls() bool {
	if c.srv.aof == nil {
		c.flush()
		return c.closing || c.conn.Queued() >= outputLimit
	}
	if len(c.out.Buf) >= outputLimit {
		c.stalled = true
		c.conn.Pause()
	}
	return c.stalled
}

// prepare makes sure that there is a buffer for output.
func (c *client) prepare() {
	if c.out.Buf == nil {
		c.out.Buf = c.srv.takeBuffer()
	}
}

// queue sees to it that the output is handed over before the loop sleeps.
func (c *client) queue() {
	if !c.queued {
		c.queued = true
		c.srv.pending = append(c.srv.pending, c)
		c.srv.el.SetDontWait(true) // if beforeSleep was called already
	}
}

// beforeSleep makes sure that no reply leaves before its command is in the
// append-only file.
func (s *server) beforeSleep(*ae.EventLoop) {
	if s.aof != nil && s.aof.Save() {
		s.settle()
	}
	s.flushAll()
	s.el.SetDontWait(false)
}

// flushAll hands over the output of all clients, but for what waits for the file.
func (s *server) flushAll() {
	waiting := s.pending[:0]
	for _, c := range s.pending {
		if c.doubtful > 0 && c.index >= 0 {
			waiting = append(waiting, c)
			continue
		}
		c.queued = false
		c.flush()
	}
	clear(s.pending[len(waiting):])
	s.pending = waiting
}

// flush hands the output over to the connection, which sends it.
func (c *client) flush() {
	if len(c.out.Buf) > 0 && c.index >= 0 {
		n, err := c.conn.Write(c.out.Buf)
		if err != nil {
			c.closing = true // onClose is still to come
		}
		c.srv.stats.sent += int64(n)
		c.active = c.srv.now
	}
	c.srv.giveBuffer(c.out.Buf)
	c.out.Buf = nil
	if c.stalled {
		c.stalled = false
		c.conn.Resume()
	}
	if c.closing && !c.srv.ending { // see dismiss
		c.conn.Close()
		c.gone()
	}
}

// finish ends the connection behind the output: the client has ended its side, or
// shall not say any more.
func (c *client) finish() {
	c.closing = true
	c.queue()
}

// leaveOff ends the connection because the server ends.
func (c *client) leaveOff() {
	c.conn.Pause()
	c.finish()
}

// dismiss is the time event that closes, while the server ends, the connections for
// which nothing waits any more. It does not wait for the clients' own ends.
func (s *server) dismiss(*ae.EventLoop, ae.TimeEventID) time.Duration {
	for _, c := range slices.Clone(s.clients) {
		if c.closing && c.waiting() == 0 {
			c.drop()
		}
	}
	return 5 * time.Millisecond
}

// drop ends the connection at once, with as much of the output as the kernel takes.
func (c *client) drop() {
	fd, _, out := c.conn.Detach()
	if fd >= 0 {
		_, _ = anet.Write(fd, out)
		_ = anet.Close(fd)
	}
	c.closing = true
	c.gone()
}

// onClose is called when the connection has ended for whatever reason but drop.
func (c *client) onClose(err error) {
	s := c.srv
	switch {
	case errors.Is(err, stream.ErrIdle):
		s.seldom(s.log.Info, "client closed for being idle", "id", c.id, "name", c.name)
	case errors.Is(err, stream.ErrSlow):
		s.seldom(s.log.Warn, "client closed for overcoming of output buffer limits", "id", c.id, "name", c.name)
	case errors.Is(err, stream.ErrShutdown):
		s.seldom(s.log.Warn, "some clients did not take their replies")
	}
	c.closing = true
	c.gone()
}

// gone takes the client out of everything.
func (c *client) gone() {
	s := c.srv
	if c.index < 0 {
		return
	}
	last := s.clients[len(s.clients)-1]
	s.clients[c.index] = last
	last.index = c.index
	s.clients[len(s.clients)-1] = nil
	s.clients = s.clients[:len(s.clients)-1]
	c.index = -1
	s.leave(c)
	s.giveBuffer(c.out.Buf)
	c.out.Buf = nil
	c.doubtful = 0
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
