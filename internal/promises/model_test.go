package promises_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// TestLoopAgreesWithAModel runs random programs of everything that can be done
// to a loop, also from inside its callbacks, and holds each call that the loop
// makes, and each that it does not make, against a model: a table of what is
// registered, and poll(2) for what is ready. AE_PROGRAMS says how many.
func TestLoopAgreesWithAModel(t *testing.T) {
	programs := 200
	if n, err := strconv.Atoi(os.Getenv("AE_PROGRAMS")); err == nil {
		programs = n
	}
	seed := rand.Uint64()
	for i := range programs {
		code := randomProgram(seed+uint64(i), 400)
		if err := runModel(code); err != nil {
			reportModel(t, fmt.Sprintf("seed %d", seed+uint64(i)), code, err)
			return
		}
	}
	t.Logf("%d programs from seed %d", programs, seed)
}

// FuzzLoop is the same with programs that a fuzzer makes.
func FuzzLoop(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomProgram(seed, 40+20*int(seed)))
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if err := runModel(code[:min(len(code), 2000)]); err != nil {
			reportModel(t, "fuzzed program", code, err)
		}
	})
}

func randomProgram(seed uint64, length int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	code := make([]byte, length)
	for i := range code {
		code[i] = byte(rng.Uint32())
	}
	return code
}

// reportModel prints a failure with the shortest program that still fails.
func reportModel(t *testing.T, name string, code []byte, err error) {
	short := testutil.Shrink(code, func(c []byte) bool { return runModel(c) != nil })
	again := runModel(short)
	t.Fatalf("%s breaks a promise on %s: %v\nshrunk: %v\n[]byte(%q)", name, ae.APIName(), err, again, short)
}

// The kinds of descriptors in a program. What happens to a TCP connection can
// take effect a little later, so of it the model demands less.
const (
	kindUnix = iota
	kindReadEnd
	kindWriteEnd
	kindTCP
	kinds
)

// modelPair is a descriptor that the program registers, and its other end. Bytes
// travel in sequence, so that a lost one shows.
type modelPair struct {
	kind     int
	fd, peer int // -1 once closed
	held     int // a dup that keeps the file of fd open, or -1

	sent, got      int // from peer to fd
	wrote, peerGot int // from fd to peer
	peerEnded      bool
	reset          bool
}

// can returns the events that make sense for p.
func (p *modelPair) can() ae.Mask {
	switch p.kind {
	case kindReadEnd:
		return ae.Readable
	case kindWriteEnd:
		return ae.Writable
	}
	return ae.Readable | ae.Writable
}

// registration is one CreateFileEvent, for one of its events.
type registration struct {
	pair  *modelPair
	fd    int
	event ae.Mask
	born  int  // the poll before which it was made
	lax   int  // a poll that may have been for another file of this number
	loose bool // its descriptor was closed without DeleteFileEvent: it may be called, and need not be
	late  bool // it has missed an iteration that it was ready for, as it may once
}

// modelWatch is what a number is registered for.
type modelWatch struct {
	reg     map[ae.Mask]*registration
	barrier bool
}

type modelTimer struct {
	arm     int // counts deadlines in the order of their setting
	far     bool
	running bool
}

// frame is one iteration under way. They nest.
type frame struct {
	flags  ae.Flags
	main   bool // an iteration of Main: where it ends shows only at the next
	begun  bool
	poll   int  // the number of its poll, 0 for none
	broken bool // a closed descriptor fails its select, which then reports nothing else
	ready  map[*registration]bool
	called map[*registration]bool
	first  map[int]ae.Mask // which event of a number was called first, with Barrier as it was
	last   int             // the number called last
	calls  int
	phase  int // 0 file events, 1 posted functions, 2 time events

	posts, postLimit int // posted before it, and before its step 7
	arms, armLimit   int // the same for time events
}

