package stream

import (
	"strings"
	"testing"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// A callback may run the loop until what it wrote was answered.
func TestOpenRunsTheLoopUntilItIsAnswered(t *testing.T) {
	r := newRig(t)
	ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{
		Data: func(c *Conn, p []byte) int { c.Write(p); return len(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	c := r.l.Dial("tcp", ln.Addr(), testutil.Patience, &Handler{
		Open: func(c *Conn) {
			c.Write([]byte("hello"))
			r.until("the echo", func() bool { return got == "hello" })
			got += "!"
		},
		Data: func(c *Conn, p []byte) int { got += string(p); return len(p) },
	})
	r.until("Open", func() bool { return got == "hello!" })
	c.Abort()
}

// Data may run the loop until its output is gone.
func TestDataRunsTheLoopUntilItsOutputIsGone(t *testing.T) {
	r := newRig(t)
	finished, got := false, 0
	c, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		c.Write(make([]byte, 4<<20))
		r.until("output", func() bool {
			for i := 0; i < 100; i++ {
				s, _ := aetest.Receive(c.Data.(int))
				got += len(s)
			}
			return c.Queued() == 0
		})
		finished = true
		return len(p)
	}})
	c.Data = peer
	aetest.Send(r.t, peer, "go")
	r.until("Data", func() bool { return finished })
	if s, _ := aetest.Receive(peer); got+len(s) != 4<<20 {
		t.Errorf("%d bytes came", got+len(s))
	}
}

func TestEOFComesOnceThoughItRunsTheLoop(t *testing.T) {
	r := newRig(t)
	times := 0
	c, peer := r.pair(&Handler{EOF: func(c *Conn) {
		if times++; times < 5 {
			r.look()
		}
	}})
	anet.CloseWrite(peer)
	r.settled()
	if times != 1 {
		t.Errorf("EOF was called %d times", times)
	}
	c.Abort()
}

func TestResumeInsideDataThatRunsTheLoopBringsTheRest(t *testing.T) {
	r := newRig(t)
	var got strings.Builder
	_, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		got.WriteByte(p[0])
		c.Pause()
		c.Resume()
		r.look()
		return 1
	}})
	aetest.Send(r.t, peer, "abc")
	r.settled()
	if got.String() != "abc" {
		t.Errorf("Data got %q", got.String())
	}
}

// Data that is called before the loop sleeps, and runs the loop, is not forgotten
// afterwards: neither its output nor its end.
func TestDataBeforeTheSleepRunsTheLoop(t *testing.T) {
	for _, what := range []string{"Write", "Close", "Abort"} {
		r := newRig(t)
		calls, closed := 0, false
		c, peer := r.pair(&Handler{
			Data: func(c *Conn, p []byte) int {
				if calls++; calls == 1 {
					c.Pause()
					return 0
				}
				switch what {
				case "Write":
					c.Write(p)
				case "Close":
					c.Close()
				case "Abort":
					c.Abort()
				}
				r.look()
				return len(p)
			},
			Close: func(*Conn, error) { closed = true },
		})
		aetest.Send(r.t, peer, "abc")
		r.settled()
		c.Resume()
		r.settled()
		got, err := aetest.Receive(peer)
		switch {
		case calls != 2:
			t.Errorf("%s: Data was called %d times", what, calls)
		case what == "Write" && got != "abc", what != "Write" && err == nil, what == "Abort" && !closed:
			t.Errorf("%s: the peer got %q, %v, Close was called: %v", what, got, err, closed)
		}
	}
}
