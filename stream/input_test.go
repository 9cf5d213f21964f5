package stream

import (
	"strings"
	"testing"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
)

// Input that Data has left must survive a read that brings none.
func TestInputThatWaitsIsStillThereAtTheEnd(t *testing.T) {
	r := newRig(t)
	var in []byte
	fd := -1
	c, peer := r.pair(&Handler{
		Data: func(*Conn, []byte) int { return 1 },
		EOF:  func(c *Conn) { fd, in, _ = c.Detach() },
	})
	aetest.Send(r.t, peer, "abc")
	r.settled()
	anet.CloseWrite(peer)
	r.until("EOF", func() bool { return !c.Open() })
	anet.Close(fd)
	if string(in) != "bc" {
		t.Errorf("Detach inside EOF gave %q, want %q", in, "bc")
	}
}

// A descriptor can be readable for no reason, as when another process takes what
// was there.
func TestAReadThatBringsNothingLosesNothing(t *testing.T) {
	r := newRig(t)
	var got string
	c, peer := r.pair(&Handler{Data: func(_ *Conn, p []byte) int {
		got = string(p)
		return 0
	}})
	aetest.Send(r.t, peer, "abc")
	r.until("Data", func() bool { return got != "" })
	r.l.onReadable(r.el, c.FD(), 0)
	aetest.Send(r.t, peer, "def")
	r.until("more Data", func() bool { return got != "abc" })
	if got != "abcdef" {
		t.Errorf("Data got %q", got)
	}
}

func TestEOFComesOnceThoughItPanics(t *testing.T) {
	r := newRig(t)
	times := 0
	c, peer := r.pair(&Handler{EOF: func(c *Conn) {
		if times++; times == 1 {
			panic("EOF")
		}
	}})
	anet.CloseWrite(peer)
	r.panics("EOF")
	r.settled()
	if times != 1 {
		t.Errorf("EOF was called %d times", times)
	}
	c.Abort()
}

// What answers at once resumes before Data has returned.
func TestResumeInsideDataBringsTheRest(t *testing.T) {
	r := newRig(t)
	var got strings.Builder
	_, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		got.WriteByte(p[0])
		c.Pause()
		c.Resume()
		return 1
	}})
	aetest.Send(r.t, peer, "abc")
	r.settled()
	if got.String() != "abc" {
		t.Errorf("Data got %q", got.String())
	}
}

// However long that takes, the loop does not sleep over it.
func TestResumeOverAndOverIsNotForgotten(t *testing.T) {
	r := newRig(t)
	calls := 0
	_, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		calls++
		c.Pause() // which has a look for resets wake the loop, once a second
		c.Resume()
		return 1
	}})
	const n = 100 * maxRounds
	aetest.Send(t, peer, strings.Repeat("x", n))
	r.until("Data", func() bool { return calls == n })
}

// The callbacks of one connection resume another that is to be settled after it in
// the same batch: the input must not be forgotten.
func TestResumeOfAConnectionThatIsSettledInTheSameBatch(t *testing.T) {
	r := newRig(t)
	var b *Conn
	calls := 0
	a, _ := r.pair(&Handler{Close: func(*Conn, error) { b.Resume() }})
	b, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		if calls++; calls == 1 {
			c.Pause()
			return 0
		}
		return len(p)
	}})
	aetest.Send(r.t, peer, "abc")
	r.settled()
	a.Abort()
	b.Write([]byte("x")) // in the batch, behind a
	r.settled()
	if calls != 2 {
		t.Errorf("Data was called %d times, want 2", calls)
	}
}

// Pause says that what Data has not used waits, however much it is.
func TestInputOfAPausedConnectionIsNotTooLong(t *testing.T) {
	r := newRig(t)
	var got string
	var end error
	c, peer := r.pair(&Handler{
		MaxInput: 4,
		Data: func(c *Conn, p []byte) int {
			if got == "" {
				got = "paused"
				c.Pause()
				return 0
			}
			got = string(p)
			return len(p)
		},
		Close: func(_ *Conn, err error) { end = err },
	})
	aetest.Send(r.t, peer, "abcdefgh")
	r.settled()
	c.Resume()
	r.settled()
	if got != "abcdefgh" || end != nil {
		t.Errorf("after Resume Data got %q, and the connection ended with %v", got, end)
	}
}

// Input that Resume has made due comes before the end that was behind it, whether
// or not the loop gets to BeforeSleep in between.
func TestInputThatWaitsComesBeforeTheEnd(t *testing.T) {
	r := newRig(t)
	var calls []string
	c, peer := r.pair(&Handler{
		Data: func(c *Conn, p []byte) int {
			if len(calls) == 0 {
				calls = append(calls, "paused")
				c.Pause()
				return 0
			}
			calls = append(calls, string(p))
			return len(p)
		},
		EOF: func(c *Conn) { calls = append(calls, "EOF") },
	})
	aetest.Send(r.t, peer, "abc")
	r.settled()
	anet.CloseWrite(peer)
	c.Resume()
	for range 5 { // no BeforeSleep
		if _, err := r.el.ProcessEvents(rigLook &^ (1 << 3)); err != nil {
			t.Fatal(err)
		}
	}
	r.settled()
	if got := strings.Join(calls, ","); got != "paused,abc,EOF" {
		t.Errorf("calls were %s", got)
	}
	c.Abort()
}

func TestAHandlerThatPanicsInOneCallbackLosesNoOther(t *testing.T) {
	r := newRig(t)
	closed := 0
	h := &Handler{Data: allOf, Close: func(*Conn, error) {
		if closed++; closed == 1 {
			panic("Close")
		}
	}}
	var all []*Conn
	for range 4 {
		c, _ := r.pair(h)
		all = append(all, c)
	}
	for _, c := range all {
		c.Abort()
	}
	r.panics("Close")
	r.settled()
	if closed != 4 || r.l.Len() != 0 {
		t.Errorf("Close was called %d times, %d connections are left", closed, r.l.Len())
	}
}
