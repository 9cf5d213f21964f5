package stream_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// connect returns a raw client of addr.
func (e *env) connect(addr string) int {
	e.Helper()
	fd, err := anet.Connect(e.network, addr)
	e.must(err)
	return e.own(fd)
}

// listen listens on the row's network.
func (e *env) listen(cfg stream.ListenConfig, h *stream.Handler) *stream.Listener {
	e.Helper()
	ln, err := e.l.Listen(e.network, e.address(), cfg, h)
	e.must(err)
	return ln
}

var echoHandler = &stream.Handler{Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) }}

var descriptorPromises = []promise{
	{"RestsAtMaxConns", "at MaxConns the listener rests without spinning, clients wait in the backlog, and are served when one closes", both, func(e *env) {
		ln := e.listen(stream.ListenConfig{MaxConns: 2}, echoHandler)
		var clients []int
		for range 5 {
			c := e.connect(ln.Addr())
			_, err := ae.Wait(c, ae.Writable, testutil.Patience)
			e.must(err)
			aetest.Send(e, c, "hello")
			clients = append(clients, c)
		}
		for len(clients) > 0 {
			n := min(2, len(clients))
			for _, c := range clients[:n] {
				e.receive(c, "hello")
			}
			if len(clients) > n {
				if it := e.runFor(50 * time.Millisecond); it > 10 {
					e.Errorf("%d iterations at rest", it)
				}
			}
			if ln.Len() != n || e.l.Len() != n {
				e.Errorf("%d connections of %d, %d on the loop", ln.Len(), n, e.l.Len())
			}
			for _, c := range clients[n:] {
				if s, err := aetest.Receive(c); s != "" || err != nil {
					e.Errorf("one that waits received %q, %v", s, err)
				}
			}
			for _, c := range clients[:n] {
				testutil.CloseNow(e, c)
			}
			clients = clients[n:]
		}
		e.until("the last one's end", func() bool { return ln.Len() == 0 })
		ln.Close()
		ln.Close()
	}},
	{"ClosedListenerRefuses", "Close of a listener refuses new clients, removes the file of its socket, and leaves connections alone", both, func(e *env) {
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		c := e.connect(ln.Addr())
		aetest.Send(e, c, "1")
		e.receive(c, "1")
		addr := ln.Addr()
		ln.Close()
		aetest.Send(e, c, "2")
		e.receive(c, "2")
		fd, err := anet.Connect(e.network, addr)
		if err == nil {
			e.own(fd)
			ae.Wait(fd, ae.Writable, testutil.Patience)
			err = anet.SocketError(fd)
		}
		want := error(unix.ECONNREFUSED)
		if e.network == "unix" {
			want = unix.ENOENT
		}
		if !errors.Is(err, want) {
			e.Errorf("a connect after Close: %v", err)
		}
	}},
	{"AnothersFileStays", "Close of a listener does not remove the file of a socket that has taken its path", "unix", func(e *env) {
		ln := e.listen(stream.ListenConfig{}, echoHandler)
		e.must(os.Remove(ln.Addr()))
		fd, err := anet.Listen("unix", ln.Addr())
		e.must(err)
		e.own(fd)
		ln.Close()
		if _, err := os.Lstat(ln.Addr()); err != nil {
			e.Errorf("%v", err)
		}
	}},
	{"FailingChoose", "a Choose that panics, or returns no index of a loop, panics, and leaks nothing", tcpOnly, func(e *env) {
		g, err := stream.NewGroup(1)
		e.must(err)
		l := g.Loops()[0]
		el := l.EventLoop()
		defer func() { l.Close(); el.Close() }()
		picks := []func() int{func() int { panic("on purpose") }, func() int { return 7 }, func() int { return -1 }, func() int { return 0 }}
		g.Choose = func(netip.AddrPort) int { return picks[0]() }
		ln, err := g.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, func(*stream.Loop) *stream.Handler { return echoHandler })
		e.must(err)
		for len(picks) > 1 {
			c := e.connect(ln.Addr())
			ae.Wait(c, ae.Writable, testutil.Patience)
			if !e.panicsNow(func() { untilOn(e, el, "a client", func() bool { return false }) }) {
				e.Error("no panic")
			}
			testutil.CloseNow(e, c)
			picks = picks[1:]
		}
		if ln.Len() != 0 || l.Len() != 0 {
			e.Errorf("%d connections are counted, %d on the loop", ln.Len(), l.Len())
		}
		c := e.connect(ln.Addr())
		aetest.Send(e, c, "x")
		untilOn(e, el, "the echo", func() bool { s, _ := aetest.Receive(c); return s == "x" })
	}},
	{"LeavesAReserve", "with 64 descriptors and many clients net/http in the same process goes on, and all clients are served in turn", tcpOnly, func(e *env) {
		if out := runChild(e, "exhaustion"); out != "ok" {
			e.Error(out)
		}
	}},
	{"SharesTheBudget", "two listeners of one loop leave the same reserve as one", tcpOnly, func(e *env) {
		if out := runChild(e, "exhaustion", "LISTENERS=2"); out != "ok" {
			e.Error(out)
		}
	}},
	{"SurvivesEMFILE", "when descriptors run out all the same the listener rests, does not spin, and nobody is thrown away", tcpOnly, func(e *env) {
		if out := runChild(e, "emfile"); out != "ok" {
			e.Error(out)
		}
	}},
}

