package stream

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// rigPatience is how long these tests wait for what must happen. No test waits for
// it to pass. AE_PATIENCE makes it shorter where failures are expected.
var rigPatience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("AE_PATIENCE")); err == nil {
		return d
	}
	return 20 * time.Second
}()

const (
	rigIteration = ae.AllEvents | ae.CallBeforeSleep | ae.CallAfterSleep
	rigLook      = rigIteration | ae.DontWait
)

// rig is a loop for connections, on the goroutine of the test.
type rig struct {
	t  testing.TB
	el *ae.EventLoop
	l  *Loop
}

func newRig(t testing.TB) *rig {
	t.Helper()
	el, err := ae.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, el: el, l: On(el)}
	t.Cleanup(func() {
		r.within("Loop.Close", r.l.Close)
		if err := el.Close(); err != nil && !errors.Is(err, ae.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// within panics if f does not come back.
func (r *rig) within(what string, f func()) {
	guard := time.AfterFunc(rigPatience, func() {
		debug.SetTraceback("all")
		panic(r.t.Name() + ": " + what + " does not come back")
	})
	defer guard.Stop()
	f()
}

// pair adopts one end of a pair of sockets, and returns the other. Open has been
// called by then.
func (r *rig) pair(h *Handler) (c *Conn, peer int) {
	r.t.Helper()
	a, b, err := anet.SocketPair()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.adopt(a, h), r.own(b)
}

// tcp is pair over TCP.
func (r *rig) tcp(h *Handler) (c *Conn, peer int) {
	r.t.Helper()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer anet.Close(ln)
	peer, err = anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		r.t.Fatal(err)
	}
	r.own(peer)
	if _, err := ae.Wait(ln, ae.Readable, rigPatience); err != nil {
		r.t.Fatal(err)
	}
	fd, _, err := anet.Accept(ln)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.adopt(fd, h), peer
}

func (r *rig) adopt(fd int, h *Handler) *Conn {
	r.t.Helper()
	c, err := r.l.Adopt(fd, h)
	if err != nil {
		anet.Close(fd)
		r.t.Fatal(err)
	}
	r.look()
	return c
}

// own closes fd at the end, with whatever it names then: a test that closes it
// itself dups something over it, or uses hangUp.
func (r *rig) own(fd int) int {
	f := os.NewFile(uintptr(fd), "peer")
	r.t.Cleanup(func() { f.Close() })
	return fd
}

// look runs one iteration that does not sleep.
func (r *rig) look() {
	r.t.Helper()
	r.within("an iteration", func() {
		if _, err := r.el.ProcessEvents(rigLook); err != nil {
			r.t.Fatal(err)
		}
	})
}

// until runs the loop until done.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	late := false
	guard := r.el.CreateTimeEvent(rigPatience, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		late = true
		return ae.NoMore
	})
	defer r.el.DeleteTimeEvent(guard)
	over := false
	defer r.el.SetDontWait(false)
	defer r.el.AddBeforeSleep(func(el *ae.EventLoop) { // behind the Loop's
		over = over || done()
		el.SetDontWait(over)
	})()
	for !over && !done() {
		if late {
			r.t.Fatalf("waited %v in vain: %s", rigPatience, what)
		}
		if _, err := r.el.ProcessEvents(rigIteration); err != nil {
			r.t.Fatal(err)
		}
	}
}

// settled runs the loop until it has nothing to do.
func (r *rig) settled() {
	r.t.Helper()
	for range 20 {
		r.look()
	}
}

// panics runs one iteration, in which a callback panics with want.
func (r *rig) panics(want any) {
	r.t.Helper()
	defer func() {
		if got := recover(); got != want {
			r.t.Errorf("panic %v, want %v", got, want)
		}
	}()
	for range 20 {
		r.look()
	}
}

// send writes to the peer's end.
func (r *rig) send(fd int, s string) {
	r.t.Helper()
	if n, err := anet.Write(fd, []byte(s)); err != nil || n != len(s) {
		r.t.Fatalf("write %q: %d, %v", s, n, err)
	}
}

// received reads what the peer has got: all that is there, and what ended it.
func (r *rig) received(fd int) (string, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := anet.Read(fd, buf)
		all = append(all, buf[:n]...)
		if err == anet.ErrWouldBlock {
			return string(all), nil
		}
		if err != nil {
			return string(all), err
		}
	}
}

// isOpen reports whether fd names a file.
func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// allOf is a Data that takes everything.
func allOf(_ *Conn, p []byte) int { return len(p) }

// descriptors counts those that are open below 4,096, without opening one. Those of
// the Go runtime's own poller come when package net is first used.
func descriptors() (n int) {
	netPoller()
	for fd := range 4096 {
		if isOpen(fd) {
			n++
		}
	}
	return n
}

var netPoller = sync.OnceFunc(func() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		ln.Close()
	}
})
