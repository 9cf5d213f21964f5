package stream_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
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
	warmUp(t)
	for _, group := range []struct {
		name string
		rows []promise
	}{
		{"Input", inputPromises},
		{"Output", outputPromises},
		{"Pressure", pressurePromises},
		{"Ends", endsPromises},
		{"Callbacks", callbackPromises},
		{"Time", timePromises},
		{"Descriptors", descriptorPromises},
		{"Shutdown", shutdownPromises},
		{"Dial", dialPromises},
		{"Join", joinPromises},
		{"Post", postPromises},
		{"Group", groupPromises},
		{"BadInput", badInputPromises},
		{"Memory", memoryPromises},
	} {
		for _, p := range group.rows {
			for network := range strings.FieldsSeq(p.nets) {
				t.Run(group.name+"/"+p.name+"/"+network, func(t *testing.T) { keep(t, p, network) })
			}
		}
	}
}

// keep runs one row, and looks for descriptors that it has left behind.
func keep(t *testing.T, p promise, network string) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s breaks the promise: %s", ae.APIName(), p.says)
		}
	})
	guard := time.AfterFunc(2*patience, func() { panic(t.Name() + " does not end, though it is promised that " + p.says) })
	defer guard.Stop()

	before := openDescriptors()
	e := newEnv(t, network)
	defer func() {
		e.close()
		if after := openDescriptors(); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	}()
	p.test(e)
}

// warmUp has the Go runtime open what it opens once.
func warmUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.SetReadDeadline(time.Now())
	r.Close()
	w.Close()
}

// openDescriptors counts what the process has open.
func openDescriptors() int {
	n := 0
	for fd := range uintptr(1024) { // what is left behind has low numbers
		if _, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}

// patience is how long a test waits for what must happen. It is long because
// machines are slow at times; no test waits for it to pass.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("AE_PATIENCE")); err == nil {
		return d
	}
	return 20 * time.Second
}()

// env is what a row works with: a loop, and raw peers for its connections.
type env struct {
	*testing.T
	network string
	el      *ae.EventLoop
	l       *stream.Loop
	fds     map[int]bool // peers that are open
	dir     string
	first   int // listener for pairs, or 0
}

func newEnv(t *testing.T, network string) *env {
	e := &env{T: t, network: network, fds: map[int]bool{}}
	e.el, e.l = e.newLoop()
	return e
}

func (e *env) newLoop() (*ae.EventLoop, *stream.Loop) {
	e.Helper()
	el, err := ae.New(1 << 20)
	if err != nil {
		e.Fatal(err)
	}
	return el, stream.On(el)
}

func (e *env) close() {
	for fd := range e.fds {
		unix.Close(fd)
	}
	e.l.Close()
	if err := e.el.Close(); err != nil && !errors.Is(err, ae.ErrClosed) {
		e.Error(err)
	}
	if e.dir != "" {
		os.RemoveAll(e.dir)
	}
}

// own has fd closed when the row ends.
func (e *env) own(fd int) int {
	e.fds[fd] = true
	return fd
}

// closePeer closes a peer now.
func (e *env) closePeer(fd int) {
	e.Helper()
	delete(e.fds, fd)
	e.must(unix.Close(fd))
}

// resetPeer closes a TCP peer so that the other side sees a reset.
func (e *env) resetPeer(fd int) {
	e.Helper()
	e.must(anet.SetLinger(fd, 0))
	e.closePeer(fd)
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// temp returns a directory whose name is short enough for the path of a socket.
func (e *env) temp() string {
	e.Helper()
	if e.dir == "" {
		dir, err := os.MkdirTemp("/tmp", "ae")
		e.must(err)
		e.dir = dir
	}
	return e.dir
}

// address is one to listen on.
func (e *env) address() string {
	if e.network == "unix" {
		return fmt.Sprintf("%s/%d", e.temp(), time.Now().UnixNano())
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
		e.first = e.tcpListener()
	}
	return e.throughListener(e.first)
}

func (e *env) tcpListener() int {
	e.Helper()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	return e.own(ln)
}

// throughListener returns an accepted socket and the one that has connected.
func (e *env) throughListener(ln int) (a, b int) {
	e.Helper()
	b, err := anet.Connect("tcp", anet.LocalString(ln))
	e.must(err)
	_, err = ae.Wait(ln, ae.Readable, patience)
	e.must(err)
	a, _, err = anet.Accept(ln)
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
		ln := e.tcpListener()
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
	return c
}

const allSteps = ae.AllEvents | ae.CallBeforeSleep | ae.CallAfterSleep

// poll runs a few iterations that do not sleep: what was begun is done then, but
// for what waits for a peer or a time.
func (e *env) poll() {
	e.Helper()
	for range 3 {
		_, err := e.el.ProcessEvents(allSteps | ae.DontWait)
		e.must(err)
	}
}

// until runs the loop until cond, which is looked at every millisecond at least.
func (e *env) until(what string, cond func() bool) {
	e.Helper()
	untilOn(e.T, e.el, what, cond)
}

func untilOn(t testing.TB, el *ae.EventLoop, what string, cond func() bool) {
	t.Helper()
	tick := el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return time.Millisecond })
	defer el.DeleteTimeEvent(tick)
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
		if _, err := el.ProcessEvents(allSteps); err != nil {
			t.Fatal(err)
		}
	}
}

// runFor runs the loop for d, and returns how many iterations that took.
func (e *env) runFor(d time.Duration) int {
	e.Helper()
	over := false
	e.el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		over = true
		return ae.NoMore
	})
	n := 0
	for ; !over; n++ {
		_, err := e.el.ProcessEvents(allSteps)
		e.must(err)
	}
	return n
}

// send has a peer send s, which must fit into the kernel's buffers.
func (e *env) send(peer int, s string) {
	e.Helper()
	if n, err := anet.Write(peer, []byte(s)); err != nil || n != len(s) {
		e.Fatalf("send %d bytes: %d, %v", len(s), n, err)
	}
}

// take reads what there is for a peer, and returns io.EOF, an errno, or nil.
func take(peer int) (string, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := anet.Read(peer, buf)
		all = append(all, buf[:n]...)
		switch {
		case err == anet.ErrWouldBlock:
			return string(all), nil
		case err != nil:
			return string(all), err
		}
	}
}

// receive runs the loop until a peer has received want, and no more.
func (e *env) receive(peer int, want string) {
	e.Helper()
	got := ""
	e.until(fmt.Sprintf("%.40q", want), func() bool {
		more, err := take(peer)
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
		more, err := take(peer)
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

// Some tests need a process of their own: it is the test binary, and AE_CHILD
// tells it what to do instead of testing. A child that fails panics.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("AE_CHILD"); name != "" {
		children[name]()
		return
	}
	os.Exit(m.Run())
}

// childCommand returns the command that runs a child. Under an emulator AE_EXEC has
// the words to begin it with.
func childCommand(name string, env ...string) *exec.Cmd {
	args := append(strings.Fields(os.Getenv("AE_EXEC")), os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), "AE_CHILD="+name), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// runChild runs a child to its end, and returns what it has printed.
func runChild(t *testing.T, name string, env ...string) string {
	t.Helper()
	cmd := childCommand(name, env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child %s: %v\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}
