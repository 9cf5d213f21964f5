package stream

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// TestConnectionsAgreeWithAModel runs random programs of what can be done to a few
// connections, also from inside their callbacks, against a model: what was sent and
// what has come, which calls may come, and that everything does in the end.
// AE_PROGRAMS says how many.
func TestConnectionsAgreeWithAModel(t *testing.T) {
	t.Parallel()
	testutil.Programs(t, 100, 300, runStreamModel)
}

// FuzzConns is the same with programs that a fuzzer makes.
func FuzzConns(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(testutil.RandomCode(seed, 40+20*int(seed)))
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		testutil.Check(t, "fuzzed program", code[:min(len(code), 2000)], runStreamModel)
	})
}

// modelConn is a connection and what the model knows of it.
type modelConn struct {
	id   int
	c    *Conn
	peer int // -1 once closed

	sent, took  int  // bytes of the peer: sent by it, used by Data
	sentEnd     bool // and their end
	wrote, got  int  // bytes of ours: that Write took, that the peer has
	maybe       int  // that a Write took which failed
	gotEnd      error
	paused      bool
	need        int
	partner     *modelConn // of Join
	partnerTook int        // what its Data had used by then
	finished    bool       // CloseWrite was called, or Close
	closed      bool       // Close was
	rough       bool       // it may lose bytes: aborted, reset, panicked
	detached    bool
	busy        bool
	opens, ends int
	eofs        int
	err         error
}

type streamModel struct {
	*testutil.Program
	el     *ae.EventLoop
	loops  [2]*Loop // both on el
	conns  []*modelConn
	hs     [3]*Handler
	depth  int
	quiet  bool
	hold   bool
	panics int
	err    error
	trace  []string
}

var errStreamModel = errors.New("a callback's panic")

func runStreamModel(code []byte) error {
	el, err := ae.New(1 << 20)
	if err != nil {
		return err
	}
	m := &streamModel{Program: testutil.NewProgram(code), el: el}
	for i := range m.loops {
		m.loops[i] = On(el)
	}
	for i := range m.hs {
		m.hs[i] = m.handler(i)
	}
	guard := time.AfterFunc(testutil.Patience, func() {
		panic(fmt.Sprintf("the loop does not come back: []byte(%q)\n\t%s", code, strings.Join(m.trace, "\n\t")))
	})
	defer guard.Stop()
	defer m.cleanUp()

	for !m.Ended() && m.err == nil {
		m.try(m.op)
	}
	m.finale()
	if m.err != nil {
		return fmt.Errorf("%w, after\n\t%s", m.err, strings.Join(m.trace, "\n\t"))
	}
	return nil
}

func (m *streamModel) cleanUp() {
	for _, l := range m.loops {
		m.try(l.Close)
		m.try(l.Close)
	}
	m.el.Close()
	for _, mc := range m.conns {
		if mc.peer >= 0 {
			unix.Close(mc.peer)
		}
	}
}

// try calls f, in which a callback may panic.
func (m *streamModel) try(f func()) {
	defer func() {
		m.depth = 0
		if v := recover(); v != nil && v != any(errStreamModel) {
			panic(v)
		}
	}()
	f()
}

func (m *streamModel) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

func (m *streamModel) note(format string, args ...any) {
	m.trace = append(m.trace, strings.Repeat("  ", m.depth)+fmt.Sprintf(format, args...))
}

// The bytes of a stream depend on where they stand, and on whose they are.
func modelByte(id, at int, ours bool) byte {
	b := byte(at*31 + at>>8*17 + id*13)
	if ours {
		return ^b
	}
	return b
}

func modelBytes(id, at, n int, ours bool) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = modelByte(id, at+i, ours)
	}
	return p
}

// size returns a number of bytes, more often a small one.
func (m *streamModel) size() int {
	return []int{1, 2, 10, 100, 511, 513, 4000, 20_000, 40_000, 70_000}[m.IntN(10)]
}