type model struct {
	*testutil.Program
	el     *ae.EventLoop
	cap    int // the largest set size
	size   int
	pairs  []*modelPair
	watch  map[int]*modelWatch
	timers map[ae.TimeEventID]*modelTimer
	dead   []ae.TimeEventID
	frames []*frame
	polls  int
	arms   int

	posted, ran int
	stopped     bool
	closed      bool
	ops         int
	err         error
	trace       []string
}

// errModelPanic is what a callback of a program panics with.
var errModelPanic = errors.New("a callback's panic")

// runModel runs one program, and returns how the loop disagreed with the model.
func runModel(code []byte) error {
	el, err := ae.New(1 << 20)
	if err != nil {
		return err
	}
	m := &model{
		Program: testutil.NewProgram(code), el: el, cap: el.Size(), size: el.Size(),
		watch: map[int]*modelWatch{}, timers: map[ae.TimeEventID]*modelTimer{},
	}
	guard := time.AfterFunc(testutil.Patience, func() {
		panic(fmt.Sprintf("the loop sleeps though something is pending: []byte(%q)\n\t%s", code, strings.Join(m.trace, "\n\t")))
	})
	defer guard.Stop()
	defer m.cleanUp()

	el.AddBeforeSleep(m.beforeSleep)
	el.AddAfterSleep(m.afterSleep)
	for !m.Ended() && !m.over() {
		m.op()
	}
	if !m.over() {
		m.iterate(ae.AllEvents | ae.DontWait)
	}
	if !m.over() {
		m.close()
	}
	if m.err != nil {
		return fmt.Errorf("%w, after\n\t%s", m.err, strings.Join(m.trace, "\n\t"))
	}
	return nil
}

func (m *model) cleanUp() {
	m.el.Close()
	for _, p := range m.pairs {
		for _, fd := range []int{p.fd, p.peer, p.held} {
			if fd >= 0 {
				if p.kind == kindTCP { // no TIME_WAIT: programs are many, and ports are not
					unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				}
				unix.Close(fd)
			}
		}
	}
}

// over reports whether nothing more is to be done: the loop was closed, or failed.
func (m *model) over() bool { return m.closed || m.err != nil }

// fail ends the program. The loop, which may be anywhere, must not sleep now.
func (m *model) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
		m.el.Stop()
	}
}

func (m *model) note(format string, args ...any) {
	indent := strings.Repeat("  ", len(m.frames))
	m.trace = append(m.trace, indent+fmt.Sprintf(format, args...))
}

// op takes one step of the program.
func (m *model) op() {
	m.ops++
	switch c := m.IntN(64); {
	case c < 10:
		m.iterate(m.flags())
	case c < 15:
		m.open()
	case c < 24:
		m.create()
	case c < 29:
		m.delete()
	case c < 36:
		m.peerWrites()
	case c < 39:
		m.peerReads()
	case c < 42:
		m.peerEnds()
	case c < 44:
		m.read(m.pair())
	case c < 46:
		m.write(m.pair())
	case c < 49:
		m.closeFD()
	case c < 50:
		m.hold()
	case c < 53:
		m.createTimer()
	case c < 55:
		m.deleteTimer()
	case c < 58:
		m.post()
	case c < 60:
		m.resize()
	case c < 61:
		m.stop()
	case c < 62:
		m.runMain()
	case c < 63:
		m.maybePanic()
	default:
		if m.IntN(16) == 1 {
			m.close()
		}
	}
}

// someOps runs a few steps of the program inside a callback.
func (m *model) someOps() {
	for n := m.IntN(4); n > 0; n-- {
		if !m.over() && !m.Ended() {
			m.op()
		}
	}
}

func (m *model) flags() ae.Flags {
	f := []ae.Flags{ae.AllEvents, ae.AllEvents, ae.AllEvents, ae.FileEvents, ae.TimeEvents}[m.IntN(5)]
	hooks := m.IntN(4)
	if hooks&1 != 0 {
		f |= ae.CallBeforeSleep
	}
	if hooks&2 != 0 {
		f |= ae.CallAfterSleep
	}
	if m.IntN(2) == 0 {
		f |= ae.DontWait
	}
	return f
}

