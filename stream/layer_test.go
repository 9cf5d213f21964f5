package stream_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// plain is a Layer that changes nothing, in awkward pieces.
type plain struct {
	w      *stream.Wire
	calls  int
	closed bool
}

func (y *plain) Start(w *stream.Wire) {
	y.w = w
	w.Ready(nil)
}

func (y *plain) Decode(dst, src []byte, eof bool) (nDst, nSrc int, err error) {
	y.calls++
	n := copy(dst[:min(len(dst), 1+y.calls*7919%(16<<10))], src)
	if n == 0 && eof {
		return 0, 0, io.EOF
	}
	return n, n, nil
}

func (y *plain) Encode(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), 16<<10)
		y.w.Write(p[:n])
		p = p[n:]
	}
	return nil
}

func (y *plain) CloseWrite() {}

func (y *plain) Close() {
	if y.closed {
		panic("closed twice")
	}
	y.closed = true
}

// TestPromisesThroughALayer holds connections with a Layer to the promises about
// connections.
func TestPromisesThroughALayer(t *testing.T) {
	testutil.StartPoller()
	t.Cleanup(testutil.NoLeak(t))
	run := func(rows []promise, parallel bool) {
		for _, p := range rows {
			switch p.name {
			case "IdleConnection", // a Layer costs what it costs
				"BeforeSendForOutputAlone": // its last word is output
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				keep(t, p, "tcp", true)
			})
		}
	}
	for _, rows := range [][]promise{inputPromises, outputPromises, joinPromises, postPromises, memoryPromises} {
		run(rows, false)
	}
	for _, rows := range [][]promise{pressurePromises, endsPromises, callbackPromises, timePromises, shutdownPromises} {
		run(rows, true)
	}
}

// scripted is a Layer that does what a test says.
type scripted struct {
	start  func(w *stream.Wire)
	decode func(dst, src []byte, eof bool) (int, int, error)
	encode func(p []byte) error
	w      *stream.Wire
	calls  []string
}

func (y *scripted) Start(w *stream.Wire) {
	y.calls = append(y.calls, "Start")
	if y.w = w; y.start != nil {
		y.start(w)
	}
}

func (y *scripted) Decode(dst, src []byte, eof bool) (int, int, error) {
	if y.decode != nil {
		return y.decode(dst, src, eof)
	}
	return 0, 0, nil
}

func (y *scripted) Encode(p []byte) error {
	if y.encode != nil {
		return y.encode(p)
	}
	y.w.Write(p)
	return nil
}

func (y *scripted) CloseWrite() { y.calls = append(y.calls, "CloseWrite"); y.w.Write([]byte("END")) }
func (y *scripted) Close()      { y.calls = append(y.calls, "Close") }

// layeredPair returns a connection with y, and its peer.
func (e *env) layeredPair(h *stream.Handler, y stream.Layer) (c *stream.Conn, peer int) {
	e.Helper()
	fd, peer := e.sockets()
	c = e.adopt(fd, h)
	c.SetLayer(y)
	e.poll()
	return c, e.own(peer)
}