func (m *streamModel) pick() *modelConn {
	if len(m.conns) == 0 {
		m.open()
	}
	n := min(len(m.conns), 6)
	return m.conns[len(m.conns)-1-m.IntN(n)]
}

func (m *streamModel) open() {
	a, b, err := anet.SocketPair()
	if err != nil {
		m.fail("socketpair: %v", err)
		return
	}
	if m.IntN(2) == 0 {
		anet.SetSendBuffer(a, 10_000)
	}
	mc := &modelConn{id: len(m.conns), peer: b}
	c, err := m.loops[0].Adopt(a, m.hs[m.IntN(len(m.hs))])
	if err != nil {
		m.fail("Adopt: %v", err)
		unix.Close(a)
		unix.Close(b)
		return
	}
	mc.c, c.Data = c, mc
	m.conns = append(m.conns, mc)
	m.note("open %d", mc.id)
}

func (m *streamModel) op() {
	switch k := m.IntN(32); k {
	case 0, 1, 2, 3, 4:
		m.iterate()
	case 5:
		if len(m.conns) < 12 {
			m.open()
		}
	case 6, 7, 8, 9:
		m.peerWrites(m.pick())
	case 10, 11:
		m.peerReads(m.pick())
	case 12:
		mc := m.pick()
		m.note("peer %d ends", mc.id)
		if mc.peer >= 0 && !mc.sentEnd {
			mc.sentEnd = true
			anet.CloseWrite(mc.peer)
		}
	case 13:
		mc := m.pick()
		if m.IntN(3) == 0 && mc.peer >= 0 {
			m.note("peer %d closes", mc.id)
			m.rough(mc)
			mc.sentEnd = true
			unix.Close(mc.peer)
			mc.peer = -1
		}
	case 14, 15, 16, 17:
		m.write(m.pick())
	case 18, 19:
		mc := m.pick()
		m.note("pause %d", mc.id)
		mc.paused = true
		mc.c.Pause()
	case 20, 21, 22:
		mc := m.pick()
		m.note("resume %d", mc.id)
		mc.paused = false
		mc.c.Resume()
	case 23:
		mc := m.pick()
		m.note("close %d", mc.id)
		mc.closed, mc.finished = true, true
		mc.c.Close()
	case 24:
		mc := m.pick()
		m.note("closeWrite %d", mc.id)
		mc.finished = true
		mc.c.CloseWrite()
	case 25:
		mc := m.pick()
		m.note("abort %d", mc.id)
		m.rough(mc)
		mc.c.Abort()
	case 26:
		m.detach(m.pick())
	case 27:
		mc := m.pick()
		m.note("need %d", mc.id)
		if mc.partner == nil {
			mc.need = m.size()
			mc.c.Need(mc.need)
		}
	case 28:
		mc := m.pick()
		m.note("setHandler %d", mc.id)
		mc.c.SetHandler(m.hs[m.IntN(len(m.hs))])
	case 29:
		mc := m.pick()
		err := mc.c.MoveTo(m.loops[m.IntN(2)])
		m.note("move %d: %v", mc.id, err)
	case 30:
		m.join(m.pick(), m.pick())
	case 31:
		m.hold = !m.hold
		m.note("hold %v", m.hold)
		for _, l := range m.loops {
			if m.IntN(2) == 0 {
				l.BeforeSend(nil)
			} else {
				l.BeforeSend(func() bool { return !m.hold })
			}
		}
	}
}

// rough says that mc may lose bytes, and so may whoever it is joined to.
func (m *streamModel) rough(mc *modelConn) {
	mc.rough = true
	if mc.partner != nil {
		mc.partner.rough = true
	}
}

func (m *streamModel) iterate() {
	flags := rigLook
	if m.IntN(4) == 3 {
		flags &^= ae.CallBeforeSleep
	}
	m.note("iterate")
	m.depth++
	if _, err := m.el.ProcessEvents(flags); err != nil {
		m.fail("ProcessEvents: %v", err)
	}
	m.depth--
}

