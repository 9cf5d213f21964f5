package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

// FuzzCuts has a client and a server of this package exchange a message, with what
// passes between them cut where the input says, and both pause where it says.
func FuzzCuts(f *testing.F) {
	f.Add([]byte{}, uint16(100), false)
	f.Add([]byte{1}, uint16(3000), true)
	f.Add([]byte{5, 1, 0, 200, 17}, uint16(40_000), false)
	f.Add([]byte{0, 0, 0, 255, 5}, uint16(20_000), true)
	f.Fuzz(func(t *testing.T, cuts []byte, size uint16, old bool) {
		el := must(ae.New(1000))
		defer el.Close()
		l := stream.On(el)
		defer l.Close()
		server := serverConfig()
		if old {
			server.MaxVersion = tls.VersionTLS12
		}
		a, x, err := anet.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		y, b, err := anet.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		m := &middle{cuts: cuts, fds: [2]int{x, y}}
		defer m.close()

		message := bytes.Repeat([]byte{'a', 'b', 'c'}, int(size)%12_000/3+1)
		var got []byte
		var ends []error
		pausing := func(c *stream.Conn, p []byte) int {
			if m.next()%4 > 0 {
				return len(p)
			}
			c.Pause()
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { c.Resume(); return ae.NoMore })
			return min(len(p), 100+m.next()*100)
		}
		ended := func(_ *stream.Conn, err error) { ends = append(ends, err) }
		s := must(l.Adopt(a, &stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				n := pausing(c, p)
				c.Write(p[:n])
				return n
			},
			Close: ended,
		}))
		s.SetLayer(must(tlsstream.Server(server, tlsstream.Limits{})).Layer(s))
		c := must(l.Adopt(b, &stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				n := pausing(c, p)
				if got = append(got, p[:n]...); len(got) == len(message) {
					c.Close()
				}
				return n
			},
			Close: ended,
		}))
		c.SetLayer(must(tlsstream.Client(clientConfig(), tlsstream.Limits{})).Layer(c))
		c.Write(message)

		for end := testutil.Deadline(); len(ends) < 2; runtime.Gosched() {
			if _, err := el.ProcessEvents(ae.AllEvents | ae.CallBeforeSleep | ae.DontWait); err != nil || time.Now().After(end) {
				t.Fatalf("%v; %d bytes of %d, ends %v", err, len(got), len(message), ends)
			}
			m.pass(0)
			m.pass(1)
		}
		if !bytes.Equal(got, message) || ends[0] != nil || ends[1] != nil {
			t.Errorf("%d bytes of %d, ends %v", len(got), len(message), ends)
		}
	})
}

// middle passes bytes on between two sockets, a piece at a time.
type middle struct {
	cuts  []byte
	at    int
	fds   [2]int
	wait  [2][]byte
	ended [2]bool
}

// next returns the next byte of the input, over and over.
func (m *middle) next() int {
	if len(m.cuts) == 0 {
		return 255
	}
	m.at++
	return int(m.cuts[m.at%len(m.cuts)])
}

// pass moves a piece from one side to the other: up to 64 KiB, or few bytes.
func (m *middle) pass(from int) {
	to := 1 - from
	if len(m.wait[from]) == 0 && !m.ended[from] {
		size := m.next()
		if size == 255 {
			size = 64 << 10
		}
		buf := make([]byte, 1+size)
		n, err := anet.Read(m.fds[from], buf)
		switch err {
		case nil:
			m.wait[from] = buf[:n]
		case anet.ErrWouldBlock:
		case io.EOF:
			m.ended[from] = true
			anet.CloseWrite(m.fds[to])
		default: // the other side has closed, which its peer is told
			m.ended[from] = true
		}
	}
	n, _ := anet.Write(m.fds[to], m.wait[from])
	m.wait[from] = m.wait[from][max(n, 0):]
}

func (m *middle) close() {
	for _, fd := range m.fds {
		anet.Close(fd)
	}
}
