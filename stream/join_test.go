package stream

import (
	"io"
	"testing"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"golang.org/x/sys/unix"
)

func TestJoinInsideDataPassesOnTheRest(t *testing.T) {
	r := newRig(t)
	up, upPeer := r.pair(&Handler{Data: allOf})
	_, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		Join(c, up)
		return 6
	}})
	aetest.Send(r.t, peer, "CONN\r\nhello")
	r.settled()
	if got, err := aetest.Receive(upPeer); got != "hello" || err != nil {
		t.Errorf("what stood behind the header became %q, %v", got, err)
	}
}

func TestJoinAfterTheEndPassesOnInputThatWaits(t *testing.T) {
	r := newRig(t)
	ended := false
	up, upPeer := r.pair(&Handler{Data: allOf})
	c, peer := r.pair(&Handler{
		Data: func(c *Conn, p []byte) int { return 0 },
		EOF:  func(c *Conn) { ended = true },
	})
	aetest.Send(r.t, peer, "hello")
	anet.CloseWrite(peer)
	r.until("EOF", func() bool { return ended })
	Join(c, up)
	r.settled()
	if got, err := aetest.Receive(upPeer); got != "hello" || err != io.EOF {
		t.Errorf("the other side got %q, %v", got, err)
	}
}

func TestJoinForgetsWhatDataNeeded(t *testing.T) {
	r := newRig(t)
	up, upPeer := r.pair(&Handler{Data: allOf})
	c, peer := r.pair(&Handler{Data: func(c *Conn, p []byte) int {
		c.Need(100)
		return 0
	}})
	aetest.Send(r.t, peer, "hel")
	r.settled()
	Join(c, up)
	aetest.Send(r.t, peer, "lo")
	r.settled()
	if got, err := aetest.Receive(upPeer); got != "hello" || err != nil {
		t.Errorf("the other side got %q, %v", got, err)
	}
}

func TestDetachOfAJoinedConnectionEndsTheOther(t *testing.T) {
	r := newRig(t)
	var end error = io.ErrUnexpectedEOF
	a, _ := r.pair(&Handler{Data: allOf})
	b, peer := r.pair(&Handler{Data: allOf, Close: func(_ *Conn, err error) { end = err }})
	Join(a, b)
	r.settled()
	fd, _, _ := a.Detach()
	defer unix.Close(fd)
	r.settled()
	if _, err := aetest.Receive(peer); err != io.EOF {
		t.Errorf("the peer of the other got %v", err)
	}
	anet.CloseWrite(peer)
	r.settled()
	if end != nil {
		t.Errorf("the other ended with %v", end)
	}
}
