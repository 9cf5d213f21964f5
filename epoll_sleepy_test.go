//go:build linux && !ae_select

package ae

import (
	"testing"

	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

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