// pair picks one of the pairs, or nil.
func (m *model) pair() *modelPair {
	if len(m.pairs) == 0 {
		return nil
	}
	return m.pairs[m.IntN(len(m.pairs))]
}

func (m *model) open() {
	if len(m.pairs) >= 20 {
		return
	}
	p := &modelPair{kind: m.IntN(kinds), held: -1}
	var err error
	switch p.kind {
	case kindUnix:
		p.fd, p.peer, err = anet.SocketPair()
	case kindReadEnd:
		p.fd, p.peer, err = anet.Pipe()
	case kindWriteEnd:
		p.peer, p.fd, err = anet.Pipe()
	case kindTCP:
		p.fd, p.peer, err = aetest.ConnectTCP()
	}
	if err != nil {
		m.fail("set-up: %v", err)
		return
	}
	m.pairs = append(m.pairs, p)
	m.note("open %d, peer %d, kind %d", p.fd, p.peer, p.kind)
}

func (m *model) create() {
	p := m.pair()
	mask := []ae.Mask{ae.Readable, ae.Writable, ae.Readable | ae.Writable, ae.Writable | ae.Barrier, ae.Readable | ae.Writable | ae.Barrier}[m.IntN(5)]
	if p == nil || p.fd < 0 || mask&p.can()&^ae.Barrier == 0 {
		return
	}
	mask &= p.can() | ae.Barrier
	regs := map[ae.Mask]*registration{}
	for _, event := range []ae.Mask{ae.Readable, ae.Writable} {
		if mask&event != 0 {
			regs[event] = &registration{pair: p, fd: p.fd, event: event, born: m.polls}
		}
	}
	err := m.el.CreateFileEvent(p.fd, mask, func(_ *ae.EventLoop, fd int, got ae.Mask) { m.onFile(regs[got], fd, got) })
	m.note("create %d for %d: %v", p.fd, mask, err)
	if p.fd >= m.size {
		if !errors.Is(err, ae.ErrRange) {
			m.fail("descriptor %d is not below %d, and the error is %v", p.fd, m.size, err)
		}
		m.resizeTo(m.cap)
		return
	}
	if err != nil {
		m.fail("CreateFileEvent: %v", err)
		return
	}

	w := m.watch[p.fd]
	if w == nil {
		w = &modelWatch{reg: map[ae.Mask]*registration{}}
		m.watch[p.fd] = w
	}
	for event, r := range regs {
		// Another proc for what is registered already is the same registration.
		if old := w.reg[event]; old != nil && !old.loose {
			m.succeed(old, r)
		}
	}
	for event, r := range regs {
		m.replace(w.reg[event], r)
		w.reg[event] = r
	}
	if mask&ae.Writable != 0 {
		w.barrier = mask&ae.Barrier != 0
	}
	m.checkMask(p.fd)
}

// succeed gives a registration the place of an older one.
func (m *model) succeed(old, r *registration) {
	r.born = old.born
	for _, f := range m.frames {
		if ready, known := f.ready[old]; known {
			f.ready[r], f.called[r] = ready, f.called[old]
			delete(f.ready, old)
		}
	}
}

// replace has r take over from old: what was polled for the one is for the other
// too, unless the descriptor was closed in between.
func (m *model) replace(old, r *registration) {
	switch {
	case old == nil:
	case old.loose && ae.APIName() != "epoll":
		r.born, r.lax = old.born, m.polls // these pollers cannot tell
	case !old.loose:
		r.born = old.born
		for _, f := range m.frames {
			if ready, polled := f.ready[old]; polled {
				f.ready[r], f.called[r] = ready, f.called[old]
			}
		}
	}
}

// checkMask compares what the loop and the model say is registered.
func (m *model) checkMask(fd int) {
	want := ae.None
	if w := m.watch[fd]; w != nil {
		for event, r := range w.reg {
			if r.loose {
				return
			}
			want |= event
		}
		if w.barrier && want&ae.Writable != 0 {
			want |= ae.Barrier
		}
	}
	if got := m.el.FileEvents(fd); got != want {
		m.fail("FileEvents(%d) is %d, and should be %d", fd, got, want)
	}
}

