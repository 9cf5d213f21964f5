package ae_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

var filePromises = []promise{
	{"ReadableAndWritableComeAsOneCallEach", "a descriptor ready for both gets two calls, Readable first", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		var calls []ae.Mask
		create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, fd int, mask ae.Mask) {
			if fd != a {
				t.Errorf("called for %d, want %d", fd, a)
			}
			calls = append(calls, mask)
		})
		if n := poll(t, el); n != 2 {
			t.Errorf("ProcessEvents counted %d calls, want 2", n)
		}
		if len(calls) != 2 || calls[0] != ae.Readable || calls[1] != ae.Writable {
			t.Errorf("calls %v, want [Readable Writable]", calls)
		}
	}},
	{"BarrierCallsWritableFirst", "with Barrier the writable proc runs before the readable one", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		var order string
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { order += "r" })
		create(t, el, a, ae.Writable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) { order += "w" })
		poll(t, el)
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "W" })
		poll(t, el)
		if order != "wrrW" {
			t.Errorf("order %q, want wr with Barrier, then rW without", order)
		}
		remove(t, el, a, ae.Writable)
		if got := el.FileEvents(a); got != ae.Readable {
			t.Errorf("mask %d after Writable was deleted, want Readable: Barrier goes with it", got)
		}
	}},
	{"BarrierBelongsToWritable", "Barrier without Writable changes nothing, and leaves nothing behind", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		send(t, b, "x")
		var order string
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "w" })
		create(t, el, a, ae.Readable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) { order += "r" })
		poll(t, el)
		if order != "rw" {
			t.Errorf("order %q, want rw", order)
		}
		remove(t, el, a, ae.Readable|ae.Writable)
		create(t, el, a, ae.Readable|ae.Barrier, func(*ae.EventLoop, int, ae.Mask) {})
		remove(t, el, a, ae.Readable)
		if got := el.FileEvents(a); got != ae.None {
			t.Errorf("mask %d with nothing registered", got)
		}
	}},
	{"LevelTriggered", "what is ready is reported at every poll until it is dealt with", func(t *testing.T) {
		el := newLoop(t)
		r, w := pipe(t)
		send(t, w, "xy")
		n := 0
		create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			n++
			var one [1]byte
			anet.Read(r, one[:])
		})
		for range 3 {
			poll(t, el)
		}
		if n != 2 {
			t.Errorf("%d calls for two bytes read one by one, want 2", n)
		}
	}},
	{"OnlyReadyDescriptorsAreEvents", "descriptors that are registered but idle get no call", func(t *testing.T) {
		el := newLoop(t)
		for range 20 {
			r, _ := pipe(t)
			create(t, el, r, ae.Readable, forbid(t, "idle pipe"))
		}
		if n := poll(t, el); n != 0 {
			t.Errorf("%d calls, want 0", n)
		}
	}},
	{"ReplacesOneProcAndKeepsTheOther", "registering an event again replaces its proc only", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		var got string
		create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
			got += map[ae.Mask]string{ae.Readable: "old-r ", ae.Writable: "w "}[mask]
		})
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got += "new-r " })
		send(t, b, "x")
		poll(t, el)
		if got != "new-r w " {
			t.Errorf("called %q", got)
		}
	}},
	{"DeleteIsFinalAndIdempotent", "a deleted event is not called, and deleting twice is no error", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		create(t, el, a, ae.Readable|ae.Writable, forbid(t, "deleted"))
		send(t, b, "x")
		remove(t, el, a, ae.Readable)
		if el.FileEvents(a) != ae.Writable {
			t.Errorf("mask %d, want Writable", el.FileEvents(a))
		}
		remove(t, el, a, ae.Writable)
		remove(t, el, a, ae.Readable|ae.Writable)
		if n := poll(t, el); n != 0 || el.FileEvents(a) != ae.None {
			t.Errorf("%d calls, mask %d", n, el.FileEvents(a))
		}
	}},
	{"UnwatchableIsAnError", "a descriptor that cannot be watched gives an error that errors.Is can tell, and changes nothing", func(t *testing.T) {
		el := newLoop(t)
		r, _ := pipe(t)
		file, dir := regularFile(t), openDir(t)
		closed, _ := pipe(t)
		mustClose(t, closed)
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
			if err := el.CreateFileEvent(c.fd, c.mask, forbid(t, c.name)); !errors.Is(err, c.want) {
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
		poll(t, el)
	}},
	{"WatchesPipesAndSockets", "pipes, unix and TCP sockets, listeners and datagram sockets can be watched", func(t *testing.T) {
		el := newLoop(t)
		r, w := pipe(t)
		client, server := tcpPair(t)
		a, b := socketPair(t)
		ln := listen(t)
		ready := map[int]bool{}
		mark := func(_ *ae.EventLoop, fd int, _ ae.Mask) { ready[fd] = true }
		for _, fd := range []int{r, server, b, ln} {
			create(t, el, fd, ae.Readable, mark)
		}
		for _, fd := range []int{w, client, a} {
			create(t, el, fd, ae.Writable, mark)
			send(t, fd, "x")
		}
		c, err := anet.Connect("tcp", anet.LocalString(ln))
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, c)
		until(t, el, func() bool { return len(ready) == 7 })
	}},
	{"ReplacingAProcDoesNotCostItsTurn", "a proc that another callback replaces in every iteration is still called", func(t *testing.T) {
		el := newLoop(t)
		calls := 0
		var fds [2]int
		for i := range fds {
			a, b := socketPair(t)
			send(t, b, "x")
			fds[i] = a
		}
		var proc ae.FileProc
		proc = func(el *ae.EventLoop, fd int, _ ae.Mask) {
			calls++
			create(t, el, fds[0]+fds[1]-fd, ae.Readable, proc)
		}
		for _, fd := range fds {
			create(t, el, fd, ae.Readable, proc)
		}
		for range 10 {
			poll(t, el)
		}
		if calls != 20 {
			t.Errorf("%d calls in 10 iterations, want 20", calls)
		}
	}},
	{"NilProcPanics", "a nil proc panics where it is registered, not where it is called", func(t *testing.T) {
		el := newLoop(t)
		r, _ := pipe(t)
		for name, register := range map[string]func(){
			"CreateFileEvent": func() { el.CreateFileEvent(r, ae.Readable, nil) },
			"CreateTimeEvent": func() { el.CreateTimeEvent(0, nil) },
			"Post":            func() { el.Post(nil) },
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
		el := newLoop(t)
		r, w := pipe(t)
		high := el.Size() - 1
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			t.Fatal(err)
		}
		high = min(high, int(lim.Cur)-1)
		if err := dupTo(r, high); err != nil {
			t.Fatal(err)
		}
		closeLater(t, high)
		called := false
		create(t, el, high, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { called = true })
		send(t, w, "x")
		until(t, el, func() bool { return called })
		remove(t, el, high, ae.Readable)
	}},
	{"ResizeKeepsWhatIsRegistered", "Resize refuses to cut off a registered descriptor, and moves the bound otherwise", func(t *testing.T) {
		el := newLoop(t)
		r, w := pipe(t)
		called := false
		create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { called = true })
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
		if err := el.CreateFileEvent(r+1, ae.Readable, forbid(t, "beyond")); !errors.Is(err, ae.ErrRange) {
			t.Errorf("beyond the bound: %v", err)
		}
		send(t, w, "x")
		until(t, el, func() bool { return called })
	}},
	{"ManyReadyDescriptorsAllGetTheirTurn", "a batch smaller than the number of ready descriptors starves none", func(t *testing.T) {
		el := newLoop(t)
		calls := map[int]int{}
		r, w := pipe(t)
		send(t, w, "x") // never read: ready for good
		for range 600 {
			fd, err := dupAbove(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, fd)
			create(t, el, fd, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) { calls[fd]++ })
		}
		for range 8 {
			poll(t, el)
		}
		if len(calls) != 600 {
			t.Errorf("%d of 600 ready descriptors were called in 8 iterations", len(calls))
		}
	}},
}