// inside does a little in a callback.
func (m *streamModel) inside() {
	if m.quiet || m.depth > 3 || m.err != nil {
		return
	}
	m.depth++
	for range m.IntN(3) {
		m.op()
	}
	m.depth--
	if m.IntN(40) == 39 && !m.Ended() {
		m.note("panic")
		m.panics++
		panic(errStreamModel)
	}
}

func (m *streamModel) peerWrites(mc *modelConn) {
	if mc.peer < 0 || mc.sentEnd {
		return
	}
	n, err := anet.Write(mc.peer, modelBytes(mc.id, mc.sent, m.size(), false))
	mc.sent += n
	m.note("peer %d writes %d: %v", mc.id, n, err)
}

func (m *streamModel) peerReads(mc *modelConn) {
	if mc.peer < 0 || mc.gotEnd != nil {
		return
	}
	p := make([]byte, m.size())
	if m.quiet {
		p = make([]byte, 1<<20)
	}
	n, err := anet.Read(mc.peer, p)
	m.note("peer %d reads %d: %v", mc.id, n, err)
	for i, b := range p[:n] {
		at := mc.got + i
		want := modelByte(mc.id, at, true)
		if j := mc.partner; at >= mc.wrote && j != nil {
			from := mc.partnerTook + at - mc.wrote
			if from >= j.sent {
				m.fail("%d: the peer got byte %d, more than the other's has sent", mc.id, at)
				return
			}
			want = modelByte(j.id, from, false)
		} else if at >= mc.wrote+mc.maybe {
			m.fail("%d: the peer got byte %d of %d", mc.id, at, mc.wrote)
			return
		}
		if b != want {
			m.fail("%d: byte %d for the peer is %d, want %d", mc.id, at, b, want)
			return
		}
	}
	mc.got += n
	if err != nil && err != anet.ErrWouldBlock {
		mc.gotEnd = err
		if err == io.EOF && !mc.rough && !mc.finished && mc.partner == nil && mc.ends == 0 && mc.c.flags&dead == 0 {
			m.fail("%d: the peer saw an end that nobody asked for", mc.id)
		}
	}
}

func (m *streamModel) write(mc *modelConn) {
	if mc.partner != nil {
		return
	}
	p := modelBytes(mc.id, mc.wrote, m.size(), true)
	open := mc.c.flags&(dead|finWanted) == 0
	n, err := mc.c.Write(p)
	m.note("write %d: %d, %v", mc.id, n, err)
	clear(p) // it must not be kept
	switch {
	case err == nil && n == len(p):
		mc.wrote += n
		if !open {
			m.fail("%d: Write after the end", mc.id)
		}
	case n != 0 || err == nil:
		m.fail("%d: Write took %d of %d: %v", mc.id, n, len(p), err)
	case open:
		mc.maybe = len(p)
	case !errors.Is(err, ErrClosed) && mc.c.ext == nil:
		m.fail("%d: Write after the end: %v", mc.id, err)
	}
	if q := mc.c.Queued(); q > mc.wrote-mc.got || q < 0 {
		m.fail("%d: %d bytes are queued of %d", mc.id, q, mc.wrote-mc.got)
	}
}

func (m *streamModel) detach(mc *modelConn) {
	if mc.partner != nil || m.IntN(3) > 0 {
		return
	}
	took := mc.took
	fd, in, out := mc.c.Detach()
	m.note("detach %d: %d", mc.id, fd)
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	mc.detached, mc.rough = true, true
	if mc.busy {
		return // Data has the input
	}
	for i, b := range in {
		if b != modelByte(mc.id, took+i, false) {
			m.fail("%d: byte %d of Detach is wrong", mc.id, i)
			return
		}
	}
	for i, b := range out {
		if b != modelByte(mc.id, mc.wrote-len(out)+i, true) {
			m.fail("%d: byte %d of Detach's output is wrong", mc.id, i)
			return
		}
	}
}

