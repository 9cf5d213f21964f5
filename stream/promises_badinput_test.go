package stream_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// badHandlers are what no function takes.
func badHandlers() map[string]*stream.Handler {
	with := func(change func(h *stream.Handler)) *stream.Handler {
		h := *echoHandler
		change(&h)
		return &h
	}
	return map[string]*stream.Handler{
		"nil":              nil,
		"empty":            {},
		"negative Idle":    with(func(h *stream.Handler) { h.Idle = -1 }),
		"negative Linger":  with(func(h *stream.Handler) { h.Linger = -1 }),
		"negative High":    with(func(h *stream.Handler) { h.High = -1 }),
		"negative Low":     with(func(h *stream.Handler) { h.Low = -1 }),
		"negative Limit":   with(func(h *stream.Handler) { h.Limit = -1 }),
		"negative Max":     with(func(h *stream.Handler) { h.MaxInput = -1 }),
		"Low above High":   with(func(h *stream.Handler) { h.High, h.Low = 10, 11 }),
		"Low above 64 KiB": with(func(h *stream.Handler) { h.Low = 65 << 10 }),
	}
}

// mistake runs fn, which must panic with a text that names the mistake.
func (e *env) mistake(what string, fn func()) {
	e.Helper()
	defer func() {
		if v := recover(); v == nil || !strings.HasPrefix(fmt.Sprint(v), "stream: ") {
			e.Errorf("%s: panics with %v", what, v)
		}
	}()
	fn()
}

