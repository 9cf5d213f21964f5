package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// promise is one thing that users of the package may rely on.
type promise struct {
	name string // a sentence in one word: what `go test -run` takes
	says string // the promise, for whoever reads a failure
	nets string // networks to keep it on: both, or tcpOnly
	test func(e *env)
}

const (
	both    = "tcp unix"
	tcpOnly = "tcp"
)

// TestPromises holds the package to every promise. The rows stand next to each
// other by subject, in promises_*_test.go.
func TestPromises(t *testing.T) {
	testutil.StartPoller()
	for _, group := range []struct {
		name     string
		rows     []promise
		parallel bool // they wait for most of the time, and share nothing
	}{
		{"Input", inputPromises, false},
		{"Output", outputPromises, false},
		{"Pressure", pressurePromises, true},
		{"Ends", endsPromises, true},
		{"Callbacks", callbackPromises, true},
		{"Time", timePromises, true},
		{"Descriptors", descriptorPromises, false},
		{"Shutdown", shutdownPromises, true},
		{"Dial", dialPromises, false},
		{"Join", joinPromises, false},
		{"Post", postPromises, false},
		{"Group", groupPromises, false},
		{"Layer", layerPromises, false},
		{"BadInput", badInputPromises, false},
		{"Memory", memoryPromises, false},
	} {
		t.Run(group.name, func(t *testing.T) {
			if group.parallel { // nobody can tell then which row it is that leaves something
				t.Cleanup(testutil.NoLeak(t))
			}
			for _, p := range group.rows {
				for network := range strings.FieldsSeq(p.nets) {
					t.Run(p.name+"/"+network, func(t *testing.T) {
						if group.parallel {
							t.Parallel()
						} else {
							t.Cleanup(testutil.NoLeak(t)) // after all that the row cleans up
						}
						keep(t, p, network, false)
					})
				}
			}
		})
	}
}

// keep runs one row; if layered, through a Layer that changes nothing.
func keep(t *testing.T, p promise, network string, layered bool) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s breaks the promise: %s", ae.APIName(), p.says)
		}
	})
	defer testutil.Guard(t, 2*testutil.Patience, "the row does not end, though it is promised that "+p.says)()
	e := newEnv(t, network)
	e.layered = layered
	p.test(e)
}

// env is what a row works with: a loop, and raw peers for its connections.
type env struct {
	*testing.T
	network string
	layered bool
	el      *ae.EventLoop
	l       *stream.Loop
	first   int // listener for pairs, or 0
}

func newEnv(t *testing.T, network string) *env {
	e := &env{T: t, network: network}
	e.el, e.l = e.newLoop()
	return e
}

// newLoop returns a Loop that is closed, with its event loop, when the row ends.
func (e *env) newLoop() (*ae.EventLoop, *stream.Loop) {
	e.Helper()
	el := aetest.Loop(e)
	l := stream.On(el)
	e.Cleanup(l.Close)
	return el, l
}

// own has fd closed when the row ends.
func (e *env) own(fd int) int {
	testutil.CloseLater(e, fd)
	return fd
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// address is one to listen on.
func (e *env) address() string {
	if e.network == "unix" {
		return fmt.Sprintf("%s/%d", testutil.ShortDir(e), time.Now().UnixNano())
	}
	return "127.0.0.1:0"
}

// sockets returns two connected sockets of the row's network.
func (e *env) sockets() (a, b int) {
	e.Helper()
	if e.network == "unix" {
		a, b, err := anet.SocketPair()
		e.must(err)
		return a, b
	}
	if e.first == 0 {
		e.first = aetest.Listen(e)
	}
	return e.throughListener(e.first)
}

// throughListener returns an accepted socket and the one that has connected.
func (e *env) throughListener(ln int) (a, b int) {
	e.Helper()
	b, a, err := aetest.ConnectTo(ln)
	e.must(err)
	e.must(anet.SetNoDelay(a, true))
	e.must(anet.SetNoDelay(b, true))
	return a, b
}

// pair returns a connection of e's loop, whose Open has been called, and its peer.
func (e *env) pair(h *stream.Handler) (c *stream.Conn, peer int) {
	e.Helper()
	fd, peer := e.sockets()
	c = e.adopt(fd, h)
	e.poll()
	return c, e.own(peer)
}

// tightPair is pair with small buffers: the least to send from.
func (e *env) tightPair(h *stream.Handler) (c *stream.Conn, peer int) {
	e.Helper()
	return e.narrowPair(h, 16<<10)
}

// narrowPair is tightPair with a buffer of that size for the peer to receive in.
// The smaller it is, the sooner the system tells that the peer has taken some.
func (e *env) narrowPair(h *stream.Handler, size int) (c *stream.Conn, peer int) {
	e.Helper()
	var fd int
	if e.network == "unix" {
		fd, peer = e.sockets()
	} else {
		ln := aetest.Listen(e)
		e.must(anet.SetRecvBuffer(ln, size)) // a window that was offered cannot shrink
		peer, fd = e.throughListener(ln)
	}
	e.must(anet.SetSendBuffer(fd, 1))
	c = e.adopt(fd, h)
	e.poll()
	return c, e.own(peer)
}

func (e *env) adopt(fd int, h *stream.Handler) *stream.Conn {
	e.Helper()
	c, err := e.l.Adopt(fd, h)
	if err != nil {
		unix.Close(fd)
		e.Fatal(err)
	}
	if e.layered {
		c.SetLayer(&plain{})
	}
	return c
}

// poll runs a few iterations that do not sleep: what was begun is done then, but
// for what waits for a peer or a time.
func (e *env) poll() {
	e.Helper()
	for range 3 {
		aetest.Step(e, e.el, aetest.Iteration|ae.DontWait)
	}
}

// until runs the loop until cond, which is looked at every millisecond at least.
func (e *env) until(what string, cond func() bool) {
	e.Helper()
	untilOn(e, e.el, what, cond)
}

// untilOn is for another loop. What a condition asks of a peer no event tells.
func untilOn(t testing.TB, el *ae.EventLoop, what string, cond func() bool) {
	t.Helper()
	tick := el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return time.Millisecond })
	defer el.DeleteTimeEvent(tick)
	aetest.Await(t, el, aetest.Iteration, what, cond)
}

