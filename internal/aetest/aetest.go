// Package aetest is what tests of the loop, and of what is built upon it, share.
package aetest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// Loop returns a loop that is closed when the test ends.
func Loop(t testing.TB) *ae.EventLoop {
	t.Helper()
	el, err := ae.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := el.Close(); err != nil && !errors.Is(err, ae.ErrClosed) {
			t.Error(err)
		}
	})
	return el
}

// SocketPair returns two connected non-blocking unix stream sockets.
func SocketPair(t testing.TB) (a, b int) {
	t.Helper()
	a, b, err := anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, a, b)
	return a, b
}

// Pipe returns a non-blocking pipe.
func Pipe(t testing.TB) (r, w int) {
	t.Helper()
	r, w, err := anet.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, r, w)
	return r, w
}

// TCPPair returns the two ends of a TCP connection over loopback, non-blocking.
func TCPPair(t testing.TB) (client, server int) {
	t.Helper()
	client, server, err := ConnectTCP()
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, client, server)
	return client, server
}

// ConnectTCP is TCPPair without a test.
func ConnectTCP() (client, server int, err error) {
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return -1, -1, err
	}
	defer anet.Close(ln)
	return ConnectTo(ln)
}

// ConnectTo returns the two ends of a new connection to a TCP listener.
func ConnectTo(ln int) (client, server int, err error) {
	client, err = anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		return -1, -1, err
	}
	if _, err = ae.Wait(ln, ae.Readable, testutil.Patience); err == nil {
		server, _, err = anet.Accept(ln)
	}
	if err != nil {
		anet.Close(client)
		return -1, -1, err
	}
	return client, server, nil
}

// Listen returns a TCP listener on a free port of the loopback address.
func Listen(t testing.TB) int {
	t.Helper()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, ln)
	return ln
}

// ClosedPort returns an address where nobody listens any more. (A socket that is
// bound and does not listen is no such thing everywhere: OpenBSD does not answer
// for it.)
func ClosedPort(t testing.TB) string {
	t.Helper()
	ln := Listen(t)
	addr := anet.LocalString(ln)
	testutil.CloseNow(t, ln)
	return addr
}

// SilentPort returns an address where a connect gets no answer: the backlog of the
// listener is full. Where the system answers all the same the test is skipped.
func SilentPort(t testing.TB) string {
	t.Helper()
	ln, err := anet.ListenConfig{Backlog: 1}.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, ln)
	addr := anet.LocalString(ln)
	for range 10 {
		fd, err := anet.Connect("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, fd)
		if m, err := ae.Wait(fd, ae.Writable, 100*time.Millisecond); err == nil && m == ae.None {
			return addr
		}
	}
	t.Skip("this system answers connects beyond the backlog")
	return ""
}

// RegularFile returns a descriptor of a regular file.
func RegularFile(t testing.TB) int {
	t.Helper()
	return Open(t, t.TempDir()+"/file", unix.O_RDWR|unix.O_CREAT)
}

// Open opens a path.
func Open(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(&os.PathError{Op: "open", Path: path, Err: err})
	}
	testutil.CloseLater(t, fd)
	return fd
}

// Create registers a file event that must be accepted.
func Create(t testing.TB, el *ae.EventLoop, fd int, mask ae.Mask, proc ae.FileProc) {
	t.Helper()
	if err := el.CreateFileEvent(fd, mask, proc); err != nil {
		t.Fatalf("CreateFileEvent(%d, %d): %v", fd, mask, err)
	}
}

// Delete deletes a file event.
func Delete(t testing.TB, el *ae.EventLoop, fd int, mask ae.Mask) {
	t.Helper()
	if err := el.DeleteFileEvent(fd, mask); err != nil {
		t.Fatalf("DeleteFileEvent(%d, %d): %v", fd, mask, err)
	}
}

