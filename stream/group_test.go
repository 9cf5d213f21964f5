package stream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
)

// groupRig runs a Group of n loops until the test cancels.
type groupRig struct {
	*Group
	cancel context.CancelFunc
	ended  chan any // what Run returned, or panicked with
}

func startGroup(t *testing.T, n int, grace time.Duration, setUp func(g *Group)) *groupRig {
	t.Helper()
	g, err := NewGroup(n)
	if err != nil {
		t.Fatal(err)
	}
	setUp(g)
	ctx, cancel := context.WithCancel(context.Background())
	r := &groupRig{g, cancel, make(chan any, 1)}
	go func() {
		defer func() {
			if v := recover(); v != nil {
				r.ended <- v
			}
		}()
		r.ended <- g.Run(ctx, grace)
	}()
	t.Cleanup(cancel)
	return r
}

func (g *groupRig) wait(t *testing.T) any {
	t.Helper()
	select {
	case v := <-g.ended:
		for i, l := range g.loops {
			if n := l.Len(); n != 0 {
				t.Errorf("loop %d counts %d", i, n)
			}
		}
		return v
	case <-time.After(testutil.Patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("Run does not end:\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// A loop panics while a connection is on its way to it.
func TestAGroupEndsThoughAConnectionIsOnItsWayToALoopThatPanics(t *testing.T) {
	var ln *Listener
	g := startGroup(t, 2, time.Second, func(g *Group) {
		g.Choose = func(netip.AddrPort) int { return 1 }
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(c *Conn) {
				for deadline := testutil.Deadline(); ln.Len() < 3 && time.Now().Before(deadline); {
					runtime.Gosched()
				}
				panic("Open")
			}}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if v := g.wait(t); v != "Open" {
		t.Errorf("Run ended with %v", v)
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
}

func TestAPanicWhileAGroupDrainsIsNotSilent(t *testing.T) {
	var ln *Listener
	opened := make(chan bool, 1)
	g := startGroup(t, 2, time.Second, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { opened <- true }, Shutdown: func(*Conn) { panic("Shutdown") }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	c, err := net.Dial("tcp", ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-opened
	g.cancel()
	if v := g.wait(t); v != "Shutdown" {
		t.Errorf("Run ended with %v", v)
	}
}

// Every Close panics: the descriptors are closed nevertheless, and counted.
func TestAGroupWhoseCloseCallbacksPanicLeavesNothing(t *testing.T) {
	before := descriptors()
	var ln *Listener
	opened := make(chan bool, 8)
	g := startGroup(t, 2, 0, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { opened <- true }, Close: func(*Conn, error) { panic("Close") }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	var clients []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", ln.Addr())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
		<-opened
	}
	g.cancel()
	if v := g.wait(t); v != "Close" {
		t.Errorf("Run ended with %v", v)
	}
	for _, c := range clients {
		c.Close()
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func TestAGroupEndsThoughALoopWasShutDownAlready(t *testing.T) {
	for _, finished := range []bool{false, true} {
		t.Run(fmt.Sprint(finished), func(t *testing.T) {
			g := startGroup(t, 2, time.Second, func(*Group) {})
			down := make(chan bool, 1)
			g.loops[1].el.Post(func(*ae.EventLoop) {
				g.loops[1].Shutdown(0, func() { down <- true })
				if !finished {
					g.cancel()
				}
			})
			if finished {
				<-down
				g.cancel()
			}
			if v := g.wait(t); v != nil {
				t.Errorf("Run ended with %v", v)
			}
			if !finished {
				<-down
			}
		})
	}
}

func TestChooseThatPanicsLeavesNoDescriptor(t *testing.T) {
	before := descriptors()
	var ln *Listener
	g := startGroup(t, 2, time.Second, func(g *Group) {
		g.Choose = func(netip.AddrPort) int { panic("Choose") }
		var err error
		if ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler { return &Handler{Data: allOf} }); err != nil {
			t.Fatal(err)
		}
	})
	c, err := net.Dial("tcp", ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if v := g.wait(t); v != "Choose" {
		t.Errorf("Run ended with %v", v)
	}
	c.Close()
	if after := descriptors(); after > before || ln.Len() != 0 {
		t.Errorf("%d descriptors, before %d; the listener counts %d", after, before, ln.Len())
	}
}

// runtime.Goexit in a callback ends the goroutine of its loop. The others end too.
func TestAGroupEndsWithGoexit(t *testing.T) {
	var ln *Listener
	g := startGroup(t, 2, 0, func(g *Group) {
		var err error
		ln, err = g.Listen("tcp", "127.0.0.1:0", ListenConfig{}, func(l *Loop) *Handler {
			return &Handler{Open: func(*Conn) { runtime.Goexit() }}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if c, err := net.Dial("tcp", ln.Addr()); err == nil { // it may be reset by then
		defer c.Close()
	}
	if v, _ := g.wait(t).(error); v == nil {
		t.Error("Run says nothing of it")
	}
	if ln.Len() != 0 {
		t.Errorf("the listener counts %d", ln.Len())
	}
}
