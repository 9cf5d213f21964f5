package stream

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// Connections come and go, 100 at a time, by every kind of end. AE_LONG=1 makes it
// 100,000. What the process has afterwards is what it had before.
func TestChurnLeavesNothing(t *testing.T) {
	total := 4000
	if testutil.Long() {
		total = 100_000
	}
	r := newRig(t)
	served, closed := 0, 0
	h := &Handler{
		Idle: time.Minute,
		Data: func(c *Conn, p []byte) int { c.Write(p); return len(p) },
		Close: func(*Conn, error) {
			closed++
		},
	}
	ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, h)
	if err != nil {
		t.Fatal(err)
	}
	churn := func(total int) {
		begun, ended := 0, 0
		var begin func()
		client := &Handler{
			Idle: time.Minute,
			Open: func(c *Conn) {
				if c.Data.(int)%7 == 0 {
					c.Pause()
					c.Abort()
					return
				}
				c.Write([]byte("hello"))
			},
			Data: func(c *Conn, p []byte) int {
				served++
				switch c.Data.(int) % 3 {
				case 0:
					c.Abort()
				default: // the server sees the end first: no TIME_WAIT
					for s := range r.l.All() {
						if s.Peer().Port() != 0 && s.h == h {
							s.Abort()
							break
						}
					}
					c.Abort()
				}
				return len(p)
			},
			Close: func(*Conn, error) {
				ended++
				begin()
			},
		}
		begin = func() {
			if begun < total {
				begun++
				r.l.Dial("tcp", ln.Addr(), testutil.Patience, client).Data = begun
			}
		}
		for range min(100, total) {
			begin()
		}
		for ended < total {
			before := ended
			r.until("some to end", func() bool { return ended > before })
		}
		r.until("the rest", func() bool { return r.l.Len() == 0 && ln.Len() == 0 })
		// Those that were paused when they ended are let go of by the next look for resets.
		r.until("the look", func() bool { return len(r.l.blind) == 0 })
	}
	churn(500)
	fds, goroutines, mem := descriptors(), runtime.NumGoroutine(), testutil.Heap()
	churn(total)
	r.settled()
	if n := descriptors(); n != fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	testutil.GoroutinesComeTo(t, goroutines)
	// What grows: nothing. 256 KiB is for what the runtime and the pools round.
	if n := testutil.Heap(); n > mem+256<<10 {
		t.Errorf("%d bytes of heap, before %d", n, mem)
	}
	t.Logf("%d connections, %d answered, %d closed by the server", total, served, closed)
	runtime.KeepAlive(r)
}

func TestFailingDialsLeaveNothing(t *testing.T) {
	r := newRig(t)
	descriptors()
	refused := aetest.ClosedPort(t)
	dials := func(n int) {
		ends := 0
		h := &Handler{Open: func(c *Conn) { t.Error("Open"); c.Abort() }, Close: func(_ *Conn, err error) {
			ends++
			if err == nil {
				t.Error("no error")
			}
		}}
		for i := range n {
			switch i % 6 {
			case 0:
				r.l.Dial("tcp", refused, testutil.Patience, h)
			case 1:
				r.l.Dial("unix", "/nowhere/at/all", 0, h)
			case 2:
				r.l.Dial("tcp", "localhost:1", 1, h) // a name, too late
			case 3:
				r.l.Dial("tcp", "localhost:1", 0, h).Abort()
			case 4:
				r.l.Dial("tcp", refused, 0, h).Abort()
			case 5:
				r.l.Dial("sctp", refused, 0, h)
			}
		}
		r.until("the ends", func() bool { return ends == n })
		if r.l.Len() != 0 || len(r.l.dialing) != 0 {
			t.Errorf("Len is %d, %d are dialing", r.l.Len(), len(r.l.dialing))
		}
	}
	goroutines := runtime.NumGoroutine()
	dials(1000) // as large a burst, for what tables keep
	testutil.GoroutinesComeTo(t, goroutines)
	r.settled()
	fds, mem := descriptors(), testutil.Heap()
	dials(1000)
	testutil.GoroutinesComeTo(t, goroutines)
	r.settled()
	if n := descriptors(); n > fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	if n := testutil.Heap(); n > mem+256<<10 {
		t.Errorf("%d bytes of heap, before %d", n, mem)
	}
}

// Clients come while the group stops: every one is a connection whose Close is
// called, or was never accepted, or is counted as lost.
func TestHandOverAndStopThatCross(t *testing.T) {
	rounds := 15
	if testutil.Long() {
		rounds = 1000
	}
	fds := descriptors()
	goroutines := runtime.NumGoroutine()
	for round := range rounds {
		var opens, closes atomic.Int32
		var ln *Listener
		g := startGroup(t, 3, time.Duration(round%3)*time.Millisecond, func(g *Group) {
			var err error
			ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{MaxConns: 20}, func(l *Loop) *Handler {
				return &Handler{
					Open: func(c *Conn) { // which may be for another loop
						opens.Add(1)
						if n := opens.Load(); n%3 == 0 {
							if err := c.MoveTo(g.loops[int(n)%len(g.loops)]); err != nil && !errors.Is(err, ae.ErrClosed) {
								t.Error(err)
							}
						}
					},
					Data:  func(c *Conn, p []byte) int { c.Write(p); return len(p) },
					Close: func(*Conn, error) { closes.Add(1) },
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), testutil.Patience)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					c, err := (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr())
					if err != nil {
						return
					}
					c.(*net.TCPConn).SetLinger(0)
					c.Write([]byte("x"))
					c.Close()
				}
			})
		}
		for opens.Load() < int32(round%10) {
			runtime.Gosched()
		}
		g.cancel()
		if v := g.wait(t); v != nil {
			t.Fatalf("Run: %v", v)
		}
		cancel()
		wg.Wait()
		if opens.Load() != closes.Load() || ln.Len() != 0 {
			t.Fatalf("round %d: %d were opened, %d closed, %d lost, the listener counts %d",
				round, opens.Load(), closes.Load(), ln.Lost(), ln.Len())
		}
	}
	testutil.GoroutinesComeTo(t, goroutines)
	if n := descriptors(); n > fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
}