// numbers returns the registered numbers in order, for the program must not
// depend on the order of a map.
func (m *model) numbers() []int { return slices.Sorted(maps.Keys(m.watch)) }

func (m *model) delete() {
	fds := m.numbers()
	if len(fds) == 0 {
		return
	}
	m.deleteEvents(fds[m.IntN(len(fds))], []ae.Mask{ae.Readable, ae.Writable, ae.Readable | ae.Writable}[m.IntN(3)])
}

func (m *model) deleteEvents(fd int, mask ae.Mask) {
	err := m.el.DeleteFileEvent(fd, mask)
	m.note("delete %d for %d: %v", fd, mask, err)
	if outside := fd >= m.size; outside != errors.Is(err, ae.ErrRange) || !outside && err != nil {
		m.fail("DeleteFileEvent(%d, %d): %v", fd, mask, err)
	}
	if w := m.watch[fd]; w != nil {
		maps.DeleteFunc(w.reg, func(event ae.Mask, _ *registration) bool { return mask&event != 0 })
		if len(w.reg) == 0 {
			delete(m.watch, fd)
		}
	}
	m.checkMask(fd)
}

func (m *model) peerWrites() {
	p := m.pair()
	n := []int{1, 7, 300, 20_000}[m.IntN(4)]
	if p == nil || p.peer < 0 || p.peerEnded || p.kind == kindWriteEnd {
		return
	}
	n, err := anet.Write(p.peer, sequence(p.sent, n))
	m.note("%d bytes for %d: %v", n, p.fd, err)
	p.sent += n
	m.settle(p)
}

// settle waits until what the peer did has reached p.
func (m *model) settle(p *modelPair) {
	if fd := max(p.fd, p.held); p.kind == kindTCP && fd >= 0 {
		if got, err := ae.Wait(fd, ae.Readable, testutil.Patience); got == ae.None || err != nil {
			m.fail("set-up: nothing came over TCP: %v", err)
		}
	}
}

// sequence returns n bytes of the sequence that begins at byte number from.
func sequence(from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((from + i) % 251)
	}
	return p
}

func (m *model) peerReads() {
	p := m.pair()
	if p == nil || p.peer < 0 || p.kind == kindReadEnd {
		return
	}
	s, err := aetest.Receive(p.peer)
	m.note("the peer of %d reads %d bytes: %v", p.fd, len(s), err)
	if s != string(sequence(p.peerGot, len(s))) {
		m.fail("the peer of %d received what was not sent", p.fd)
	}
	p.peerGot += len(s)
}

