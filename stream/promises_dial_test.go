package stream_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

var dialPromises = []promise{
	{"WriteAtOnce", "a connection may be written before it is connected; Open comes first, and the peer gets all", both, func(e *env) {
		var r record
		got := ""
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		h := collect(&got)
		h.Open = func(c *stream.Conn) { c.Write([]byte(" open")) }
		c := e.l.Dial(e.network, ln.Addr(), time.Minute, r.of(h))
		if n, err := c.Write([]byte("at once")); n != 7 || err != nil || !c.Open() {
			e.Errorf("Write: %d, %v", n, err)
		}
		if e.l.Len() == 0 {
			e.Error("Len does not count it")
		}
		e.until("the echo", func() bool { return got == "at once open" })
		if e.network == "tcp" && c.Peer().String() != ln.Addr() {
			e.Errorf("the peer is %v", c.Peer())
		}
		c.Abort()
		e.ended(&r, stream.ErrAborted)
	}},
	{"Refused", "a refused connection ends with what the system says, without Open", both, func(e *env) {
		var r record
		addr, want := testutil.ShortDir(e)+"/nobody", error(unix.ENOENT)
		if e.network == "tcp" {
			addr, want = aetest.ClosedPort(e), unix.ECONNREFUSED
		}
		c := e.l.Dial(e.network, addr, time.Minute, r.of(stream.Handler{}))
		c.Write([]byte("x"))
		if r.closed() {
			e.Error("Close was called inside Dial")
		}
		e.ended(&r, want)
		if len(r.calls) != 1 {
			e.Errorf("calls: %v", r.calls)
		}
	}},
	{"BacklogFull", "a Unix socket whose backlog is full is EAGAIN", "unix", func(e *env) {
		path := e.address()
		ln, err := anet.ListenConfig{Backlog: 1}.Listen("unix", path)
		e.must(err)
		e.own(ln)
		for range 10 {
			if fd, err := anet.Connect("unix", path); err == nil {
				e.own(fd)
			}
		}
		var r record
		e.l.Dial("unix", path, time.Minute, r.of(stream.Handler{}))
		e.until("Close", r.closed)
		if !errors.Is(r.err, unix.EAGAIN) && !errors.Is(r.err, unix.ECONNREFUSED) {
			e.Errorf("%v", r.err)
		}
	}},
	{"TimesOut", "one that does not answer within the timeout ends with ErrTimeout", tcpOnly, func(e *env) {
		var r record
		addr := aetest.SilentPort(e)
		start := time.Now()
		e.l.Dial("tcp", addr, 100*time.Millisecond, r.of(stream.Handler{}))
		e.ended(&r, stream.ErrTimeout)
		if d := time.Since(start); d < 100*time.Millisecond || d > slack || len(r.calls) != 1 {
			e.Errorf("ended after %v: %v", d, r.calls)
		}
	}},
	{"DeadlineAndAbort", "a deadline and Abort end one that still connects; so does Close, at once without output, within Linger with some", tcpOnly, func(e *env) {
		addr := aetest.SilentPort(e)
		var byDeadline, byAbort, byClose, byLinger record
		c := e.l.Dial("tcp", addr, 0, byDeadline.of(stream.Handler{Idle: time.Millisecond})) // which does not count yet
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		c = e.l.Dial("tcp", addr, 0, byAbort.of(stream.Handler{}))
		c.Abort()
		c = e.l.Dial("tcp", addr, 0, byClose.of(stream.Handler{}))
		c.Close()
		if e.poll(); !byClose.closed() {
			e.Error("Close without output waits")
		}
		c = e.l.Dial("tcp", addr, 0, byLinger.of(stream.Handler{Linger: 50 * time.Millisecond}))
		c.Write([]byte("x"))
		c.Close()
		e.ended(&byAbort, stream.ErrAborted)
		e.ended(&byClose, nil)
		e.ended(&byDeadline, stream.ErrTimeout)
		e.ended(&byLinger, stream.ErrLinger)
	}},
	{"CloseAtOnceSends", "what was written before a Close arrives though the connection was not there yet", both, func(e *env) {
		var r record
		got := ""
		h := collect(&got)
		ln := e.listen(stream.ListenConfig{}, &h)
		c := e.l.Dial(e.network, ln.Addr(), 0, r.of(stream.Handler{}))
		c.Write([]byte("message"))
		c.Close()
		e.until("the message", func() bool { return got == "message" })
		e.ended(&r, nil)
		if r.count("Open") != 0 {
			e.Errorf("calls: %v", r.calls)
		}
	}},
	{"Names", "a name is looked up beside the loop, and all its addresses are tried", tcpOnly, func(e *env) {
		var r record
		got := ""
		ln := e.listen(stream.ListenConfig{}, echoHandler) // IPv4 alone
		_, port, _ := net.SplitHostPort(ln.Addr())
		h := collect(&got)
		c := e.l.Dial("tcp", "localhost:"+port, time.Minute, r.of(h))
		c.Write([]byte("hello"))
		e.until("the echo", func() bool { return got == "hello" || r.closed() })
		if r.closed() {
			e.Errorf("ended with %v", r.err)
		}
	}},
	{"BadNames", "a bad network, address or name ends with an error that can be told", tcpOnly, func(e *env) {
		for _, row := range []struct {
			network, address string
			is               func(error) bool
		}{
			{"udp", "127.0.0.1:1", func(err error) bool { return errors.Is(err, net.UnknownNetworkError("udp")) }},
			{"tcp9", "127.0.0.1:1", func(err error) bool { return errors.Is(err, net.UnknownNetworkError("tcp9")) }},
			{"", "127.0.0.1:1", func(err error) bool { return errors.Is(err, net.UnknownNetworkError("")) }},
			{"tcp", "no port", func(err error) bool { var a *net.AddrError; return errors.As(err, &a) }},
			{"tcp", "127.0.0.1:99999", func(err error) bool {
				var a *net.AddrError
				var d *net.DNSError
				return errors.As(err, &a) || errors.As(err, &d)
			}},
			{"tcp", "a name that cannot be.invalid:80", func(err error) bool { var d *net.DNSError; return errors.As(err, &d) }},
			{"unix", strings.Repeat("x", 200), func(err error) bool { return errors.Is(err, unix.ENAMETOOLONG) }},
			{"unix", "/nobody/is/here", func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		} {
			var r record
			e.l.Dial(row.network, row.address, time.Minute, r.of(stream.Handler{}))
			e.until(row.network+" "+row.address, r.closed)
			if !row.is(r.err) {
				e.Errorf("%s %q: %T %v", row.network, row.address, r.err, r.err)
			}
		}
	}},
	{"ClosedLoop", "on a closed loop the connection is not open, and nothing is left behind", both, func(e *env) {
		el, l := e.newLoop()
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		e.must(el.Close())
		for _, addr := range []string{ln.Addr(), "localhost:1"} {
			c := l.Dial(e.network, addr, 0, echoHandler)
			if c.Open() {
				e.Errorf("Dial %s: open", addr)
			}
			if _, err := c.Write([]byte("x")); err != stream.ErrClosed {
				e.Errorf("Write: %v", err)
			}
			c.Close()
			c.Abort()
		}
		l.Close()
		if l.Len() != 0 {
			e.Errorf("%d connections", l.Len())
		}
	}},
	{"ResetWhileQueued", "a peer that resets at once is told as such", tcpOnly, func(e *env) {
		ln := e.listen(stream.ListenConfig{}, &stream.Handler{Open: func(c *stream.Conn) { c.Abort() }})
		var r record
		e.l.Dial("tcp", ln.Addr(), 0, r.of(stream.Handler{}))
		e.until("Close", r.closed)
		if r.err != unix.ECONNRESET && r.err != unix.EPIPE && r.err != io.EOF {
			e.Errorf("%v", r.err)
		}
	}},
}