// feed writes s to fd as there is room, and then calls done once.
func feed(t testing.TB, el *ae.EventLoop, fd int, s string, done func()) {
	create(t, el, fd, ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
		n, err := anet.Write(fd, []byte(s[:min(len(s), 64<<10)]))
		if err != nil && err != anet.ErrWouldBlock {
			t.Errorf("write: %v", err)
			n = len(s)
		}
		if s = s[n:]; s == "" {
			remove(t, el, fd, ae.Writable)
			done()
		}
	})
}

func openDir(t testing.TB) int {
	t.Helper()
	fd, err := unix.Open(t.TempDir(), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, fd)
	return fd
}

// dupTo makes high another name for fd. It is dup2, which not every system of
// ours has in x/sys.
func dupTo(fd, high int) error {
	got, err := dupAbove(fd, high)
	if err == nil && got != high {
		unix.Close(got)
		err = unix.EEXIST
	}
	return err
}

var stalePromises = []promise{
	{"OneOfTwoEventsRegisteredAnewInOneBatch", "an event polled for a deleted registration does not reach a new one of the same descriptor", func(t *testing.T) {
		el := newLoop(t)
		var fds [2]int
		replaced := false
		for i := range fds {
			a, b := socketPair(t)
			send(t, b, "x")
			fds[i] = a
		}
		late := 0
		for i, fd := range fds {
			create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				if replaced {
					t.Error("the deleted proc ran")
					return
				}
				replaced = true
				other := fds[1-i]
				remove(t, el, other, ae.Readable)
				create(t, el, other, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { late++ })
				remove(t, el, fd, ae.Readable)
			})
		}
		poll(t, el)
		if !replaced || late != 0 {
			t.Errorf("replaced %v; the new proc ran %d times in the batch that was polled before it", replaced, late)
		}
		poll(t, el)
		if late != 1 {
			t.Errorf("the new proc ran %d times after the next poll, want 1", late)
		}
	}},
	// libuv's watcher_cross_stop
	{"OneCallbackClosesAllOthers", "when one callback of a batch deletes and closes all other descriptors, no other runs", func(t *testing.T) {
		el := newLoop(t)
		var fds []int
		calls := 0
		for range crossPairs(t) {
			a, b := socketPair(t)
			send(t, b, "x")
			fds = append(fds, a)
			create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				calls++
				for _, fd := range fds {
					remove(t, el, fd, ae.Readable)
					mustClose(t, fd)
				}
			})
		}
		poll(t, el)
		poll(t, el)
		if calls != 1 {
			t.Errorf("%d callbacks ran, want 1", calls)
		}
	}},
	// pitfall 2: libuv#1099, libevent c281aba3
	{"OldFileHeldByADupAfterDelete", "after DeleteFileEvent and close nothing is reported, though a dup holds the file and its peer writes", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		create(t, el, a, ae.Readable, forbid(t, "closed descriptor"))
		holdOpen(t, a)
		remove(t, el, a, ae.Readable)
		mustClose(t, a)
		send(t, b, "x")
		if n := runFor(t, el, 10*time.Millisecond); n > 3 {
			t.Errorf("%d iterations in 10 ms: the loop spins", n)
		}
	}},
	{"OldFileHeldByADupWithoutDelete", "a descriptor closed without DeleteFileEvent, whose number comes back, cannot reach the new registration nor spin the loop", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		create(t, el, a, ae.Readable, forbid(t, "the closed file's proc"))
		holdOpen(t, a)
		mustClose(t, a)
		r, w := pipe(t)
		if r != a {
			if err := dupTo(r, a); err != nil {
				t.Fatal(err)
			}
			closeLater(t, a)
		}
		got := 0
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			s, _ := receive(a)
			got += len(s)
			if s == "" {
				t.Error("called for an event of the old file")
			}
		})
		send(t, b, "stale")
		if n := runFor(t, el, 10*time.Millisecond); n > 4 {
			t.Errorf("%d iterations in 10 ms: the loop spins", n)
		}
		send(t, w, "fresh")
		until(t, el, func() bool { return got > 0 })
		if got != len("fresh") {
			t.Errorf("read %d bytes", got)
		}
	}},
	{"PartOfAClosedFileDeleted", "half of a registration deleted after the close, while a dup holds the file, does not spin the loop", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		fill(t, a)
		create(t, el, a, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		holdOpen(t, a)
		mustClose(t, a)
		remove(t, el, a, ae.Readable)
		send(t, b, "x")
		if n := runFor(t, el, 20*time.Millisecond); n > 5 {
			t.Errorf("%d iterations in 20 ms: the loop spins", n)
		}
	}},
	{"ReusedWithoutDeleteStartsAnew", "a number that was closed without DeleteFileEvent, and is registered for another file, leaves nothing of the old registration", func(t *testing.T) {
		el := newLoop(t)
		a, _ := socketPair(t)
		create(t, el, a, ae.Readable|ae.Writable, forbid(t, "the closed file's proc"))
		fresh, peer := socketPair(t)
		mustClose(t, a)
		if err := dupTo(fresh, a); err != nil {
			t.Fatal(err)
		}
		closeLater(t, a)
		calls := 0
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { calls++ })
		send(t, peer, "x")
		poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"ClosedBehindTheLoopsBack", "a descriptor closed without DeleteFileEvent does not spin the loop, fail it, or keep others from it", func(t *testing.T) {
		el := newLoop(t)
		a, _ := socketPair(t)
		r, w := pipe(t)
		calls := 0
		create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
			calls++
			if _, err := anet.Read(fd, make([]byte, 1)); !errors.Is(err, unix.EBADF) {
				t.Errorf("called for a closed descriptor that reads %v", err)
			}
		})
		got := false
		create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { receive(r); got = true })
		mustClose(t, a)
		if n := runFor(t, el, 10*time.Millisecond); n > 4 || calls > 1 {
			t.Errorf("%d iterations, %d calls in 10 ms", n, calls)
		}
		send(t, w, "x")
		until(t, el, func() bool { return got })
		remove(t, el, a, ae.Readable)
	}},
}

