package stream

import (
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

const rigLook = aetest.Iteration | ae.DontWait

// rig is a loop for connections, on the goroutine of the test.
type rig struct {
	t  testing.TB
	el *ae.EventLoop
	l  *Loop
}

func newRig(t testing.TB) *rig {
	t.Helper()
	el := aetest.Loop(t)
	r := &rig{t: t, el: el, l: On(el)}
	t.Cleanup(func() { r.within("Loop.Close", r.l.Close) })
	return r
}

// within ends the process if f does not come back.
func (r *rig) within(what string, f func()) {
	r.t.Helper()
	defer testutil.Guard(r.t, testutil.Patience, what+" does not come back")()
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
	peer, fd, err := aetest.ConnectTCP()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.adopt(fd, h), r.own(peer)
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

// own has fd closed at the end.
func (r *rig) own(fd int) int {
	testutil.CloseLater(r.t, fd)
	return fd
}

// look runs one iteration that does not sleep.
func (r *rig) look() {
	r.t.Helper()
	aetest.Step(r.t, r.el, rigLook)
}

// until runs the loop until done, which is asked each time that it is about to sleep
// as well: nothing else than what is waited for need wake it.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	over := false
	defer r.el.SetDontWait(false)
	defer r.el.AddBeforeSleep(func(el *ae.EventLoop) { // behind the Loop's
		over = over || done()
		el.SetDontWait(over)
	})()
	aetest.Await(r.t, r.el, aetest.Iteration, what, func() bool { return over || done() })
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
	r.settled()
}

// allOf is a Data that takes everything.
func allOf(_ *Conn, p []byte) int { return len(p) }

// descriptors counts those that are open.
func descriptors() int {
	testutil.StartPoller()
	return len(testutil.OpenDescriptors())
}
