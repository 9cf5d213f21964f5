package ae_test

import (
	"errors"
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// connectPromises is pitfall 18: corosio#202, seastar#309, libuv#5086.
var connectPromises = []promise{
	{"SucceedsAsWritable", "a connect that succeeded is Writable with SO_ERROR 0, over TCP and over a unix socket", func(t *testing.T) {
		el := newLoop(t)
		if err := connectThrough(t, el, "tcp", anet.LocalString(listen(t))); err != nil {
			t.Errorf("TCP: %v", err)
		}
		_, path := listenUnix(t, 10)
		if err := connectThrough(t, el, "unix", path); err != nil {
			t.Errorf("unix: %v", err)
		}
	}},
	{"RefusedAsWritable", "a connect that was refused is Writable with ECONNREFUSED in SO_ERROR", func(t *testing.T) {
		el := newLoop(t)
		if err := connectThrough(t, el, "tcp", closedPort(t)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("TCP: %v, want ECONNREFUSED", err)
		}
		ln, path := listenUnix(t, 10)
		mustClose(t, ln)
		if err := connectThrough(t, el, "unix", path); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("unix: %v, want ECONNREFUSED", err)
		}
	}},
	{"RefusedReachesTheReaderToo", "a refused connect reaches a readable proc, and the read tells ECONNREFUSED", func(t *testing.T) {
		el := newLoop(t)
		fd := connecting(t, closedPort(t))
		var got error
		create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			_, got = anet.Read(fd, make([]byte, 1))
			remove(t, el, fd, ae.Readable)
		})
		until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNREFUSED) {
			t.Errorf("read: %v, want ECONNREFUSED", got)
		}
	}},
	{"RefusedWithoutInterestDoesNotSpin", "a refused connect without a registration does not wake the loop", func(t *testing.T) {
		el := newLoop(t)
		fd := connecting(t, closedPort(t))
		create(t, el, fd, ae.Writable, forbid(t, "no interest"))
		remove(t, el, fd, ae.Writable)
		notBusy(t, el)
	}},
	{"ClosedBeforeItCompletes", "a connecting descriptor that is deleted and closed before the loop polls is not reported", func(t *testing.T) {
		el := newLoop(t)
		for _, addr := range []string{anet.LocalString(listen(t)), closedPort(t)} {
			fd := connecting(t, addr)
			create(t, el, fd, ae.Readable|ae.Writable, forbid(t, "closed while connecting"))
			remove(t, el, fd, ae.Readable|ae.Writable)
			mustClose(t, fd)
			notBusy(t, el)
		}
	}},
	{"FullBacklogOfAUnixSocketIsWouldBlock", "a unix connect to a full backlog says so at once: later, with a time event, it succeeds", func(t *testing.T) {
		ln, path := listenUnix(t, 1)
		var err error
		var fds []int
		for len(fds) < 200 {
			fd, cerr := anet.Connect("unix", path)
			if err = cerr; err != nil {
				break
			}
			closeLater(t, fd)
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
		closeLater(t, fd)
		if err := connectThrough(t, newLoop(t), "unix", path); err != nil {
			t.Errorf("after an accept: %v", err)
		}
	}},
	{"AThousandFailuresLeakNothing", "1,000 connects that fail leave no descriptor and no registration", func(t *testing.T) {
		el := newLoop(t)
		addr := closedPort(t)
		before := openDescriptors()
		for range 1000 {
			fd, err := anet.Connect("tcp", addr)
			if err != nil {
				continue // refused at once
			}
			ended := false
			create(t, el, fd, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
				ended = true
				if err := anet.SocketError(fd); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%v, want ECONNREFUSED", err)
				}
				remove(t, el, fd, ae.Writable)
				anet.Close(fd)
			})
			until(t, el, func() bool { return ended })
		}
		if after := openDescriptors(); len(after) != len(before) {
			t.Errorf("open descriptors %v, before %v", after, before)
		}
		if n := poll(t, el); n != 0 {
			t.Errorf("%d calls afterwards", n)
		}
	}},
}

// closedPort returns an address where nobody listens.
func closedPort(t testing.TB) string {
	ln := listen(t)
	addr := anet.LocalString(ln)
	mustClose(t, ln)
	return addr
}

// connecting returns a TCP socket that has begun to connect.
func connecting(t testing.TB, addr string) int {
	t.Helper()
	fd, err := anet.Connect("tcp", addr)
	if err != nil {
		t.Skipf("loopback answers at once: %v", err)
	}
	closeLater(t, fd)
	return fd
}

// listenUnix returns a listener at a path.
func listenUnix(t testing.TB, backlog int) (ln int, path string) {
	t.Helper()
	path = shortDir(t) + "/s"
	ln, err := anet.ListenConfig{Backlog: backlog}.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, ln)
	return ln, path
}

// connectThrough connects to addr with the loop and returns how that ended.
func connectThrough(t testing.TB, el *ae.EventLoop, network, addr string) error {
	t.Helper()
	fd, err := anet.Connect(network, addr)
	if err != nil {
		return err // some connects fail at once
	}
	closeLater(t, fd)
	done := false
	create(t, el, fd, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
		err = anet.SocketError(fd)
		done = true
		remove(t, el, fd, ae.Writable)
	})
	until(t, el, func() bool { return done })
	return err
}