func (m *streamModel) join(a, b *modelConn) {
	if a == b || a.partner != nil || b.partner != nil || a.c.loop() != b.c.loop() ||
		(a.c.flags|b.c.flags)&(dead|moving|finWanted) != 0 || a.busy || b.busy {
		return
	}
	m.note("join %d, %d", a.id, b.id)
	a.partner, b.partner = b, a
	a.partnerTook, b.partnerTook = b.took, a.took
	a.rough, b.rough = a.rough || b.rough, a.rough || b.rough
	Join(a.c, b.c)
}

func (m *streamModel) handler(kind int) *Handler {
	called := func(c *Conn, name string) *modelConn {
		mc, _ := c.Data.(*modelConn)
		if mc == nil {
			m.fail("%s of a connection that nobody knows", name)
			return &modelConn{}
		}
		m.note("%s %d", name, mc.id)
		if mc.ends > 0 || mc.detached {
			m.fail("%d: %s after Close or Detach", mc.id, name)
		}
		if name != "Open" && mc.opens != 1 && name != "Close" {
			m.fail("%d: %s, and Open was called %d times", mc.id, name, mc.opens)
		}
		if mc.partner != nil && (name == "Data" || name == "EOF" || name == "Drained") {
			m.fail("%d: %s though it is joined", mc.id, name)
		}
		if c.flags&moving != 0 {
			m.fail("%d: %s on its way", mc.id, name)
		}
		return mc
	}
	h := &Handler{
		Open: func(c *Conn) {
			called(c, "Open").opens++
			m.inside()
		},
		Data: func(c *Conn, p []byte) int { return m.data(called(c, "Data"), p) },
		EOF: func(c *Conn) {
			mc := called(c, "EOF")
			if mc.eofs++; mc.eofs > 1 {
				m.fail("%d: EOF again", mc.id)
			}
			if !mc.sentEnd {
				m.fail("%d: EOF, but the peer has not ended", mc.id)
			}
			m.inside()
		},
		Close: func(c *Conn, err error) {
			mc := called(c, "Close")
			mc.ends++
			mc.err = err
			if c.FD() != -1 || c.Open() || c.Queued() != 0 {
				m.fail("%d: Close, but the descriptor is %d, Open %v, Queued %d", mc.id, c.FD(), c.Open(), c.Queued())
			}
			m.inside()
		},
		High: 30_000,
	}
	if kind > 0 {
		h.Drained = func(c *Conn) {
			mc := called(c, "Drained")
			if !c.Open() {
				m.fail("%d: Drained after Close", mc.id)
			}
			m.inside()
		}
	}
	if kind > 1 {
		h.High, h.Low, h.FullDuplex = 1000, 999, true
	}
	return h
}

func (m *streamModel) data(mc *modelConn, p []byte) int {
	switch {
	case mc.busy:
		m.fail("%d: Data inside Data", mc.id)
	case mc.paused:
		m.fail("%d: Data while it is paused", mc.id)
	case mc.closed:
		m.fail("%d: Data after Close", mc.id)
	case len(p) < mc.need:
		m.fail("%d: Data of %d bytes, %d were needed", mc.id, len(p), mc.need)
	case mc.took+len(p) > mc.sent:
		m.fail("%d: Data of %d bytes after %d, but %d were sent", mc.id, len(p), mc.took, mc.sent)
	}
	mc.need = 0
	for i, b := range p {
		if b != modelByte(mc.id, mc.took+i, false) {
			m.fail("%d: byte %d is wrong", mc.id, mc.took+i)
			break
		}
	}
	used := len(p)
	if !m.quiet {
		used = len(p) * m.IntN(5) / 4 // all, if the program has ended: that is nothing
		mc.busy = true
		panicked := true
		defer func() {
			mc.busy = false
			if panicked {
				m.rough(mc)
			}
		}()
		m.inside()
		panicked = false
		for i, b := range p { // it is still ours
			if b != modelByte(mc.id, mc.took+i, false) {
				m.fail("%d: byte %d has changed inside Data", mc.id, mc.took+i)
				break
			}
		}
	}
	mc.took += used
	return used
}

