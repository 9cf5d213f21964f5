package promises_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

var stalePromises = []promise{
	{"OneOfTwoEventsRegisteredAnewInOneBatch", "an event polled for a deleted registration does not reach a new one of the same descriptor", func(t *testing.T) {
		el := aetest.Loop(t)
		var fds [2]int
		replaced := false
		for i := range fds {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			fds[i] = a
		}
		late := 0
		for i, fd := range fds {
			aetest.Create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				if replaced {
					t.Error("the deleted proc ran")
					return
				}
				replaced = true
				other := fds[1-i]
				aetest.Delete(t, el, other, ae.Readable)
				aetest.Create(t, el, other, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { late++ })
				aetest.Delete(t, el, fd, ae.Readable)
			})
		}
		aetest.Poll(t, el)
		if !replaced || late != 0 {
			t.Errorf("replaced %v; the new proc ran %d times in the batch that was polled before it", replaced, late)
		}
		aetest.Poll(t, el)
		if late != 1 {
			t.Errorf("the new proc ran %d times after the next poll, want 1", late)
		}
	}},
	// libuv's watcher_cross_stop
	{"OneCallbackClosesAllOthers", "when one callback of a batch deletes and closes all other descriptors, no other runs", func(t *testing.T) {
		el := aetest.Loop(t)
		var fds []int
		calls := 0
		for range crossPairs(t) {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			fds = append(fds, a)
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				calls++
				for _, fd := range fds {
					aetest.Delete(t, el, fd, ae.Readable)
					testutil.CloseNow(t, fd)
				}
			})
		}
		aetest.Poll(t, el)
		aetest.Poll(t, el)
		if calls != 1 {
			t.Errorf("%d callbacks ran, want 1", calls)
		}
	}},
	// pitfall 2: libuv#1099, libevent c281aba3
	{"OldFileHeldByADupAfterDelete", "after DeleteFileEvent and close nothing is reported, though a dup holds the file and its peer writes", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "closed descriptor"))
		holdOpen(t, a)
		aetest.Delete(t, el, a, ae.Readable)
		testutil.CloseNow(t, a)
		aetest.Send(t, b, "x")
		aetest.Sleeps(t, el)
	}},
	{"OldFileHeldByADupWithoutDelete", "a descriptor closed without DeleteFileEvent, whose number comes back, cannot reach the new registration nor spin the loop", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "the closed file's proc"))
		holdOpen(t, a)
		testutil.CloseNow(t, a)
		r, w := aetest.Pipe(t)
		if r != a {
			if err := testutil.DupTo(r, a); err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, a)
		}
		got := 0
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			s, _ := aetest.Receive(a)
			got += len(s)
			if s == "" {
				t.Error("called for an event of the old file")
			}
		})
		aetest.Send(t, b, "stale")
		aetest.Sleeps(t, el)
		aetest.Send(t, w, "fresh")
		aetest.Until(t, el, func() bool { return got > 0 })
		if got != len("fresh") {
			t.Errorf("read %d bytes", got)
		}
	}},
	{"PartOfAClosedFileDeleted", "half of a registration deleted after the close, while a dup holds the file, does not spin the loop", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Fill(t, a)
		aetest.Create(t, el, a, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		holdOpen(t, a)
		testutil.CloseNow(t, a)
		aetest.Delete(t, el, a, ae.Readable)
		aetest.Send(t, b, "x")
		aetest.Sleeps(t, el)
	}},
	{"ReusedWithoutDeleteStartsAnew", "a number that was closed without DeleteFileEvent, and is registered for another file, leaves nothing of the old registration", func(t *testing.T) {
		el := aetest.Loop(t)
		a, _ := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Readable|ae.Writable, aetest.Forbid(t, "the closed file's proc"))
		fresh, peer := aetest.SocketPair(t)
		testutil.CloseNow(t, a)
		if err := testutil.DupTo(fresh, a); err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, a)
		calls := 0
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { calls++ })
		aetest.Send(t, peer, "x")
		aetest.Poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"ClosedBehindTheLoopsBack", "a descriptor closed without DeleteFileEvent does not spin the loop, fail it, or keep others from it", func(t *testing.T) {
		el := aetest.Loop(t)
		a, _ := aetest.SocketPair(t)
		r, w := aetest.Pipe(t)
		calls := 0
		aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
			calls++
			if _, err := anet.Read(fd, make([]byte, 1)); !errors.Is(err, unix.EBADF) {
				t.Errorf("called for a closed descriptor that reads %v", err)
			}
		})
		got := false
		aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(r); got = true })
		testutil.CloseNow(t, a)
		if n := aetest.RunFor(t, el, 10*time.Millisecond); n > 4 || calls > 1 {
			t.Errorf("%d iterations, %d calls in 10 ms", n, calls)
		}
		aetest.Send(t, w, "x")
		aetest.Until(t, el, func() bool { return got })
		aetest.Delete(t, el, a, ae.Readable)
	}},
	// What finds out is the search after EBADF with select, and the move to a new
	// instance with epoll: it gets rid of a file that is closed and still held. A
	// kqueue forgets what is closed by itself and tells nobody.
	{"ClosedBehindTheLoopsBackIsForgotten", "once the loop can know that a descriptor was closed without DeleteFileEvent, FileEvents says None, and its number serves another", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		gone, _ := aetest.SocketPair(t)
		fresh, peer := aetest.SocketPair(t)
		calls := 0
		aetest.Create(t, el, gone, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) { calls++ })
		aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "the closed descriptor"))
		holdOpen(t, a)
		testutil.CloseNow(t, a)
		aetest.Delete(t, el, a, ae.Readable)
		testutil.CloseNow(t, gone)
		aetest.Send(t, b, "x")
		aetest.Sleeps(t, el)
		if m := el.FileEvents(gone); m != ae.None && ae.APIName() != "kqueue" {
			t.Errorf("registered for %d", m)
		}
		if want := map[string]int{"select": 2}[ae.APIName()]; calls != want { // once for each event
			t.Errorf("%d calls, want %d", calls, want)
		}

		if err := testutil.DupTo(fresh, gone); err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, gone)
		got := ""
		aetest.Create(t, el, gone, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = aetest.Receive(gone) })
		aetest.Send(t, peer, "y")
		aetest.Until(t, el, func() bool { return got == "y" })
	}},
	{"ClosedAndRegisteredAnewByItsOwnProc", "a proc that the loop calls for a descriptor which was closed may give its number to another, also in an iteration of its own", func(t *testing.T) {
		for _, nested := range []bool{false, true} {
			el := aetest.Loop(t)
			gone, _ := aetest.SocketPair(t)
			fresh, peer := aetest.SocketPair(t)
			got, anew := "", false
			register := func(*ae.EventLoop) {
				anew = true
				if err := testutil.DupTo(fresh, gone); err != nil {
					t.Fatal(err)
				}
				testutil.CloseLater(t, gone)
				aetest.Create(t, el, gone, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = aetest.Receive(gone) })
			}
			aetest.Create(t, el, gone, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				switch {
				case anew:
				case nested:
					el.Post(register)
					anew = true // the nested poll reports it too
					aetest.Poll(t, el)
				default:
					register(el)
				}
			})
			testutil.CloseNow(t, gone)
			if aetest.Poll(t, el); !anew { // the backend does not report it
				register(el)
			}
			if m := el.FileEvents(gone); m != ae.Readable {
				t.Errorf("nested %v: registered for %d", nested, m)
			}
			aetest.Send(t, peer, "y")
			aetest.Until(t, el, func() bool { return got == "y" })
		}
	}},
	{"ReusedNumberKeepsNothing", "a number that came back is watched for what is registered anew, and for nothing that its old file was", func(t *testing.T) {
		el := aetest.Loop(t)
		gone, _ := aetest.SocketPair(t)
		fresh, peer := aetest.SocketPair(t)
		aetest.Create(t, el, gone, ae.Readable|ae.Writable, aetest.Forbid(t, "closed"))
		testutil.CloseNow(t, gone)
		if err := testutil.DupTo(fresh, gone); err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, gone)
		if ae.APIName() == "kqueue" {
			aetest.Delete(t, el, gone, ae.Readable|ae.Writable) // FileEvents reports it until then
		}
		got := ""
		aetest.Create(t, el, gone, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = aetest.Receive(gone) })
		if m := el.FileEvents(gone); m != ae.Readable {
			t.Errorf("registered for %d", m)
		}
		aetest.Sleeps(t, el) // though there is room to write
		aetest.Send(t, peer, "y")
		aetest.Until(t, el, func() bool { return got == "y" })
	}},
	{"ClosedAndTheLoopIsClosedByItsProc", "such a proc may close the loop", func(t *testing.T) {
		el := aetest.Loop(t)
		gone, _ := aetest.SocketPair(t)
		aetest.Create(t, el, gone, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { el.Close() })
		testutil.CloseNow(t, gone)
		aetest.Poll(t, el)
		if err := el.Close(); err != nil && err != ae.ErrClosed {
			t.Error(err)
		}
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
	held, err := testutil.DupAbove(fd, fd+50)
	if err != nil {
		t.Fatal(err)
	}
	testutil.CloseLater(t, held)
}

// reuse is a way for a descriptor to be ready when its number is given away.
type reuse struct {
	name string
	mask ae.Mask
	do   func(t testing.TB, tr transport) (fd int)
}

var reuses = []reuse{
	{"NumberReusedForReading", ae.Readable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		aetest.Send(t, w, "x")
		return r
	}},
	{"NumberReusedForWriting", ae.Writable, func(t testing.TB, tr transport) int {
		w, _ := tr.open(t)
		return w
	}},
	{"NumberReusedAfterThePeerClosed", ae.Readable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		testutil.CloseNow(t, w)
		return r
	}},
	{"NumberReusedAfterTheReaderClosed", ae.Writable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		testutil.CloseNow(t, r)
		return w
	}},
}