func (m *model) peerEnds() {
	p := m.pair()
	how := m.IntN(3)
	if p == nil || p.peer < 0 {
		return
	}
	m.note("the peer of %d ends, %d", p.fd, how)
	p.peerEnded = true
	switch {
	case how == 0 && (p.kind == kindUnix || p.kind == kindTCP):
		unix.Shutdown(p.peer, unix.SHUT_WR)
	case how == 1 && p.kind == kindTCP:
		p.reset = true
		unix.SetsockoptLinger(p.peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		fallthrough
	default:
		p.reset = p.reset || p.wrote > p.peerGot // what a close throws away may be told
		unix.Close(p.peer)
		p.peer = -1
	}
	m.settle(p)
}

// read reads as a readable proc does, and checks that nothing was lost.
func (m *model) read(p *modelPair) {
	size := []int{1, 64, 1 << 16}[m.IntN(3)]
	if p == nil || p.fd < 0 || p.kind == kindWriteEnd {
		return
	}
	buf := make([]byte, size)
	n, err := anet.Read(p.fd, buf)
	m.note("read %d: %d, %v", p.fd, n, err)
	if string(buf[:n]) != string(sequence(p.got, n)) {
		m.fail("descriptor %d received what was not sent", p.fd)
	}
	p.got += n
	if err == io.EOF && (!p.peerEnded || p.got != p.sent && !p.reset) {
		m.fail("end of file on %d after %d bytes of %d", p.fd, p.got, p.sent)
	}
}

func (m *model) write(p *modelPair) {
	fill := m.IntN(3) == 2
	if p == nil || p.fd < 0 || p.kind == kindReadEnd {
		return
	}
	for {
		n, err := anet.Write(p.fd, sequence(p.wrote, 5000))
		p.wrote += max(n, 0)
		if err != nil || !fill {
			m.note("write %d, fill %v: %v", p.fd, fill, err)
			return
		}
	}
}

// closeFD closes a registered descriptor, as it should be done or without a
// delete. Its number comes back with the next open.
func (m *model) closeFD() {
	p := m.pair()
	careless := m.IntN(3) == 2
	if p == nil || p.fd < 0 {
		return
	}
	if w := m.watch[p.fd]; w != nil && careless {
		for _, r := range w.reg {
			r.loose = true
		}
	} else {
		m.deleteEvents(p.fd, ae.Readable|ae.Writable)
	}
	m.note("close %d, careless %v", p.fd, careless)
	unix.Close(p.fd)
	p.fd = -1
	m.pairs = slices.DeleteFunc(m.pairs, func(q *modelPair) bool {
		if q != p || p.held >= 0 {
			return false
		}
		if p.peer >= 0 {
			unix.Close(p.peer)
		}
		return true
	})
}

// hold keeps the file of a descriptor open under another number, as a child
// process would.
func (m *model) hold() {
	p := m.pair()
	if p == nil || p.fd < 0 || p.held >= 0 {
		return
	}
	held, err := testutil.DupAbove(p.fd, p.fd+100)
	if err != nil {
		m.fail("set-up: %v", err)
		return
	}
	p.held = held
	m.note("hold %d", p.fd)
}

func (m *model) createTimer() {
	d := []time.Duration{0, -time.Second, time.Hour, math.MaxInt64}[m.IntN(4)]
	m.arms++
	te := &modelTimer{arm: m.arms, far: d > 0}
	id := m.el.CreateTimeEvent(d, m.onTime)
	m.note("create time event %#x for %v", uint64(id), d)
	if id == 0 || m.timers[id] != nil || slices.Contains(m.dead, id) {
		m.fail("time event id %#x was given before", uint64(id))
	}
	m.timers[id] = te
}

func (m *model) deleteTimer() {
	stale := m.IntN(3) == 2
	ids := slices.Sorted(maps.Keys(m.timers))
	if stale {
		ids = m.dead
	}
	if len(ids) == 0 {
		return
	}
	id := ids[m.IntN(min(len(ids), 256))]
	got := m.el.DeleteTimeEvent(id)
	m.note("delete time event %#x: %v", uint64(id), got)
	if got == stale {
		m.fail("DeleteTimeEvent(%#x) is %v", uint64(id), got)
	}
	m.endTimer(id)
}

func (m *model) endTimer(id ae.TimeEventID) {
	if m.timers[id] != nil {
		delete(m.timers, id)
		m.dead = append(m.dead, id)
	}
}

// post posts from the loop's goroutine, or from another.
func (m *model) post() { m.postThat(m.someOps) }

func (m *model) postThat(do func()) {
	number := m.posted + 1
	fn := func(*ae.EventLoop) {
		if m.err == nil {
			m.onPost(number)
			do()
		}
	}
	var err error
	if m.IntN(2) == 0 {
		err = m.el.Post(fn)
	} else {
		ended := make(chan error)
		go func() { ended <- m.el.Post(fn) }()
		err = <-ended
	}
	m.note("post %d: %v", number, err)
	if err != nil {
		m.fail("Post: %v", err)
	}
	m.posted = number
}

func (m *model) resize() {
	top := -1
	for _, fd := range m.numbers() {
		top = fd
	}
	m.resizeTo([]int{0, top, top + 1, top + 3, 64, m.cap, 1 << 20}[m.IntN(7)])
}

func (m *model) resizeTo(n int) {
	top := -1
	for _, fd := range m.numbers() {
		top = fd
		for _, r := range m.watch[fd].reg {
			if r.loose {
				return // whether it is still registered is the backend's affair
			}
		}
	}
	err := m.el.Resize(n)
	m.note("resize to %d: %v", n, err)
	if bad := n <= 0 || n <= top; bad != errors.Is(err, ae.ErrRange) || !bad && err != nil {
		m.fail("Resize(%d) with %d registered: %v", n, top, err)
	}
	if err == nil {
		m.size = min(n, m.cap)
	}
	if m.el.Size() != m.size {
		m.fail("Size is %d, and should be %d", m.el.Size(), m.size)
	}
}

func (m *model) stop() {
	m.note("stop")
	m.stopped = true
	m.el.Stop()
}

func (m *model) maybePanic() {
	if len(m.frames) > 0 && m.IntN(2) == 1 {
		m.note("panic")
		panic(errModelPanic)
	}
}

func (m *model) close() {
	m.note("close")
	m.frames = append(m.frames, &frame{begun: true, posts: m.posted, postLimit: m.posted})
	m.closed = true
	if err := m.el.Close(); err != nil {
		m.fail("Close: %v", err)
	}
	m.frames = m.frames[:len(m.frames)-1]
	if m.ran != m.posted {
		m.fail("%d functions were posted, and %d ran", m.posted, m.ran)
	}
	if _, err := m.el.ProcessEvents(ae.AllEvents); !errors.Is(err, ae.ErrClosed) {
		m.fail("ProcessEvents after Close: %v", err)
	}
}

// iterate runs one iteration, which may be inside a callback of another.
func (m *model) iterate(flags ae.Flags) {
	if len(m.frames) > 4 {
		return
	}
	f := &frame{flags: flags}
	m.frames = append(m.frames, f)
	depth := len(m.frames)
	defer func() { m.frames = m.frames[:depth-1] }()
	if flags&ae.CallBeforeSleep == 0 {
		m.begin(f)
		if !m.pending(f) {
			flags |= ae.DontWait
		}
	}

	var n int
	var err error
	m.note("iteration with flags %#x", flags)
	left := m.catch(depth, func() { n, err = m.el.ProcessEvents(flags) })
	m.el.SetDontWait(false)
	switch {
	case m.closed && err != nil && !errors.Is(err, ae.ErrClosed), !m.closed && err != nil:
		m.fail("ProcessEvents: %v", err)
	case left || m.over():
	case n != f.calls:
		m.fail("ProcessEvents counted %d, and %d procs were called", n, f.calls)
	default:
		m.finish(f)
	}
}

// catch calls fn and reports whether a callback's panic ended it.
func (m *model) catch(depth int, fn func()) (panicked bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errModelPanic:
			panicked = true
			m.frames = m.frames[:depth]
		default:
			panic(r)
		}
	}()
	fn()
	return false
}