func init() {
	testutil.Child("exhaustion", func() { limited(exhaustion) })
	testutil.Child("emfile", func() { limited(emfile) })
}

// limited runs a child with 64 descriptors, and prints what it returns.
func limited(fn func() error) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		panic(err)
	}
	if err := fn(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ok")
}

// exhaustion has more clients than descriptors knock at one or two listeners,
// beside net/http. The clients are in this process too, so they come as they can:
// each is two of the 64.
func exhaustion() error {
	el, err := ae.New(1000)
	if err != nil {
		return err
	}
	l := stream.On(el)
	var lns []*stream.Listener
	for range 1 + strings.Count(os.Getenv("LISTENERS"), "2") {
		ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Reserve: 20, PerConn: 2}, echoHandler)
		if err != nil {
			return err
		}
		lns = append(lns, ln)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "web") }))
	go el.Main()

	var clients []net.Conn
	for i := range 24 { // at 2 a connection, of at most (64-20-few)/2
		c, err := net.DialTimeout("tcp", lns[i%len(lns)].Addr(), testutil.Patience)
		if err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		clients = append(clients, c)
	}
	taken := make(chan int)
	el.Post(func(*ae.EventLoop) { // after the backlog has been looked at
		el.CreateTimeEvent(50*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			taken <- l.Len()
			return ae.NoMore
		})
	})
	n := <-taken
	if n > 20 || n < 10 {
		return fmt.Errorf("%d connections were taken", n)
	}
	http.DefaultTransport.(*http.Transport).DisableKeepAlives = true
	for range 3 {
		res, err := http.Get("http://" + web.Addr().String())
		if err != nil {
			return err
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "web" {
			return fmt.Errorf("net/http said %q", body)
		}
	}
	for i, c := range clients {
		c.SetDeadline(testutil.Deadline())
		if _, err := io.WriteString(c, "hello"); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		c.Close()
	}
	return nil
}

// emfile has the descriptors taken by somebody else while clients wait.
func emfile() error {
	el, err := ae.New(1000)
	if err != nil {
		return err
	}
	l := stream.On(el)
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Reserve: 1}, echoHandler)
	if err != nil {
		return err
	}
	var clients []int
	for range 5 {
		fd, err := anet.Connect("tcp", ln.Addr())
		if err != nil {
			return err
		}
		clients = append(clients, fd)
		ae.Wait(fd, ae.Writable, testutil.Patience)
		anet.Write(fd, []byte("hello"))
	}
	var taken []int
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	step := func(d time.Duration) (n int) {
		over := false
		el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			over = true
			return ae.NoMore
		})
		for ; !over; n++ {
			el.ProcessEvents(aetest.Iteration)
		}
		return n
	}
	if n := step(350 * time.Millisecond); n > 20 || l.Len() != 0 {
		return fmt.Errorf("%d iterations, %d connections without descriptors", n, l.Len())
	}
	for _, fd := range taken {
		unix.Close(fd)
	}
	tick := el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return time.Millisecond })
	defer el.DeleteTimeEvent(tick)
	for i, fd := range clients {
		got := ""
		for end := testutil.Deadline(); got != "hello"; {
			if time.Now().After(end) {
				return fmt.Errorf("client %d received %q", i, got)
			}
			el.ProcessEvents(aetest.Iteration)
			s, err := aetest.Receive(fd)
			if got += s; err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
		}
	}
	return nil
}