// reusePromises is pitfall 1: joyent/libuv#826, golang/go#59545, redis#333.
func reusePromises() (rows []promise) {
	const says = "an event of a closed descriptor does not reach the next owner of its number in the batch"
	for _, u := range reuses {
		rows = append(rows, variants(u.name, says, true, func(t *testing.T, tr transport) {
			reuseInBatch(t, u.mask, func(t testing.TB) int {
				fd := u.do(t, tr)
				aetest.Arrives(t, fd, u.mask)
				return fd
			})
		})...)
	}
	rows = append(rows, promise{"NumberReusedAfterAReset", says, func(t *testing.T) {
		reuseInBatch(t, ae.Readable, func(t testing.TB) int {
			a, b := aetest.TCPPair(t)
			aetest.Reset(t, b)
			aetest.Arrives(t, a, ae.Readable)
			return a
		})
	}})
	for name, addr := range map[string]func(testing.TB) string{
		"Succeeded":  func(t testing.TB) string { return anet.LocalString(aetest.Listen(t)) },
		"WasRefused": aetest.ClosedPort,
	} {
		rows = append(rows, promise{"NumberReusedForAConnectThat" + name, says, func(t *testing.T) {
			reuseInBatch(t, ae.Writable, func(t testing.TB) int {
				fd := connecting(t, addr(t))
				aetest.Arrives(t, fd, ae.Writable)
				return fd
			})
		}})
	}
	return rows
}

