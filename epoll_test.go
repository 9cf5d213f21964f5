//go:build linux && !ae_select

package ae

import (
	"errors"
	"os"
	"testing"

	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// epollLoop returns a loop, its poller, and a connected pair.
func epollLoop(t *testing.T) (el *EventLoop, e *epoll, a, b int) {
	t.Helper()
	el, err := New(1024)
	if err != nil {
		t.Fatal(err)
	}
	a, b, err = anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { el.Close(); unix.Close(a); unix.Close(b) })
	return el, el.backend.(*epoll), a, b
}

func look(t *testing.T, el *EventLoop) int {
	t.Helper()
	n, err := el.ProcessEvents(AllEvents | DontWait)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A new poller is the last resort, for files that cannot be named any more. A
// delete that was in time must never need it.
func TestDeletedDescriptorsLeaveThePollerInPeace(t *testing.T) {
	el, e, a, b := epollLoop(t)
	if err := el.CreateFileEvent(a, Readable|Writable, func(*EventLoop, int, Mask) {}); err != nil {
		t.Fatal(err)
	}
	el.DeleteFileEvent(a, Readable|Writable)
	unix.Shutdown(b, unix.SHUT_RDWR)
	before := e.fd
	if n := look(t, el); n != 0 || e.fd != before {
		t.Errorf("%d calls; the poller was %d and is %d", n, before, e.fd)
	}
}

// Nor must a delete of one event: the kernel has to know of it.
func TestDeletedEventsLeaveThePollerInPeace(t *testing.T) {
	el, e, a, _ := epollLoop(t)
	if err := el.CreateFileEvent(a, Readable|Writable, func(*EventLoop, int, Mask) {}); err != nil {
		t.Fatal(err)
	}
	el.DeleteFileEvent(a, Writable)
	before := e.fd
	if n := look(t, el); n != 0 || e.fd != before {
		t.Errorf("%d calls; the poller was %d and is %d", n, before, e.fd)
	}
}

// After a close without a delete the number is another file's, and what is
// registered for it is the new owner's alone.
func TestAReusedNumberStartsAnew(t *testing.T) {
	el, _, a, _ := epollLoop(t)
	if err := el.CreateFileEvent(a, Readable|Writable, func(_ *EventLoop, _ int, mask Mask) {
		t.Errorf("the old owner was called for %d", mask)
	}); err != nil {
		t.Fatal(err)
	}
	r, w, err := anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w)
	unix.Dup3(r, a, unix.O_CLOEXEC) // closes a
	unix.Close(r)

	got := 0
	if err := el.CreateFileEvent(a, Readable, func(*EventLoop, int, Mask) { got++ }); err != nil {
		t.Fatal(err)
	}
	if m := el.FileEvents(a); m != Readable {
		t.Errorf("registered for %d, want Readable", m)
	}
	anet.Write(w, []byte("x"))
	if look(t, el); got != 1 {
		t.Errorf("the new owner was called %d times", got)
	}
}

// The registrations of a poller that was given up are all in the next one,
// except those whose descriptor is gone.
func TestANewPollerKnowsEverybody(t *testing.T) {
	el, e, a, b := epollLoop(t)
	calls := map[int]Mask{}
	note := func(_ *EventLoop, fd int, mask Mask) { calls[fd] |= mask }
	gone, _, err := anet.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{a, b, gone} {
		if err := el.CreateFileEvent(fd, Readable, note); err != nil {
			t.Fatal(err)
		}
	}
	if err := el.CreateFileEvent(b, Writable, note); err != nil {
		t.Fatal(err)
	}
	unix.Close(gone)
	before := e.fd
	e.rebuild()
	if e.fd == before {
		t.Fatal("there is no new poller")
	}

	anet.Write(b, []byte("x"))
	look(t, el)
	if calls[a] != Readable || calls[b] != Writable || len(calls) != 2 {
		t.Errorf("calls %v", calls)
	}
	el.door.sleep(el)
	el.Post(func(*EventLoop) {})
	el.door.awake()
	if m, err := Wait(e.fd, Readable, 0); m != Readable || err != nil {
		t.Errorf("the new poller does not see the loop's own pipe: %d, %v", m, err)
	}
}