// Forbid is a proc that must not run.
func Forbid(t testing.TB, what string) ae.FileProc {
	return func(_ *ae.EventLoop, fd int, mask ae.Mask) {
		t.Errorf("%s: called for descriptor %d, mask %d", what, fd, mask)
	}
}

// Step runs one iteration that must not fail, and returns what it counted.
func Step(t testing.TB, el *ae.EventLoop, flags ae.Flags) int {
	t.Helper()
	defer testutil.Guard(t, testutil.Patience, "the loop does not come back")()
	n, err := el.ProcessEvents(flags)
	if err != nil {
		t.Fatalf("ProcessEvents: %v", err)
	}
	return n
}

// Poll runs one iteration that does not sleep.
func Poll(t testing.TB, el *ae.EventLoop) int {
	t.Helper()
	return Step(t, el, ae.AllEvents|ae.DontWait)
}

// Until runs iterations until done, and returns how many there were.
func Until(t testing.TB, el *ae.EventLoop, done func() bool) int {
	t.Helper()
	return Await(t, el, ae.AllEvents, "the end", done)
}

// Iteration are the flags of an iteration of Main.
const Iteration = ae.AllEvents | ae.CallBeforeSleep | ae.CallAfterSleep

// Await runs iterations with those flags until done, which is asked before each, and
// returns how many there were. It says what was waited for in vain.
func Await(t testing.TB, el *ae.EventLoop, flags ae.Flags, what string, done func() bool) int {
	t.Helper()
	late := false
	guard := el.CreateTimeEvent(testutil.Patience, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		late = true
		return ae.NoMore
	})
	defer el.DeleteTimeEvent(guard)
	n := 0
	for ; !done(); n++ {
		if late {
			t.Fatalf("waited %v in vain for %s, %d iterations", testutil.Patience, what, n)
		}
		Step(t, el, flags)
	}
	return n
}

// RunFor runs the loop for d, and returns the number of iterations.
func RunFor(t testing.TB, el *ae.EventLoop, d time.Duration) int {
	t.Helper()
	over := false
	el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		over = true
		return ae.NoMore
	})
	return Until(t, el, func() bool { return over })
}

// Sleeps fails the test if the loop, which has nothing to do, does not sleep. A few
// iterations it may take: signals make for some.
func Sleeps(t testing.TB, el *ae.EventLoop) {
	t.Helper()
	const d = 20 * time.Millisecond
	if n := RunFor(t, el, d); n > 5 {
		t.Errorf("%d iterations in %v with nothing to do: the loop spins", n, d)
	}
}

// Arrives waits until fd is ready for mask, whatever the loop thinks.
func Arrives(t testing.TB, fd int, mask ae.Mask) {
	t.Helper()
	if got, err := ae.Wait(fd, mask, testutil.Patience); got == ae.None || err != nil {
		t.Fatalf("descriptor %d does not become ready for %d: %v", fd, mask, err)
	}
}

// Send writes s, which must fit.
func Send(t testing.TB, fd int, s string) {
	t.Helper()
	if n, err := anet.Write(fd, []byte(s)); err != nil || n != len(s) {
		t.Fatalf("write to %d: %d, %v", fd, n, err)
	}
}

// Fill writes to fd until it has no room.
func Fill(t testing.TB, fd int) {
	t.Helper()
	junk := make([]byte, 64<<10)
	for {
		_, err := anet.Write(fd, junk)
		if err == anet.ErrWouldBlock {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Receive reads all there is, and returns it with io.EOF, an errno, or nil if
// more may come.
func Receive(fd int) (string, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := anet.Read(fd, buf)
		all = append(all, buf[:n]...)
		switch {
		case err == anet.ErrWouldBlock:
			return string(all), nil
		case err != nil:
			return string(all), err
		}
	}
}

// Reset makes fd's peer see a reset instead of an end of file.
func Reset(t testing.TB, fd int) {
	t.Helper()
	err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseNow(t, fd)
}
