package stream

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// FuzzStreams sends bytes through an echo, or through a proxy to one, and cuts them
// anywhere on each way: what comes back is what was sent.
func FuzzStreams(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(testutil.RandomCode(seed, 20+10*int(seed)))
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if err := cutStreams(code[:min(len(code), 1000)]); err != nil {
			t.Fatal(err)
		}
	})
}

// echoing is what the echo knows of a connection.
type echoing struct {
	left  int // input that Data has not used
	ended bool
}

func cutStreams(code []byte) error {
	p := testutil.NewProgram(code)
	el, err := ae.New(1 << 20)
	if err != nil {
		return err
	}
	defer el.Close()
	guard := time.AfterFunc(testutil.Patience, func() { panic(fmt.Sprintf("the loop does not come back: []byte(%q)", code)) })
	defer guard.Stop()
	l := On(el)
	defer l.Close()

	size := func() int {
		if p.Ended() { // or long texts would go byte by byte
			return 64 << 10
		}
		return 1 + p.IntN(256)*p.IntN(256)*(1+p.IntN(2))
	}
	var broken error
	echo := &Handler{
		High: 10_000,
		Data: func(c *Conn, b []byte) int {
			used := min(len(b), size())
			for rest := b[:used]; len(rest) > 0; {
				n := min(len(rest), size())
				if _, err := c.Write(rest[:n]); err != nil {
					broken = err
				}
				rest = rest[n:]
			}
			st := c.Data.(*echoing)
			st.left = len(b) - used
			switch {
			case st.ended && st.left == 0:
				c.Close()
			case !st.ended && p.IntN(5) == 0:
				c.Need(p.IntN(256)) // there may be no more than that to come: see EOF
			default:
				c.Pause()
				el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
					c.Resume()
					return ae.NoMore
				})
			}
			return used
		},
		EOF: func(c *Conn) {
			st := c.Data.(*echoing)
			if st.ended = true; c.in == nil { // Need may have kept it from Data
				c.Close()
				return
			}
			c.Need(0)
			c.Pause()
			c.Resume()
		},
	}
	pair := func() (fds [2]int) {
		fds[0], fds[1], err = anet.SocketPair()
		if p.IntN(2) == 0 && err == nil {
			anet.SetSendBuffer(fds[0], 5000)
		}
		return fds
	}
	adopt := func(fd int, h *Handler) *Conn {
		c, err := l.Adopt(fd, h)
		if err != nil {
			panic(err)
		}
		c.Data = &echoing{}
		return c
	}
	outer := pair()
	if err != nil {
		return err
	}
	client := outer[1]
	defer unix.Close(client)
	if proxied := p.IntN(2) == 0; proxied {
		inner := pair()
		if err != nil {
			return err
		}
		a, b := adopt(outer[0], echo), adopt(inner[1], echo)
		Join(a, b)
		adopt(inner[0], echo)
	} else {
		adopt(outer[0], echo)
	}

	text := make([]byte, p.IntN(256)<<p.IntN(11))
	for i := range text {
		text[i] = byte(i*31 + i>>8*17)
	}
	want := sha256.Sum256(text)
	got, rest, ended := sha256.New(), text, false
	buf := make([]byte, 256<<10)
	for rounds := 0; ; rounds++ {
		if len(rest) > 0 {
			n, err := anet.Write(client, rest[:min(len(rest), size())])
			if err != nil && err != anet.ErrWouldBlock {
				return err
			}
			rest = rest[n:]
		} else if !ended && p.IntN(2) == 0 {
			ended = true
			anet.CloseWrite(client)
		}
		if _, err := el.ProcessEvents(rigLook); err != nil {
			return err
		}
		n, err := anet.Read(client, buf[:max(size(), 1024)])
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil && err != anet.ErrWouldBlock {
			return err
		}
		if rounds > 1_000_000 {
			return fmt.Errorf("no end: %d of %d are left to send", len(rest), len(text))
		}
	}
	if broken != nil {
		return broken
	}
	if len(rest) > 0 || !bytes.Equal(got.Sum(nil), want[:]) {
		return fmt.Errorf("of %d bytes, %d not sent, others came back", len(text), len(rest))
	}
	return nil
}