func TestThePollersOwnDescriptorCannotBeWatched(t *testing.T) {
	el, e, _, _ := epollLoop(t)
	if err := el.CreateFileEvent(e.fd, Readable, func(*EventLoop, int, Mask) {}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v", err)
	}
}

func TestANewPollerIsCloseOnExec(t *testing.T) {
	_, e, _, _ := epollLoop(t)
	e.rebuild()
	if flags, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

// A number that was closed without a delete and reused is no reason to keep the
// old poller, nor to watch the new owner, be it a regular file or not.
func TestANewPollerLeavesOutReusedNumbers(t *testing.T) {
	el, e, a, b := epollLoop(t)
	if err := el.CreateFileEvent(a, Readable, func(*EventLoop, int, Mask) { t.Error("the old owner was called") }); err != nil {
		t.Fatal(err)
	}
	if err := el.CreateFileEvent(b, Readable, func(*EventLoop, int, Mask) { t.Error("the old owner was called") }); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := anet.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r)
	defer unix.Close(w)
	unix.Dup3(int(file.Fd()), a, unix.O_CLOEXEC) // closes a
	unix.Dup3(r, b, unix.O_CLOEXEC)

	before := e.fd
	if e.rebuild(); e.fd == before {
		t.Error("there is no new poller")
	}
	anet.Write(w, []byte("x"))
	if n := look(t, el); n != 0 || el.FileEvents(a)|el.FileEvents(b) != None {
		t.Errorf("%d calls; registered for %d and %d", n, el.FileEvents(a), el.FileEvents(b))
	}
}

// One descriptor whose poll may sleep takes every poll off the raw path, so the
// loop must know when the last of them has gone, however it went. (An eventfd is
// none, but the loop knows only of sockets and pipes that they are none.)
func TestTheLoopIsBackOnTheRawPathWithoutSleepers(t *testing.T) {
	el, e, a, b := epollLoop(t)
	ignore := func(*EventLoop, int, Mask) {}
	eventfd := func() int {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	watch := func(fd int, mask Mask) {
		t.Helper()
		if err := el.CreateFileEvent(fd, mask, ignore); err != nil {
			t.Fatal(err)
		}
	}
	want := func(n int, when string) {
		t.Helper()
		if e.sleepy != n {
			t.Errorf("%s: %d registrations may sleep, want %d", when, e.sleepy, n)
		}
	}

	r, w, err := anet.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w)
	watch(a, Readable|Writable)
	watch(r, Readable)
	want(0, "a socket and a pipe")

	fd := eventfd()
	watch(fd, Readable)
	watch(fd, Writable)
	want(1, "watched for both events")
	el.DeleteFileEvent(fd, Writable)
	want(1, "one event deleted")
	el.DeleteFileEvent(fd, Readable)
	want(0, "both events deleted")
	watch(fd, Readable)
	want(1, "watched again")
	unix.Dup3(r, fd, unix.O_CLOEXEC) // closes the eventfd
	el.DeleteFileEvent(r, Readable)
	unix.Close(r)
	watch(fd, Readable)
	want(0, "the number belongs to a pipe")
	el.DeleteFileEvent(fd, Readable)
	unix.Close(fd)

	free := eventfd() // where a new poller goes, and not to the number of the next one
	fd = eventfd()
	watch(fd, Readable)
	unix.Close(free)
	unix.Close(fd)
	watch(b, Readable)
	for range 2 {
		if !e.rebuild() {
			t.Fatal("there is no new poller")
		}
	}
	want(1, "closed without a delete")
	if len(e.lost) != 1 || e.lost[0] != fd {
		t.Errorf("lost: %d, want %d, once", e.lost, fd)
	}
	look(t, el)
	want(0, "found to be lost")

	fd = eventfd()
	defer unix.Close(fd)
	watch(fd, Readable)
	unix.Dup3(w, fd, unix.O_CLOEXEC) // closes the eventfd
	e.rebuild()
	want(1, "reused, and known to be lost")
	watch(fd, Readable)
	want(0, "the pipe is watched in its place")
	if look(t, el); el.FileEvents(fd) != Readable {
		t.Error("what is lost took with it what is watched")
	}
}