// runMain runs Main until a posted function stops it. In a callback Main refuses.
func (m *model) runMain() {
	if len(m.frames) > 0 {
		if err := m.el.Main(); !errors.Is(err, ae.ErrRunning) {
			m.fail("Main in a callback: %v", err)
		}
		return
	}
	m.postThat(m.stop)
	f := &frame{main: true, flags: ae.AllEvents | ae.CallBeforeSleep | ae.CallAfterSleep}
	m.frames = append(m.frames, f)
	depth := len(m.frames)
	early := m.stopped

	var err error
	m.note("Main")
	left := m.catch(depth, func() { err = m.el.Main() })
	m.el.SetDontWait(false)
	m.frames = m.frames[:depth-1]
	switch {
	case left:
		return
	case m.closed && !errors.Is(err, ae.ErrClosed), !m.closed && err != nil:
		m.fail("Main: %v", err)
	case m.over():
	case !m.stopped:
		m.fail("Main returned without a Stop")
	case early == f.begun:
		m.fail("Main: stopped before it began %v, ran %v", early, f.begun)
	case f.begun:
		m.finish(f)
	}
	m.stopped = false
}

func (m *model) top() *frame { return m.frames[len(m.frames)-1] }

func (m *model) beforeSleep(*ae.EventLoop) {
	if m.over() {
		return
	}
	f := m.top()
	if f.begun && f.main {
		m.finish(f)
		*f = frame{main: true, flags: f.flags}
	} else if f.begun {
		m.fail("BeforeSleep ran twice, or without its flag")
		return
	}
	m.someOps()
	if m.over() {
		return
	}
	m.begin(f)
	m.el.SetDontWait(!m.pending(f))
}