// runFor runs the loop for d, and returns how many iterations that took.
func (e *env) runFor(d time.Duration) int {
	e.Helper()
	over := false
	e.el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		over = true
		return ae.NoMore
	})
	return aetest.Await(e, e.el, aetest.Iteration, "time", func() bool { return over })
}

// receive runs the loop until a peer has received want, and no more.
func (e *env) receive(peer int, want string) {
	e.Helper()
	got := ""
	e.until(fmt.Sprintf("%.40q", want), func() bool {
		more, err := aetest.Receive(peer)
		if got += more; err != nil || len(got) > len(want) {
			e.Fatalf("received %.40q, %v; want %.40q", got, err, want)
		}
		return len(got) == len(want)
	})
	if got != want {
		e.Fatalf("received %.40q, want %.40q", got, want)
	}
}

// receiveAll runs the loop until a peer has come to an end, and returns all that
// it received, and how it ended: io.EOF or an errno.
func (e *env) receiveAll(peer int) (got string, end error) {
	e.Helper()
	var all strings.Builder
	e.until("an end", func() bool {
		more, err := aetest.Receive(peer)
		all.WriteString(more)
		end = err
		return err != nil
	})
	return all.String(), end
}

// record notes the calls of a Handler.
type record struct {
	calls []string
	err   error // of Close
}

// of returns h with every call noted. Open and Close are always noted, the others
// if they are set.
func (r *record) of(h stream.Handler) *stream.Handler {
	noted := h
	note := func(name string, fn func(c *stream.Conn)) func(c *stream.Conn) {
		return func(c *stream.Conn) {
			r.calls = append(r.calls, name)
			if fn != nil {
				fn(c)
			}
		}
	}
	noted.Open = note("Open", h.Open)
	for _, f := range []struct {
		name string
		fn   *func(c *stream.Conn)
	}{{"EOF", &noted.EOF}, {"Drained", &noted.Drained}, {"Idled", &noted.Idled}, {"Shutdown", &noted.Shutdown}} {
		if *f.fn != nil {
			*f.fn = note(f.name, *f.fn)
		}
	}
	if h.Data != nil {
		noted.Data = func(c *stream.Conn, p []byte) int {
			r.calls = append(r.calls, "Data")
			return h.Data(c, p)
		}
	}
	noted.Close = func(c *stream.Conn, err error) {
		r.calls = append(r.calls, "Close")
		r.err = err
		if h.Close != nil {
			h.Close(c, err)
		}
	}
	return &noted
}

// count returns how often a call was made.
func (r *record) count(name string) (n int) {
	for _, c := range r.calls {
		if c == name {
			n++
		}
	}
	return n
}

func (r *record) closed() bool { return r.count("Close") > 0 }

// ended runs the loop until Close was called, which must be the last call and the
// only one, and have this error.
func (e *env) ended(r *record, want error) {
	e.Helper()
	e.until("Close", r.closed)
	e.poll()
	if n := r.count("Close"); n != 1 || r.calls[len(r.calls)-1] != "Close" {
		e.Errorf("Close is not the last call and the only one: %v", r.calls)
	}
	if !errors.Is(r.err, want) {
		e.Errorf("ended with %v, want %v", r.err, want)
	}
}

// collect is a Handler that adds what comes to s.
func collect(s *string) stream.Handler {
	return stream.Handler{Data: func(_ *stream.Conn, p []byte) int {
		*s += string(p)
		return len(p)
	}}
}

func TestMain(m *testing.M) { testutil.Main(m) }

// runChild runs a child to its end, and returns what it has printed.
func runChild(t testing.TB, name string, env ...string) string {
	t.Helper()
	cmd := testutil.Command(nil, name)
	cmd.Env = append(cmd.Env, env...)
	return strings.TrimSpace(testutil.Run(t, cmd))
}
