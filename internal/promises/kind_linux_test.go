package promises_test

import (
	"errors"
	"os"
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// What epoll refuses, and what it takes, on Linux; select takes all that is
// no file or directory. pitfall 14
func TestWhichDescriptorsLinuxCanWatch(t *testing.T) {
	open := func(path string, flags int) func() (int, error) {
		return func() (int, error) { return unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) }
	}
	for _, c := range []struct {
		name  string
		open  func() (int, error)
		epoll error // nil if it can be watched
		mask  ae.Mask
	}{
		{"/dev/null", open("/dev/null", unix.O_RDWR), unix.EPERM, ae.Writable},
		{"/dev/zero", open("/dev/zero", unix.O_RDONLY), unix.EPERM, ae.Readable},
		{"/dev/urandom", open("/dev/urandom", unix.O_RDONLY), unix.EPERM, ae.Readable},
		{"terminal", open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), nil, ae.Writable},
		{"eventfd", func() (int, error) { return unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) }, nil, ae.Readable},
		{"timerfd", func() (int, error) {
			return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
		}, nil, ae.None},
		{"epoll in epoll", func() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) }, nil, ae.None},
		{"inotify", func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) }, nil, ae.None},
		{"unconnected socket", func() (int, error) {
			return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}, nil, ae.Writable},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := c.open()
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
				t.Skipf("this system has no %s: %v", c.name, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, fd)
			el := aetest.Loop(t)
			called := ae.None
			mask := c.mask
			if mask == ae.None {
				mask = ae.Readable
			}
			err = el.CreateFileEvent(fd, mask, func(_ *ae.EventLoop, _ int, mask ae.Mask) { called |= mask })
			if ae.APIName() == "epoll" && c.epoll != nil {
				if !errors.Is(err, c.epoll) || el.FileEvents(fd) != ae.None {
					t.Errorf("error %v, want %v; mask %d", err, c.epoll, el.FileEvents(fd))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			aetest.Poll(t, el)
			if called != c.mask {
				t.Errorf("called for %d, want %d", called, c.mask)
			}
		})
	}
}