var badInputPromises = []promise{
	{"Handlers", "a nil, empty, negative or contradictory Handler is EINVAL, or a panic where there is no error", both, func(e *env) {
		c, _ := e.pair(echoHandler)
		for what, h := range badHandlers() {
			fd, peer := e.sockets()
			if _, err := e.l.Adopt(fd, h); !errors.Is(err, unix.EINVAL) {
				e.Errorf("%s: Adopt: %v", what, err)
			}
			unix.Close(fd)
			unix.Close(peer)
			if _, err := e.l.Listen(e.network, e.address(), stream.ListenConfig{}, h); !errors.Is(err, unix.EINVAL) {
				e.Errorf("%s: Listen: %v", what, err)
			}
			e.mistake(what+": Dial", func() { e.l.Dial(e.network, "127.0.0.1:1", 0, h) })
			e.mistake(what+": SetHandler", func() { c.SetHandler(h) })
		}
		if e.l.Len() != 1 || !c.Open() {
			e.Errorf("%d connections", e.l.Len())
		}
	}},
	{"Descriptors", "each descriptor that cannot be a connection is an error that can be told, and stays the caller's", tcpOnly, func(e *env) {
		fd, peer := e.sockets()
		e.own(fd)
		e.own(peer)
		testutil.CloseNow(e, fd)
		closed := fd
		check := func(what string, fd int, want error) {
			e.Helper()
			if _, err := e.l.Adopt(fd, echoHandler); !errors.Is(err, want) {
				e.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		check("closed", closed, unix.EBADF)
		check("negative", -1, unix.EBADF)

		r, w, err := anet.Pipe()
		e.must(err)
		e.own(r)
		e.own(w)
		check("pipe", r, unix.ENOTSOCK)
		f, err := os.Open(os.DevNull)
		e.must(err)
		check("file", int(f.Fd()), unix.ENOTSOCK)
		f.Close()
		ln, err := anet.Listen("tcp", "127.0.0.1:0")
		e.must(err)
		e.own(ln)
		check("listener", ln, unix.ENOTCONN)
		udp, err := anet.Listen("udp", "127.0.0.1:0")
		e.must(err)
		e.own(udp)
		check("datagrams", udp, unix.EPROTOTYPE)

		c, _ := e.pair(echoHandler)
		check("a connection", c.FD(), unix.EEXIST)
		c.Pause()
		e.poll()
		check("a paused connection", c.FD(), unix.EEXIST)
		fd, peer = e.sockets()
		e.own(fd)
		e.own(peer)
		e.must(e.el.CreateFileEvent(fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {}))
		check("watched", fd, unix.EEXIST)
		e.must(e.el.DeleteFileEvent(fd, ae.Readable))
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			e.Errorf("a refused descriptor: %v", err)
		}
		if e.l.Len() != 1 {
			e.Errorf("%d connections", e.l.Len())
		}

		small, err := ae.New(4)
		e.must(err)
		defer small.Close()
		l := stream.On(small)
		if _, err := l.Adopt(fd, echoHandler); !errors.Is(err, ae.ErrRange) {
			e.Errorf("a loop that is too small: %v", err)
		}
	}},
	{"Listen", "a bad network, address or configuration is an error that can be told", tcpOnly, func(e *env) {
		with := func(change func(cfg *stream.ListenConfig)) (cfg stream.ListenConfig) { change(&cfg); return }
		for _, row := range []struct {
			network, address string
			cfg              stream.ListenConfig
			want             error
		}{
			{"udp", "127.0.0.1:0", stream.ListenConfig{}, unix.EINVAL},
			{"", "127.0.0.1:0", stream.ListenConfig{}, unix.EINVAL},
			{"tcpx", "127.0.0.1:0", stream.ListenConfig{}, unix.EINVAL},
			{"tcp", "127.0.0.1:0", with(func(cfg *stream.ListenConfig) { cfg.MaxConns = -1 }), unix.EINVAL},
			{"tcp", "127.0.0.1:0", with(func(cfg *stream.ListenConfig) { cfg.PerConn = -1 }), unix.EINVAL},
			{"tcp", "127.0.0.1:0", with(func(cfg *stream.ListenConfig) { cfg.Reserve = -1 }), unix.EINVAL},
			{"tcp", "127.0.0.1:0", with(func(cfg *stream.ListenConfig) { cfg.Reserve = 1 << 30 }), unix.EMFILE},
			{"tcp", "192.0.2.1:0", stream.ListenConfig{}, unix.EADDRNOTAVAIL},
			{"unix", strings.Repeat("x", 200), stream.ListenConfig{}, unix.ENAMETOOLONG},
			{"unix", "/nobody/is/here", stream.ListenConfig{}, unix.ENOENT},
		} {
			if _, err := e.l.Listen(row.network, row.address, row.cfg, echoHandler); !errors.Is(err, row.want) {
				e.Errorf("%s %.20s: %v, want %v", row.network, row.address, err, row.want)
			}
		}
		ln, err := e.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, echoHandler)
		e.must(err)
		if _, err := e.l.Listen("tcp", ln.Addr(), stream.ListenConfig{}, echoHandler); !errors.Is(err, unix.EADDRINUSE) {
			e.Errorf("twice: %v", err)
		}
	}},
	{"DataResult", "Data that returns what cannot be panics, and the connection ends", both, func(e *env) {
		for _, n := range []int{-1, 2, math.MaxInt} {
			var r record
			_, peer := e.pair(r.of(stream.Handler{Data: func(_ *stream.Conn, p []byte) int { return n }}))
			aetest.Send(e, peer, "x")
			e.mistake(fmt.Sprint(n), func() { e.until("a panic", func() bool { return false }) })
			e.ended(&r, stream.ErrAborted)
		}
	}},
	{"ClosedLoop", "on a closed loop everything is ae.ErrClosed, and nothing is left behind", both, func(e *env) {
		el, l := e.newLoop()
		e.must(el.Close())
		fd, peer := e.sockets()
		if _, err := l.Adopt(fd, echoHandler); !errors.Is(err, ae.ErrClosed) {
			e.Errorf("Adopt: %v", err)
		}
		unix.Close(fd)
		unix.Close(peer)
		if _, err := l.Listen(e.network, e.address(), stream.ListenConfig{}, echoHandler); !errors.Is(err, ae.ErrClosed) {
			e.Errorf("Listen: %v", err)
		}
		if err := l.Shutdown(time.Second, nil); !errors.Is(err, ae.ErrClosed) {
			e.Errorf("Shutdown: %v", err)
		}
		l.Close()
	}},
	{"LoopClosedFirst", "an event loop that is closed under its connections leaves them to Loop.Close", both, func(e *env) {
		el, l := e.newLoop()
		var r record
		fd, peer := e.sockets()
		e.own(peer)
		c, err := l.Adopt(fd, r.of(stream.Handler{Idle: time.Second}))
		e.must(err)
		_, err = l.Listen(e.network, e.address(), stream.ListenConfig{}, echoHandler)
		e.must(err)
		c.Write([]byte("x"))
		e.must(el.Close())
		c.Pause()
		c.Resume()
		c.SetDeadline(time.Now())
		c.Write([]byte("x"))
		c.Close()
		l.Close()
		if r.count("Close") != 1 || l.Len() != 0 {
			e.Errorf("%v, %d connections", r.calls, l.Len())
		}
	}},
	{"Mistakes", "a nil loop, a Join of one connection with itself or joined already, and a nil function panic by name", both, func(e *env) {
		a, _ := e.pair(echoHandler)
		b, _ := e.pair(echoHandler)
		c, _ := e.pair(echoHandler)
		el, l := e.newLoop()
		defer func() { l.Close(); el.Close() }()
		fd, peer := e.sockets()
		e.own(peer)
		other, err := l.Adopt(fd, echoHandler)
		e.must(err)
		stream.Join(a, b)
		e.mistake("On(nil)", func() { stream.On(nil) })
		e.mistake("Join with itself", func() { stream.Join(c, c) })
		e.mistake("Join of a joined one", func() { stream.Join(c, a) })
		e.mistake("Join of two loops", func() { stream.Join(c, other) })
		e.mistake("Join with nil", func() { stream.Join(c, nil) })
		e.mistake("Post of nil", func() { c.Post(nil) })
		e.mistake("MoveTo nil", func() { c.MoveTo(nil) })
	}},
	{"EarlyMethods", "the methods of a connection may be called before its Open", both, func(e *env) {
		var r record
		fd, peer := e.sockets()
		e.own(peer)
		got := ""
		c := e.adopt(fd, r.of(collect(&got)))
		c.Write([]byte("early"))
		c.Pause()
		c.Need(2)
		c.SetDeadline(time.Now().Add(time.Hour))
		c.Resume()
		if len(r.calls) != 0 {
			e.Errorf("calls inside methods: %v", r.calls)
		}
		aetest.Send(e, peer, "in")
		e.receive(peer, "early")
		e.until("input", func() bool { return got == "in" })
		if r.calls[0] != "Open" {
			e.Errorf("%v", r.calls)
		}
		c.Need(-5)
		aetest.Send(e, peer, "x")
		e.until("input", func() bool { return got == "inx" })
	}},
}
