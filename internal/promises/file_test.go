package promises_test

import (
	"errors"
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

var filePromises = []promise{
	{"ReadableAndWritableComeAsOneCallEach", "a descriptor ready for both gets two calls, Readable first", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		var calls []ae.Mask
		aetest.Create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, fd int, mask ae.Mask) {
			if fd != a {
				t.Errorf("called for %d, want %d", fd, a)
			}
			calls = append(calls, mask)
		})
		if n := aetest.Poll(t, el); n != 2 {
			t.Errorf("ProcessEvents counted %d calls, want 2", n)
		}
		if len(calls) != 2 || calls[0] != ae.Readable || calls[1] != ae.Writable {
			t.Errorf("calls %v, want [Readable Writable]", calls)
		}
	}},
	{"BarrierCallsWritableFirst", "with Barrier the writable proc runs before the readable one", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		var order string
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { order += "r" })
		aetest.Create(t, el, a, ae.Writable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) { order += "w" })
		aetest.Poll(t, el)
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "W" })
		aetest.Poll(t, el)
		if order != "wrrW" {
			t.Errorf("order %q, want wr with Barrier, then rW without", order)
		}
		aetest.Delete(t, el, a, ae.Writable)
		if got := el.FileEvents(a); got != ae.Readable {
			t.Errorf("mask %d after Writable was deleted, want Readable: Barrier goes with it", got)
		}
	}},
	{"BarrierBelongsToWritable", "Barrier without Writable changes nothing, and leaves nothing behind", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		var order string
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "w" })
		aetest.Create(t, el, a, ae.Readable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) { order += "r" })
		aetest.Poll(t, el)
		if order != "rw" {
			t.Errorf("order %q, want rw", order)
		}
		aetest.Delete(t, el, a, ae.Readable|ae.Writable)
		aetest.Create(t, el, a, ae.Readable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) {})
		aetest.Delete(t, el, a, ae.Readable)
		if got := el.FileEvents(a); got != ae.None {
			t.Errorf("mask %d with nothing registered", got)
		}
	}},
	{"LevelTriggered", "what is ready is reported at every poll until it is dealt with", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		aetest.Send(t, w, "xy")
		n := 0
		aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			n++
			var one [1]byte
			anet.Read(r, one[:])
		})
		for range 3 {
			aetest.Poll(t, el)
		}
		if n != 2 {
			t.Errorf("%d calls for two bytes read one by one, want 2", n)
		}
	}},
	{"OnlyReadyDescriptorsAreEvents", "descriptors that are registered but idle get no call", func(t *testing.T) {
		el := aetest.Loop(t)
		for range 20 {
			r, _ := aetest.Pipe(t)
			aetest.Create(t, el, r, ae.Readable, aetest.Forbid(t, "idle pipe"))
		}
		if n := aetest.Poll(t, el); n != 0 {
			t.Errorf("%d calls, want 0", n)
		}
	}},
	{"ReplacesOneProcAndKeepsTheOther", "registering an event again replaces its proc only", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		var got string
		aetest.Create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
			got += map[ae.Mask]string{ae.Readable: "old-r ", ae.Writable: "w "}[mask]
		})
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got += "new-r " })
		aetest.Send(t, b, "x")
		aetest.Poll(t, el)
		if got != "new-r w " {
			t.Errorf("called %q", got)
		}
	}},
	{"DeleteIsFinalAndIdempotent", "a deleted event is not called, and deleting twice is no error", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Readable|ae.Writable, aetest.Forbid(t, "deleted"))
		aetest.Send(t, b, "x")
		aetest.Delete(t, el, a, ae.Readable)
		if el.FileEvents(a) != ae.Writable {
			t.Errorf("mask %d, want Writable", el.FileEvents(a))
		}
		aetest.Delete(t, el, a, ae.Writable)
		aetest.Delete(t, el, a, ae.Readable|ae.Writable)
		if n := aetest.Poll(t, el); n != 0 || el.FileEvents(a) != ae.None {
			t.Errorf("%d calls, mask %d", n, el.FileEvents(a))
		}
	}},
	{"UnwatchableIsAnError", "a descriptor that cannot be watched gives an error that errors.Is can tell, and changes nothing", func(t *testing.T) {
		el := aetest.Loop(t)
		r, _ := aetest.Pipe(t)
		file, dir := aetest.RegularFile(t), openDir(t)
		closed, _ := aetest.Pipe(t)
		testutil.CloseNow(t, closed)
		for _, c := range []struct {
			name string
			fd   int
			mask ae.Mask
			want error
		}{
			{"negative", -1, ae.Readable, ae.ErrRange},
			{"set size", el.Size(), ae.Readable, ae.ErrRange},
			{"closed", closed, ae.Readable, unix.EBADF},
			{"regular file", file, ae.Readable, unix.EPERM},
			{"directory", dir, ae.Readable, unix.EPERM},
			{"no event", r, ae.None, unix.EINVAL},
			{"only Barrier", r, ae.Barrier, unix.EINVAL},
			{"unknown event", r, ae.Readable | 1<<6, unix.EINVAL},
		} {
			if err := el.CreateFileEvent(c.fd, c.mask, aetest.Forbid(t, c.name)); !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.want)
			}
			if got := el.FileEvents(c.fd); got != ae.None {
				t.Errorf("%s: mask %d after the error", c.name, got)
			}
		}
		for _, fd := range []int{-1, el.Size()} {
			if err := el.DeleteFileEvent(fd, ae.Readable); !errors.Is(err, ae.ErrRange) {
				t.Errorf("DeleteFileEvent(%d): %v, want ErrRange", fd, err)
			}
		}
		aetest.Poll(t, el)
	}},
	{"WatchesPipesAndSockets", "pipes, unix and TCP sockets, listeners and datagram sockets can be watched", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		client, server := aetest.TCPPair(t)
		a, b := aetest.SocketPair(t)
		ln := aetest.Listen(t)
		ready := map[int]bool{}
		mark := func(_ *ae.EventLoop, fd int, _ ae.Mask) { ready[fd] = true }
		for _, fd := range []int{r, server, b, ln} {
			aetest.Create(t, el, fd, ae.Readable, mark)
		}
		for _, fd := range []int{w, client, a} {
			aetest.Create(t, el, fd, ae.Writable, mark)
			aetest.Send(t, fd, "x")
		}
		c, err := anet.Connect("tcp", anet.LocalString(ln))
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, c)
		aetest.Until(t, el, func() bool { return len(ready) == 7 })
	}},
	{"ReplacingAProcDoesNotCostItsTurn", "a proc that another callback replaces in every iteration is still called", func(t *testing.T) {
		el := aetest.Loop(t)
		calls := 0
		var fds [2]int
		for i := range fds {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			fds[i] = a
		}
		var proc ae.FileProc
		proc = func(el *ae.EventLoop, fd int, _ ae.Mask) {
			calls++
			aetest.Create(t, el, fds[0]+fds[1]-fd, ae.Readable, proc)
		}
		for _, fd := range fds {
			aetest.Create(t, el, fd, ae.Readable, proc)
		}
		for range 10 {
			aetest.Poll(t, el)
		}
		if calls != 20 {
			t.Errorf("%d calls in 10 iterations, want 20", calls)
		}
	}},
	{"NilProcPanics", "a nil proc panics where it is registered, not where it is called", func(t *testing.T) {
		el := aetest.Loop(t)
		r, _ := aetest.Pipe(t)
		for name, register := range map[string]func(){
			"CreateFileEvent": func() { el.CreateFileEvent(r, ae.Readable, nil) },
			"CreateTimeEvent": func() { el.CreateTimeEvent(0, nil) },
			"Post":            func() { el.Post(nil) },
			"AddBeforeSleep":  func() { el.AddBeforeSleep(nil) },
			"AddAfterSleep":   func() { el.AddAfterSleep(nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s took a nil func", name)
					}
				}()
				register()
			}()
		}
	}},
	{"LargeSetsGrowAsDescriptorsCome", "New(1<<20) works, and a descriptor far above the others is watched", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		high := el.Size() - 1
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			t.Fatal(err)
		}
		high = min(high, int(lim.Cur)-1)
		if err := testutil.DupTo(r, high); err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, high)
		called := false
		aetest.Create(t, el, high, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { called = true })
		aetest.Send(t, w, "x")
		aetest.Until(t, el, func() bool { return called })
		aetest.Delete(t, el, high, ae.Readable)
	}},
	{"ResizeKeepsWhatIsRegistered", "Resize refuses to cut off a registered descriptor, and moves the bound otherwise", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		called := false
		aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { called = true })
		size := el.Size()
		for _, bad := range []int{0, -1, r} {
			if err := el.Resize(bad); !errors.Is(err, ae.ErrRange) {
				t.Errorf("Resize(%d): %v, want ErrRange", bad, err)
			}
		}
		if el.Size() != size {
			t.Errorf("set size %d after refused calls, want %d", el.Size(), size)
		}
		if err := el.Resize(r + 1); err != nil || el.Size() != r+1 {
			t.Errorf("Resize(%d): %v, set size %d", r+1, err, el.Size())
		}
		if err := el.CreateFileEvent(r+1, ae.Readable, aetest.Forbid(t, "beyond")); !errors.Is(err, ae.ErrRange) {
			t.Errorf("beyond the bound: %v", err)
		}
		aetest.Send(t, w, "x")
		aetest.Until(t, el, func() bool { return called })
	}},
	{"ManyReadyDescriptorsAllGetTheirTurn", "a batch smaller than the number of ready descriptors starves none", func(t *testing.T) {
		el := aetest.Loop(t)
		calls := map[int]int{}
		r, w := aetest.Pipe(t)
		aetest.Send(t, w, "x") // never read: ready for good
		for range 600 {
			fd, err := testutil.DupAbove(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, fd)
			aetest.Create(t, el, fd, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { calls[fd]++ })
		}
		for range 8 {
			aetest.Poll(t, el)
		}
		if len(calls) != 600 {
			t.Errorf("%d of 600 ready descriptors were called in 8 iterations", len(calls))
		}
	}},
}

func openDir(t testing.TB) int {
	t.Helper()
	fd, err := unix.Open(t.TempDir(), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, fd)
	return fd
}