// reuseInBatch has two descriptors ready in one batch. Whichever proc runs
// first closes the other one, puts an idle descriptor at its number and registers
// that: the event which the batch still holds must not reach it.
func reuseInBatch(t *testing.T, mask ae.Mask, ready func(testing.TB) int) {
	el := aetest.Loop(t)
	var fds [2]int
	reused := false
	for i := range fds {
		fds[i] = ready(t)
	}
	for i := range fds {
		aetest.Create(t, el, fds[i], mask, func(*ae.EventLoop, int, ae.Mask) {
			if reused {
				t.Error("the proc of a closed descriptor ran")
				return
			}
			reused = true
			aetest.Delete(t, el, fds[i], mask)
			other := fds[1-i]
			idle := idleFor(t, mask)
			aetest.Delete(t, el, other, mask)
			testutil.CloseNow(t, other)
			if err := testutil.DupTo(idle, other); err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, other)
			aetest.Create(t, el, other, mask, aetest.Forbid(t, "the new owner of a reused number"))
		})
	}
	aetest.Until(t, el, func() bool { return reused })
	aetest.Poll(t, el)
	aetest.Poll(t, el)
}

// idleFor returns a descriptor that is not ready for mask.
func idleFor(t testing.TB, mask ae.Mask) int {
	t.Helper()
	a, _ := aetest.SocketPair(t)
	if mask == ae.Writable {
		aetest.Fill(t, a)
	}
	return a
}

