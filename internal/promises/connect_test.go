package promises_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// connectPromises is pitfall 18: corosio#202, seastar#309, libuv#5086.
var connectPromises = []promise{
	{"SucceedsAsWritable", "a connect that succeeded is Writable with SO_ERROR 0, over TCP and over a unix socket", func(t *testing.T) {
		el := aetest.Loop(t)
		if err := connectThrough(t, el, "tcp", anet.LocalString(aetest.Listen(t))); err != nil {
			t.Errorf("TCP: %v", err)
		}
		_, path := listenUnix(t, 10)
		if err := connectThrough(t, el, "unix", path); err != nil {
			t.Errorf("unix: %v", err)
		}
	}},
	{"RefusedAsWritable", "a connect that was refused is Writable with ECONNREFUSED in SO_ERROR", func(t *testing.T) {
		el := aetest.Loop(t)
		if err := connectThrough(t, el, "tcp", aetest.ClosedPort(t)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("TCP: %v, want ECONNREFUSED", err)
		}
		ln, path := listenUnix(t, 10)
		testutil.CloseNow(t, ln)
		if err := connectThrough(t, el, "unix", path); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("unix: %v, want ECONNREFUSED", err)
		}
	}},
	{"RefusedReachesTheReaderToo", "a refused connect reaches a readable proc, and the read tells ECONNREFUSED", func(t *testing.T) {
		el := aetest.Loop(t)
		fd := connecting(t, aetest.ClosedPort(t))
		var got error
		aetest.Create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			_, got = anet.Read(fd, make([]byte, 1))
			aetest.Delete(t, el, fd, ae.Readable)
		})
		aetest.Until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNREFUSED) {
			t.Errorf("read: %v, want ECONNREFUSED", got)
		}
	}},
	{"RefusedWithoutInterestDoesNotSpin", "a refused connect without a registration does not wake the loop", func(t *testing.T) {
		el := aetest.Loop(t)
		fd := connecting(t, aetest.ClosedPort(t))
		aetest.Create(t, el, fd, ae.Writable, aetest.Forbid(t, "no interest"))
		aetest.Delete(t, el, fd, ae.Writable)
		aetest.Sleeps(t, el)
	}},
	{"ClosedBeforeItSucceeds", "a connecting descriptor that is deleted and closed before the loop polls is not reported", func(t *testing.T) {
		closeWhileConnecting(t, anet.LocalString(aetest.Listen(t)))
	}},
	{"ClosedBeforeItIsRefused", "the same for one that nobody accepts", func(t *testing.T) {
		closeWhileConnecting(t, aetest.ClosedPort(t))
	}},
	{"FullBacklogOfAUnixSocketIsWouldBlock", "a unix connect to a full backlog says so at once: later, with a time event, it succeeds", func(t *testing.T) {
		ln, path := listenUnix(t, 1)
		var err error
		var fds []int
		for len(fds) < 200 { // OpenBSD makes 80 of a backlog of 1
			fd, cerr := anet.Connect("unix", path)
			if err = cerr; err != nil {
				break
			}
			testutil.CloseLater(t, fd)
			fds = append(fds, fd)
		}
		switch {
		case err == nil:
			return // connects that wait for their turn are this system's way
		case !errors.Is(err, anet.ErrWouldBlock) && !errors.Is(err, unix.ECONNREFUSED):
			t.Fatalf("connect to a full backlog: %v", err)
		}
		fd, _, err := anet.Accept(ln)
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, fd)
		if err := connectThrough(t, aetest.Loop(t), "unix", path); err != nil {
			t.Errorf("after an accept: %v", err)
		}
	}},
	{"FailuresLeakNothing", "1,000 connects that fail leave no descriptor and no registration", func(t *testing.T) {
		n := 1000
		if runtime.GOOS != "linux" {
			n = 100 // BSDs answer with at most 100 or 200 resets a second
		}
		el := aetest.Loop(t)
		addr := aetest.ClosedPort(t)
		noLeak := testutil.NoLeak(t)
		for range n {
			fd, err := anet.Connect("tcp", addr)
			if errors.Is(err, unix.ECONNREFUSED) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			ended := false
			aetest.Create(t, el, fd, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
				ended = true
				if err := anet.SocketError(fd); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%v, want ECONNREFUSED", err)
				}
				aetest.Delete(t, el, fd, ae.Writable)
				anet.Close(fd)
			})
			aetest.Until(t, el, func() bool { return ended })
		}
		noLeak()
		if n := aetest.Poll(t, el); n != 0 {
			t.Errorf("%d calls afterwards", n)
		}
	}},
}

func closeWhileConnecting(t *testing.T, addr string) {
	el := aetest.Loop(t)
	fd := connecting(t, addr)
	aetest.Create(t, el, fd, ae.Readable|ae.Writable, aetest.Forbid(t, "closed while connecting"))
	aetest.Delete(t, el, fd, ae.Readable|ae.Writable)
	testutil.CloseNow(t, fd)
	aetest.Sleeps(t, el)
}

// connecting returns a TCP socket that has begun to connect. Over loopback BSDs may
// refuse at once, so that there is none: the row is then about what is not.
func connecting(t testing.TB, addr string) int {
	t.Helper()
	fd, err := anet.Connect("tcp", addr)
	if errors.Is(err, unix.ECONNREFUSED) {
		t.Skip("this system refuses within connect(2)")
	}
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, fd)
	return fd
}

// listenUnix returns a listener at a path.
func listenUnix(t testing.TB, backlog int) (ln int, path string) {
	t.Helper()
	path = testutil.ShortDir(t) + "/s"
	ln, err := anet.ListenConfig{Backlog: backlog}.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, ln)
	return ln, path
}

// connectThrough connects to addr with the loop and returns how that ended.
func connectThrough(t testing.TB, el *ae.EventLoop, network, addr string) error {
	t.Helper()
	fd, err := anet.Connect(network, addr)
	if err != nil {
		return err // some connects fail at once
	}
	testutil.CloseLater(t, fd)
	done := false
	aetest.Create(t, el, fd, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
		err = anet.SocketError(fd)
		done = true
		aetest.Delete(t, el, fd, ae.Writable)
	})
	aetest.Until(t, el, func() bool { return done })
	return err
}