func (m *model) afterSleep(*ae.EventLoop) {
	if m.over() {
		return
	}
	if f := m.top(); !f.begun || f.flags&ae.CallAfterSleep == 0 || f.calls > 0 {
		m.fail("AfterSleep ran out of turn")
	}
	m.el.SetDontWait(false)
	m.someOps()
}

// begin takes note of what the poll that follows must find.
func (m *model) begin(f *frame) {
	f.begun, f.last = true, -1
	f.posts, f.postLimit, f.arms, f.armLimit = m.posted, -1, m.arms, -1
	f.ready, f.called, f.first = map[*registration]bool{}, map[*registration]bool{}, map[int]ae.Mask{}
	if f.flags&ae.FileEvents != 0 {
		m.polls++
		f.poll = m.polls
		for _, fd := range m.numbers() {
			m.probe(f, m.watch[fd])
		}
	}
	// A clock may stand still for a while. What was set before this iteration is
	// due in it only if the clock has moved.
	for start := time.Now(); time.Since(start) < 2*time.Microsecond; {
	}
}

// probe asks poll(2) whether the registrations of one number are ready.
func (m *model) probe(f *frame, w *modelWatch) {
	for event, r := range w.reg {
		if r.loose {
			f.broken = ae.APIName() == "select"
			continue
		}
		ready, err := ae.Wait(r.fd, event, 0)
		if err != nil {
			m.fail("Wait(%d): %v", r.fd, err)
		}
		f.ready[r] = ready != ae.None
	}
}

// pending reports whether the iteration has a reason not to sleep without end.
func (m *model) pending(f *frame) bool {
	if m.ran < m.posted || m.stopped {
		return true
	}
	for _, ready := range f.ready {
		if ready {
			return true
		}
	}
	for _, te := range m.timers {
		if f.flags&ae.TimeEvents != 0 && !te.far && !te.running {
			return true
		}
	}
	return false
}

// finish checks that an iteration called everything that it had to.
func (m *model) finish(f *frame) {
	for r, ready := range f.ready {
		w := m.watch[r.fd]
		if ready && !f.broken && f.poll == m.polls && w != nil && w.reg[r.event] == r && !r.loose && !f.called[r] && !m.mayBeLate(r) {
			m.fail("descriptor %d was ready for %d, and its proc was not called", r.fd, r.event)
		}
	}
	if m.ran < f.posts {
		m.fail("function %d of %d was posted before the iteration and did not run in it", m.ran+1, f.posts)
	}
	for id, te := range m.timers {
		if f.flags&ae.TimeEvents != 0 && !te.far && !te.running && te.arm <= f.arms {
			m.fail("time event %#x was due and did not run", uint64(id))
		}
	}
}

// mayBeLate allows one miss. poll(2) calls a TCP connection that was reset writable
// up to 2.6 ms before kqueue does, and then kqueue must know by the next iteration.
func (m *model) mayBeLate(r *registration) bool {
	if ae.APIName() != "kqueue" || r.late || r.pair.kind != kindTCP || !r.pair.reset {
		return false
	}
	r.late = true
	busyFor(5 * time.Millisecond)
	return true
}

