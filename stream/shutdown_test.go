package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// Loop.Close in each callback: it comes back, and every connection's Close is
// called once, that of the one whose callback it was included.
func TestLoopCloseInsideCallbacks(t *testing.T) {
	for name, set := range map[string]func(h *Handler, stop func(*Conn)){
		"Open":     func(h *Handler, stop func(*Conn)) { h.Open = stop },
		"Data":     func(h *Handler, stop func(*Conn)) { h.Data = func(c *Conn, p []byte) int { stop(c); return 0 } },
		"EOF":      func(h *Handler, stop func(*Conn)) { h.EOF = stop },
		"Drained":  func(h *Handler, stop func(*Conn)) { h.High, h.Drained = 1, stop },
		"Idled":    func(h *Handler, stop func(*Conn)) { h.Idle, h.Idled = 1, stop },
		"Shutdown": func(h *Handler, stop func(*Conn)) { h.Shutdown = stop },
		"Close":    func(h *Handler, stop func(*Conn)) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			closes := map[*Conn]int{}
			armed := false
			stop := func(c *Conn) {
				if armed {
					armed = false
					r.within("Loop.Close", r.l.Close)
				}
			}
			h := &Handler{Data: allOf}
			set(h, stop)
			h.Close = func(c *Conn, err error) {
				closes[c]++
				if name == "Close" {
					stop(c)
				}
			}
			var peers []int
			for range 3 {
				a, b, err := anet.SocketPair()
				if err != nil {
					t.Fatal(err)
				}
				armed = name == "Open"
				peers = append(peers, r.own(b))
				if _, err := r.l.Adopt(a, h); err != nil {
					t.Fatal(err)
				}
			}
			for c := range r.l.All() {
				if name != "Drained" {
					continue
				}
				anet.SetSendBuffer(c.FD(), 1)
				c.Write(make([]byte, 1<<20))
			}
			armed = true
			for _, peer := range peers {
				aetest.Send(r.t, peer, "abc")
				if name == "EOF" {
					anet.CloseWrite(peer)
				}
			}
			if name == "Shutdown" {
				r.l.Shutdown(time.Hour, nil)
			}
			if name == "Close" {
				for c := range r.l.All() {
					c.Abort()
				}
			}
			r.until("Loop.Close", func() bool {
				for _, peer := range peers {
					aetest.Receive(peer)
				}
				return !armed
			})
			r.settled()
			if len(closes) != 3 || r.l.Len() != 0 {
				t.Errorf("Close was called for %d connections, Len is %d", len(closes), r.l.Len())
			}
			for _, n := range closes {
				if n != 1 {
					t.Errorf("Close was called %d times for one connection", n)
				}
			}
		})
	}
}

// A panic in one callback of the shutdown loses neither the others nor its end.
func TestShutdownGoesOnAfterAPanic(t *testing.T) {
	for _, where := range []string{"Open", "Shutdown"} {
		t.Run(where, func(t *testing.T) {
			r := newRig(t)
			opened, shut, panicked := 0, 0, false
			boom := func(s string) {
				if s == where && !panicked {
					panicked = true
					panic(where)
				}
			}
			h := &Handler{
				Open:     func(c *Conn) { opened++; boom("Open") },
				Data:     allOf,
				Shutdown: func(c *Conn) { shut++; c.Close(); boom("Shutdown") },
				Linger:   time.Millisecond,
			}
			ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, h)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				peer, err := anet.Connect("tcp", ln.Addr())
				if err != nil {
					t.Fatal(err)
				}
				r.own(peer)
			}
			// Accepted within drain: no iteration has seen them.
			done := false
			r.l.Shutdown(time.Hour, func() { done = true })
			func() {
				defer func() {
					if got := recover(); got != where {
						t.Errorf("panic %v", got)
					}
				}()
				r.l.el.ProcessEvents(rigLook &^ ae.FileEvents)
			}()
			r.until("done", func() bool { return done })
			if opened != 3 || shut != 3 {
				t.Errorf("%d were opened, %d shut down", opened, shut)
			}
			if ln.Len() != 0 {
				t.Errorf("the listener counts %d", ln.Len())
			}
		})
	}
}

// A dial that answers when the loop shuts down already hears of it.
func TestShutdownReachesADialUnderWay(t *testing.T) {
	r := newRig(t)
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.own(ln)
	var calls []string
	r.l.Dial("tcp", anet.LocalString(ln), testutil.Patience, &Handler{
		Open:     func(c *Conn) { calls = append(calls, "Open") },
		Shutdown: func(c *Conn) { calls = append(calls, "Shutdown"); c.Close() },
		Close:    func(c *Conn, err error) { calls = append(calls, "Close") },
		Linger:   time.Millisecond,
	})
	done := false
	r.l.Shutdown(time.Hour, func() { done = true })
	r.el.ProcessEvents(ae.TimeEvents | ae.DontWait) // drain comes before the answer
	r.until("done", func() bool { return done })
	if got := strings.Join(calls, " "); got != "Open Shutdown Close" {
		t.Errorf("calls %s", got)
	}
}

// One of several listeners is closed by a callback of the drain.
func TestAListenerThatIsClosedWhileTheLoopDrains(t *testing.T) {
	r := newRig(t)
	opened := 0
	for range 2 {
		var ln *Listener
		ln, err := r.l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{Open: func(*Conn) { opened++; ln.Close() }})
		if err != nil {
			t.Fatal(err)
		}
		peer, err := anet.Connect("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		r.own(peer)
	}
	r.l.acceptRest()
	if opened != 2 || len(r.l.lns) != 0 {
		t.Errorf("%d of 2 were accepted, %d listeners are left", opened, len(r.l.lns))
	}
}
