package ae_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen. It is long because
// machines are slow at times; no test waits for it to pass. AE_PATIENCE makes it
// shorter where failures are expected.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("AE_PATIENCE")); err == nil {
		return d
	}
	return 20 * time.Second
}()

// newLoop returns a loop that is closed when the test ends.
func newLoop(t testing.TB) *ae.EventLoop {
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

// socketPair returns two connected non-blocking unix stream sockets.
func socketPair(t testing.TB) (a, b int) {
	t.Helper()
	a, b, err := anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, a, b)
	return a, b
}

// pipe returns a non-blocking pipe.
func pipe(t testing.TB) (r, w int) {
	t.Helper()
	r, w, err := anet.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, r, w)
	return r, w
}

// tcpPair returns the two ends of a TCP connection over loopback, non-blocking.
func tcpPair(t testing.TB) (client, server int) {
	t.Helper()
	ln := listen(t)
	client, err := anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, client)
	if _, err := ae.Wait(ln, ae.Readable, patience); err != nil {
		t.Fatal(err)
	}
	server, _, err = anet.Accept(ln)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, server)
	return client, server
}

// listen returns a TCP listener on a free port of the loopback address.
func listen(t testing.TB) int {
	t.Helper()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, ln)
	return ln
}

// owned has, by test, the descriptors to close when it ends. A test that closes
// one itself says so with mustClose: the number may be somebody else's by then.
var owned = map[string]map[int]bool{}

// closeLater closes descriptors when the test ends.
func closeLater(t testing.TB, fds ...int) {
	mine := owned[t.Name()]
	if mine == nil {
		mine = map[int]bool{}
		owned[t.Name()] = mine
	}
	for _, fd := range fds {
		mine[fd] = true
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			if mine[fd] {
				unix.Close(fd)
				delete(mine, fd)
			}
		}
	})
}

// mustClose closes a descriptor of closeLater within the test.
func mustClose(t testing.TB, fd int) {
	t.Helper()
	delete(owned[t.Name()], fd)
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// create registers a file event that must be accepted.
func create(t testing.TB, el *ae.EventLoop, fd int, mask ae.Mask, proc ae.FileProc) {
	t.Helper()
	if err := el.CreateFileEvent(fd, mask, proc); err != nil {
		t.Fatalf("CreateFileEvent(%d, %d): %v", fd, mask, err)
	}
}

// remove deletes a file event.
func remove(t testing.TB, el *ae.EventLoop, fd int, mask ae.Mask) {
	t.Helper()
	if err := el.DeleteFileEvent(fd, mask); err != nil {
		t.Fatalf("DeleteFileEvent(%d, %d): %v", fd, mask, err)
	}
}

// forbid is a proc that must not run.
func forbid(t testing.TB, what string) ae.FileProc {
	return func(_ *ae.EventLoop, fd int, mask ae.Mask) {
		t.Errorf("%s: called for descriptor %d, mask %d", what, fd, mask)
	}
}

// step runs one iteration that must not fail, and returns what it counted.
func step(t testing.TB, el *ae.EventLoop, flags ae.Flags) int {
	t.Helper()
	guard := time.AfterFunc(patience, func() { panic(t.Name() + ": the loop does not come back") })
	defer guard.Stop()
	n, err := el.ProcessEvents(flags)
	if err != nil {
		t.Fatalf("ProcessEvents: %v", err)
	}
	return n
}

// poll runs one iteration that does not sleep.
func poll(t testing.TB, el *ae.EventLoop) int {
	t.Helper()
	return step(t, el, ae.AllEvents|ae.DontWait)
}

// until runs iterations until done, and returns how many there were.
func until(t testing.TB, el *ae.EventLoop, done func() bool) int {
	t.Helper()
	late := false
	guard := el.CreateTimeEvent(patience, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		late = true
		return ae.NoMore
	})
	defer el.DeleteTimeEvent(guard)
	n := 0
	for ; !done(); n++ {
		if late {
			t.Fatalf("waited %v in vain, %d iterations", patience, n)
		}
		step(t, el, ae.AllEvents)
	}
	return n
}

// runFor runs the loop for d, and returns the number of iterations.
func runFor(t testing.TB, el *ae.EventLoop, d time.Duration) int {
	t.Helper()
	over := false
	el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		over = true
		return ae.NoMore
	})
	return until(t, el, func() bool { return over })
}

// send writes s, which must fit.
func send(t testing.TB, fd int, s string) {
	t.Helper()
	if n, err := anet.Write(fd, []byte(s)); err != nil || n != len(s) {
		t.Fatalf("write to %d: %d, %v", fd, n, err)
	}
}

// receive reads all there is, and returns it with io.EOF, an errno, or nil if
// more may come.
func receive(fd int) (string, error) {
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

// reset makes fd's peer see a reset instead of an end of file.
func reset(t testing.TB, fd int) {
	t.Helper()
	err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, fd)
}

// regularFile returns a descriptor of a regular file.
func regularFile(t testing.TB) int {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, fd)
	return fd
}

// dupAbove returns another number for the file of fd, the first free one from low
// on. It is close-on-exec, not from birth: not every system of ours can do that.
func dupAbove(fd, low int) (int, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, low)
	if err == nil {
		unix.CloseOnExec(high)
	}
	return high, err
}

// shortDir is a directory whose name leaves room in the 104 bytes that some
// systems have for the path of a unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ae")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