var layerPromises = []promise{
	{"NotOpenBeforeReady", "a connection whose layer is not ready has no Open, is not among All, and is not moved", both, func(e *env) {
		var r record
		asked := false
		y := &scripted{}
		c, peer := e.layeredPair(r.of(stream.Handler{Shutdown: func(*stream.Conn) {}}), y)
		c.Pause() // is for what comes later
		y.decode = func(_, src []byte, _ bool) (int, int, error) {
			asked = asked || len(src) > 0
			return 0, len(src), nil
		}
		aetest.Send(e, peer, "x")
		e.until("Decode", func() bool { return asked })
		c.Resume()
		c.Write([]byte("early"))
		e.poll()
		for range e.l.All() {
			e.Error("All has it")
		}
		_, other := e.newLoop()
		if err := c.MoveTo(other); err == nil {
			e.Error("it was moved")
		}
		if got, _ := aetest.Receive(peer); got != "" || len(r.calls) > 0 || !c.Open() || c.Queued() != 5 {
			e.Errorf("the peer has %q; calls %v, open %v, queued %d", got, r.calls, c.Open(), c.Queued())
		}
		y.w.Ready(nil)
		e.receive(peer, "early")
		if r.count("Open") != 1 {
			e.Errorf("calls %v", r.calls)
		}
	}},
	{"LastWord", "CloseWrite is called once, behind all output, and Close of the layer once, before the Handler's", both, func(e *env) {
		var r record
		y := &scripted{start: func(w *stream.Wire) { w.Ready(nil) }}
		c, peer := e.layeredPair(r.of(stream.Handler{
			EOF:   func(*stream.Conn) {},
			Close: func(*stream.Conn, error) { y.calls = append(y.calls, "Handler.Close") },
		}), y)
		c.Write([]byte("all "))
		c.CloseWrite()
		c.Close()
		if got, end := e.receiveAll(peer); got != "all END" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, nil)
		if got := strings.Join(y.calls, " "); got != "Start CloseWrite Close Handler.Close" {
			e.Error(got)
		}
	}},
	{"FailSendsLastWords", "what a layer that fails has written arrives, before the end; what the Handler has written does not", both, func(e *env) {
		bad := errors.New("bad")
		var r record
		y := &scripted{}
		y.decode = func(_, src []byte, _ bool) (int, int, error) {
			if len(src) == 0 {
				return 0, 0, nil
			}
			y.w.Write([]byte("alert"))
			return 0, 0, bad
		}
		c, peer := e.layeredPair(r.of(stream.Handler{}), y)
		c.Write([]byte("lost"))
		aetest.Send(e, peer, "x")
		if got, end := e.receiveAll(peer); got != "alert" || end != io.EOF {
			e.Errorf("%q, %v", got, end)
		}
		testutil.CloseNow(e, peer)
		e.ended(&r, bad)
		if r.count("Open") > 0 || strings.Join(y.calls, " ") != "Start Close" {
			e.Error(r.calls, y.calls)
		}
	}},
	{"EncodeFails", "an error of Encode ends the connection with it", both, func(e *env) {
		bad := errors.New("bad")
		var r record
		y := &scripted{start: func(w *stream.Wire) { w.Ready(nil) }, encode: func([]byte) error { return bad }}
		c, peer := e.layeredPair(r.of(stream.Handler{}), y)
		c.Write([]byte("x"))
		e.poll()
		testutil.CloseNow(e, peer)
		e.ended(&r, bad)
	}},
	{"SetTimeout", "a layer that is not ready in time ends with ErrTimeout, and one that is does not", both, func(e *env) {
		var r, ok record
		late := &scripted{start: func(w *stream.Wire) { w.SetTimeout(20 * time.Millisecond) }}
		e.layeredPair(r.of(stream.Handler{Idle: time.Hour}), late)
		e.layeredPair(ok.of(stream.Handler{}), &scripted{start: func(w *stream.Wire) {
			w.SetTimeout(20 * time.Millisecond)
			w.Ready(nil)
		}})
		e.ended(&r, stream.ErrTimeout)
		e.runFor(60 * time.Millisecond)
		if ok.closed() {
			e.Errorf("the other has ended: %v", ok.err)
		}
	}},
	{"PauseStopsReading", "a layer that pauses is not read to, and gets all after Resume", both, func(e *env) {
		got, paused := 0, false
		y := &scripted{}
		y.decode = func(_, src []byte, _ bool) (int, int, error) {
			if len(src) > 0 && !paused {
				paused = true
				y.w.Pause()
				return 0, 0, nil
			}
			got += len(src)
			return 0, len(src), nil
		}
		_, peer := e.layeredPair(&stream.Handler{Open: func(*stream.Conn) {}}, y)
		aetest.Send(e, peer, strings.Repeat("x", 20_000))
		e.until("the pause", func() bool { return paused })
		aetest.Sleeps(e, e.el)
		y.w.Resume()
		e.until("the rest", func() bool { return got == 20_000 })
	}},
	{"TooLong", "a layer that waits for more than a buffer holds ends with ErrTooLong", both, func(e *env) {
		var r record
		_, peer := e.layeredPair(r.of(stream.Handler{}), &scripted{start: func(w *stream.Wire) { w.Ready(nil) }})
		rest := make([]byte, 1<<20)
		e.until("Close", func() bool {
			n, _ := anet.Write(peer, rest[:min(len(rest), 8<<10)])
			rest = rest[max(n, 0):]
			if len(rest) == 0 {
				e.Fatal("a megabyte waits")
			}
			if !r.closed() {
				aetest.Receive(peer)
			}
			return len(rest) < 1<<20-256<<10
		})
		testutil.CloseNow(e, peer)
		e.ended(&r, stream.ErrTooLong)
	}},
	{"Misuse", "a nil Layer, a second one and one for a joined connection panic; one for a connection that has ended is closed", both, func(e *env) {
		panics := func(what string, f func()) {
			defer func() {
				if recover() == nil {
					e.Errorf("%s does not panic", what)
				}
			}()
			f()
		}
		h := &stream.Handler{Open: func(*stream.Conn) {}}
		c, _ := e.layeredPair(h, &scripted{})
		panics("a second", func() { c.SetLayer(&scripted{}) })
		a, _ := e.pair(h)
		b, _ := e.pair(h)
		panics("nil", func() { a.SetLayer(nil) })
		stream.Join(a, b)
		panics("joined", func() { a.SetLayer(&scripted{}) })
		a.Abort()
		e.poll()
		y := &scripted{}
		a.SetLayer(y)
		if len(y.calls) != 1 || y.calls[0] != "Close" {
			e.Errorf("a layer for nobody: %v", y.calls)
		}
	}},
	{"NeverConnected", "the layer of a dial that fails is closed without Start", tcpOnly, func(e *env) {
		var r record
		y := &scripted{}
		c := e.l.Dial("tcp", aetest.ClosedPort(e), 0, r.of(stream.Handler{}))
		c.SetLayer(y)
		e.ended(&r, unix.ECONNREFUSED)
		if got := strings.Join(y.calls, " "); got != "Close" {
			e.Error(got)
		}
		if c.Layer() != y {
			e.Error("Layer is forgotten")
		}
	}},
	{"JoinWaits", "what is for a connection whose layer is not ready stops the side that it comes from, and arrives", both, func(e *env) {
		const size = 2 << 20
		y := &scripted{}
		h := &stream.Handler{Open: func(*stream.Conn) {}}
		to, toPeer := e.layeredPair(h, y)
		from, fromPeer := e.pair(h)
		stream.Join(from, to)
		rest, most, got := make([]byte, size), 0, 0
		send := func() {
			n, _ := anet.Write(fromPeer, rest)
			rest = rest[max(n, 0):]
			most = max(most, to.Queued())
		}
		for range 200 {
			send()
			e.poll()
		}
		if most == 0 || most > 512<<10 {
			e.Errorf("%d bytes wait", most)
		}
		y.w.Ready(nil)
		e.until("all of it", func() bool {
			send()
			s, _ := aetest.Receive(toPeer)
			got += len(s)
			return got == size
		})
	}},
	{"DetachCloses", "Detach closes the layer", both, func(e *env) {
		y := &scripted{}
		c, _ := e.layeredPair(&stream.Handler{Open: func(*stream.Conn) {}}, y)
		fd, _, _ := c.Detach()
		e.own(fd)
		if got := strings.Join(y.calls, " "); got != "Start Close" {
			e.Error(got)
		}
		y.w.Write([]byte("x")) // these do nothing any more
		y.w.Ready(nil)
		y.w.Fail(io.EOF)
		y.w.Pause()
		y.w.Resume()
		y.w.SetTimeout(time.Second)
		e.poll()
	}},
}