// finale lets everything go its way, and looks at what has become of it.
func (m *streamModel) finale() {
	if m.err != nil {
		return
	}
	m.note("finale")
	m.quiet, m.hold = true, false
	for range 3 { // Resume twice: what Data has left is offered again
		for _, mc := range m.conns {
			mc.paused, mc.need = false, 0
			mc.c.Need(0)
			mc.c.Pause()
			mc.c.Resume()
		}
		m.settle()
	}
	for _, mc := range m.conns {
		switch {
		case m.err != nil || mc.rough || mc.peer < 0:
		case mc.partner != nil:
			if j := mc.partner; !j.rough && j.ends == 0 && mc.ends == 0 && mc.got != mc.wrote+j.sent-mc.partnerTook && !mc.finished && !j.finished {
				m.fail("%d: the peer got %d, and not %d and the other's %d", mc.id, mc.got, mc.wrote, j.sent-mc.partnerTook)
			}
		case mc.got != mc.wrote:
			m.fail("%d: the peer got %d of %d", mc.id, mc.got, mc.wrote)
		case mc.finished && mc.gotEnd != io.EOF:
			m.fail("%d: the peer did not see the end, but %v", mc.id, mc.gotEnd)
		case !mc.closed && mc.ends == 0 && mc.took != mc.sent:
			m.fail("%d: Data took %d of %d", mc.id, mc.took, mc.sent)
		case !mc.closed && mc.ends == 0 && mc.sentEnd && mc.eofs != 1:
			m.fail("%d: EOF was called %d times", mc.id, mc.eofs)
		case mc.ends > 0 && mc.err != nil:
			m.fail("%d ended with %v", mc.id, mc.err)
		}
	}
	if m.err != nil {
		return
	}

	for _, mc := range m.conns {
		if mc.peer >= 0 {
			unix.Close(mc.peer)
			mc.peer = -1
		}
		mc.c.Close()
	}
	m.settle()
	// A child that another test forks has the peers open until it executes: their
	// end comes a little later then.
	for end := testutil.Deadline(); m.err == nil && m.waits() && time.Now().Before(end); {
		m.settle()
	}
	for _, mc := range m.conns {
		want := 1
		if mc.detached {
			want = 0
		}
		if mc.ends != want {
			m.fail("%d: Close was called %d times (flags %b)", mc.id, mc.ends, mc.c.flags)
		}
	}
	for i, l := range m.loops {
		if l.Len() != 0 {
			m.fail("loop %d counts %d", i, l.Len())
		}
		for class, n := range l.pool.count {
			if n*(chunkMin<<(2*class)) > spareSize {
				m.fail("%d spare chunks of class %d", n, class)
			}
		}
	}
}

// waits reports whether a Close is still to be called.
func (m *streamModel) waits() bool {
	return slices.ContainsFunc(m.conns, func(mc *modelConn) bool { return mc.ends == 0 && !mc.detached })
}

// settle runs the loop, and the peers read, until nothing happens any more.
func (m *streamModel) settle() {
	for still := 0; still < 3 && m.err == nil; still++ {
		before := m.state()
		for range 3 {
			m.try(m.iterate)
		}
		for _, mc := range m.conns {
			m.peerReads(mc)
		}
		if m.state() != before {
			still = 0
		}
	}
}

func (m *streamModel) state() (sum int) {
	for _, mc := range m.conns {
		sum += mc.took + mc.got + mc.ends + mc.eofs
		if mc.gotEnd != nil {
			sum++
		}
	}
	return sum
}