// crossPairs is the size of the cross-close test: libuv's 2,500 pairs, or what
// the backend and the limit on descriptors allow.
func crossPairs(t testing.TB) int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	n := min(2500, (int(min(lim.Cur, 1<<20))-100)/2)
	if ae.APIName() == "select" {
		n = min(n, 100)
	}
	return n
}

// holdOpen keeps the open file of fd alive beyond its close, as a child process
// that inherited it would.
func holdOpen(t testing.TB, fd int) {
	t.Helper()
	held, err := dupAbove(fd, fd+50)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, held)
}

// reuseInBatch has two descriptors ready in one batch. Whichever proc runs
// first closes the other one, puts an idle descriptor at its number and registers
// that: the event which the batch still holds must not reach it.
func reuseInBatch(t *testing.T, mask ae.Mask, ready func(testing.TB) int) {
	el := newLoop(t)
	var fds [2]int
	reused := false
	for i := range fds {
		fds[i] = ready(t)
	}
	for i := range fds {
		create(t, el, fds[i], mask, func(*ae.EventLoop, int, ae.Mask) {
			if reused {
				t.Error("the proc of a closed descriptor ran")
				return
			}
			reused = true
			remove(t, el, fds[i], mask)
			other := fds[1-i]
			idle := idleFor(t, mask)
			remove(t, el, other, mask)
			mustClose(t, other)
			if err := dupTo(idle, other); err != nil {
				t.Fatal(err)
			}
			closeLater(t, other)
			create(t, el, other, mask, forbid(t, "the new owner of a reused number"))
		})
	}
	until(t, el, func() bool { return reused })
	poll(t, el)
	poll(t, el)
}