// heldPromises is pitfall 2, with a real child process: libuv#1099, libevent
// c281aba3.
var heldPromises = rowsOf(
	variants("ClosedButHeldByAChild", "after a delete and a close nothing is reported, though a child process holds the file and its peer writes", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Create(t, el, r, ae.Readable, aetest.Forbid(t, "the closed descriptor"))
			testutil.HoldInChild(t, r)
			aetest.Delete(t, el, r, ae.Readable)
			testutil.CloseNow(t, r)
			aetest.Send(t, w, "x")
			aetest.Sleeps(t, el)
		}),
	variants("ClosedWithoutDeleteAndHeldByAChild", "without the delete too, once its number has another owner; and that one gets its own events only", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Create(t, el, r, ae.Readable, aetest.Forbid(t, "the closed descriptor"))
			testutil.HoldInChild(t, r)
			fresh, idle := aetest.Pipe(t)
			testutil.CloseNow(t, r)
			if err := testutil.DupTo(fresh, r); err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, r)
			got := ""
			aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, _ := aetest.Receive(r)
				if got += s; s == "" {
					t.Error("called for an event of the old file")
				}
			})
			aetest.Send(t, w, "stale")
			aetest.Sleeps(t, el)
			aetest.Send(t, idle, "fresh")
			aetest.Until(t, el, func() bool { return got == "fresh" })
		}),
	[]promise{{"OldFilesLeaveNoTrace", "getting rid of a closed file that a dup keeps alive leaks no descriptor and makes none that a child would inherit", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		got := ""
		aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = aetest.Receive(r) })
		a, b := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "the closed descriptor"))
		holdOpen(t, a)
		testutil.CloseNow(t, a)
		aetest.Delete(t, el, a, ae.Readable)
		before := testutil.OpenDescriptors()
		aetest.Send(t, b, "x")
		aetest.Sleeps(t, el)
		if after := testutil.OpenDescriptors(); len(after) != len(before) { // the numbers may differ
			t.Errorf("open descriptors %v, before %v", after, before)
		}
		for _, fd := range testutil.OpenDescriptors() {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 && fd > 2 && !slices.Contains(before, fd) {
				t.Errorf("descriptor %d is new and not close-on-exec", fd)
			}
		}
		aetest.Send(t, w, "still watched")
		aetest.Until(t, el, func() bool { return got == "still watched" })
	}}, {"ClosedWithoutDeleteAndOpenedAgain", "the same file, back at its number after a close without a delete, is watched again", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		held, err := testutil.DupAbove(a, a+50)
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, held)
		aetest.Create(t, el, a, ae.Readable, aetest.Forbid(t, "deleted"))
		testutil.CloseNow(t, a)
		aetest.Delete(t, el, a, ae.Readable) // too late: the poller cannot be told any more
		if err := testutil.DupTo(held, a); err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, a)
		got := ""
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = aetest.Receive(a) })
		aetest.Send(t, b, "x")
		aetest.Until(t, el, func() bool { return got == "x" })
	}}},
)