// onFile is the proc of every file event.
func (m *model) onFile(r *registration, fd int, mask ae.Mask) {
	if m.over() {
		m.fail("a file event after Close")
		return
	}
	m.note("called: %d for %d", fd, mask)
	f := m.top()
	f.calls++
	m.checkFile(f, r, fd, mask)
	if m.err != nil {
		return
	}
	f.called[r] = true
	f.last = fd
	if r.loose { // the read or write would have told that the descriptor is gone
		m.deleteEvents(fd, ae.Readable|ae.Writable)
		return
	}

	if _, second := f.first[fd]; !second {
		f.first[fd] = mask
		if m.watch[fd].barrier {
			f.first[fd] |= ae.Barrier
		}
	}
	switch m.IntN(4) {
	case 1, 2:
		if mask == ae.Readable {
			m.read(r.pair)
		} else {
			m.write(r.pair)
		}
	case 3:
		m.deleteEvents(fd, mask)
	}
	m.someOps()
}

func (m *model) checkFile(f *frame, r *registration, fd int, mask ae.Mask) {
	switch first, second := f.first[fd]; {
	case r == nil || r.fd != fd:
		m.fail("a proc of another registration was called for %d, mask %d", fd, mask)
	case m.watch[fd] == nil || m.watch[fd].reg[mask] != r:
		m.fail("descriptor %d was called for %d by a registration that is no more", fd, mask)
	case f.poll != m.polls:
		m.fail("descriptor %d was called for a poll that another has replaced", fd)
	case r.born >= f.poll:
		m.fail("descriptor %d was called by a registration younger than the poll", fd)
	case f.called[r]:
		m.fail("descriptor %d was called twice for %d", fd, mask)
	case f.phase != 0 || f.flags&ae.FileEvents == 0:
		m.fail("descriptor %d was called out of turn", fd)
	case r.loose, r.lax == f.poll:
	case r.pair.kind != kindTCP && !f.ready[r]:
		m.fail("descriptor %d was called for %d and is not ready", fd, mask)
	case second && f.last != fd:
		m.fail("the two calls of %d were not one after the other", fd)
	case second && first&ae.Readable != 0 && first&ae.Barrier != 0, second && first&ae.Writable != 0 && first&ae.Barrier == 0:
		m.fail("the two calls of %d came in the wrong order", fd)
	}
}

// onPost is called by every posted function.
func (m *model) onPost(number int) {
	f := m.top()
	f.calls++
	m.note("called: posted function %d", number)
	if f.postLimit < 0 {
		f.postLimit = m.posted
	}
	m.ran++
	if number != m.ran || number > f.postLimit || f.phase > 1 {
		m.fail("posted function %d ran when %d was due, %d being posted, in phase %d", number, m.ran, f.postLimit, f.phase)
	}
	f.phase = 1
}

// onTime is the proc of every time event.
func (m *model) onTime(_ *ae.EventLoop, id ae.TimeEventID) time.Duration {
	if m.over() {
		m.fail("a time event after Close")
		return ae.NoMore
	}
	m.note("called: time event %#x", uint64(id))
	f := m.top()
	f.calls++
	f.phase = 2
	if f.armLimit < 0 {
		f.armLimit = m.arms
	}
	te := m.timers[id]
	if te == nil || te.running || te.far || te.arm > f.armLimit || f.flags&ae.TimeEvents == 0 {
		m.fail("time event %#x ran, and was not to: %+v, limit %d", uint64(id), te, f.armLimit)
		return ae.NoMore
	}
	for other, o := range m.timers {
		if !o.far && !o.running && o.arm < te.arm {
			m.fail("time event %#x ran before %#x", uint64(id), uint64(other))
		}
	}

	te.running = true
	ended := false
	defer func() {
		if !ended {
			m.endTimer(id) // a panic ends it
		}
	}()
	m.someOps()
	ended = true
	return m.rearm(id, te)
}

// rearm chooses what a TimeProc returns.
func (m *model) rearm(id ae.TimeEventID, te *modelTimer) time.Duration {
	d := []time.Duration{ae.NoMore, 0, -time.Minute, time.Hour}[m.IntN(4)]
	if m.timers[id] != te {
		return d // it deleted itself: whatever it returns must not matter
	}
	if d == ae.NoMore {
		m.endTimer(id)
		return d
	}
	m.arms++
	*te = modelTimer{arm: m.arms, far: d > 0}
	return d
}