// idleFor returns a descriptor that is not ready for mask.
func idleFor(t testing.TB, mask ae.Mask) int {
	t.Helper()
	a, _ := socketPair(t)
	if mask == ae.Writable {
		fill(t, a)
	}
	return a
}

// fill writes to fd until it has no room, and returns how much that took.
func fill(t testing.TB, fd int) int {
	t.Helper()
	junk := make([]byte, 64<<10)
	for total := 0; ; {
		n, err := anet.Write(fd, junk)
		if err == anet.ErrWouldBlock {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
}

var hangupPromises = []promise{
	{"ResetReachesTheReader", "a reset comes to the readable proc, and the read tells ECONNRESET", func(t *testing.T) {
		el := newLoop(t)
		a, b := tcpPair(t)
		var got error
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			_, got = receive(a)
			remove(t, el, a, ae.Readable)
		})
		reset(t, b)
		until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", got)
		}
	}},
	// pitfall 3: bun#37928, seastar#1785
	{"ResetReachesAWriterThatDoesNotRead", "a reset wakes a proc that is registered for Writable only, even if the socket had no room", func(t *testing.T) {
		el := newLoop(t)
		a, b := tcpPair(t)
		fill(t, a)
		var got error
		create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
			if _, err := anet.Write(a, []byte("x")); err != nil && err != anet.ErrWouldBlock {
				got = err
				remove(t, el, a, ae.Writable)
			}
		})
		reset(t, b)
		until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNRESET) && !errors.Is(got, unix.EPIPE) {
			t.Errorf("write: %v, want ECONNRESET or EPIPE", got)
		}
	}},
	{"ResetWithoutInterestDoesNotSpin", "a descriptor without a registration cannot wake the loop, whatever happens to it", func(t *testing.T) {
		el := newLoop(t)
		a, b := tcpPair(t)
		create(t, el, a, ae.Readable|ae.Writable, forbid(t, "no interest"))
		remove(t, el, a, ae.Readable|ae.Writable)
		reset(t, b)
		if n := runFor(t, el, 50*time.Millisecond); n > 4 {
			t.Errorf("%d iterations in 50 ms", n)
		}
	}},
}
