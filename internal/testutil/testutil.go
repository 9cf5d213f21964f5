// Package testutil is what the tests of several packages share and what needs
// nothing of the module itself, so that the tests inside anet can import it too.
package testutil

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a test waits for what must happen. It is long because
// machines are slow at times; no test waits for it to pass. AE_PATIENCE makes it
// shorter where failures are expected.
var Patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("AE_PATIENCE")); err == nil {
		return d
	}
	return 20 * time.Second
}()

// Deadline is when a test that begins to wait now gives up.
func Deadline() time.Time { return time.Now().Add(Patience) }

// Within runs fn, which must return in time: a test that waits in the kernel
// cannot be ended, so the process is, with all its stacks.
func Within(t testing.TB, fn func()) {
	t.Helper()
	defer Guard(t, Patience, "waited in vain")()
	fn()
}

// Guard ends the process, saying why, unless stop is called within d.
func Guard(t testing.TB, d time.Duration, why string) (stop func() bool) {
	return time.AfterFunc(d, func() { panic(fmt.Sprintf("%s, after %v: %s", t.Name(), d, why)) }).Stop
}

// Long reports whether AE_LONG asks for the tests in full.
func Long() bool { return os.Getenv("AE_LONG") != "" }

// GoroutinesComeTo waits until there are no more than n goroutines.
func GoroutinesComeTo(t testing.TB, n int) {
	t.Helper()
	for end := Deadline(); runtime.NumGoroutine() > n; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), n, buf[:runtime.Stack(buf, true)])
		}
	}
}

// Heap returns how many bytes of the heap are in use after a collection.
func Heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what has a finalizer goes the second time
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// SkipUnlessCI is for what only some machines can do. Where CI is set, everything that
// the tests need is there, and to skip would be to fool oneself.
func SkipUnlessCI(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI must not skip: "+format, args...)
	}
	t.Skipf(format, args...)
}

// owned has, by descriptor, a token of the test that is to close it.
var owned sync.Map

// CloseLater closes descriptors when the test ends. A test that closes one itself
// says so with CloseNow: the number may be somebody else's by then.
func CloseLater(t testing.TB, fds ...int) {
	for _, fd := range fds {
		token := new(byte)
		owned.Store(fd, token)
		t.Cleanup(func() {
			if owned.CompareAndDelete(fd, token) {
				unix.Close(fd)
			}
		})
	}
}

// CloseNow closes a descriptor of CloseLater within the test.
func CloseNow(t testing.TB, fd int) {
	t.Helper()
	owned.Delete(fd)
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// IsOpen reports whether fd names a file.
func IsOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// OpenDescriptors returns which of the first 4096 descriptors are open.
func OpenDescriptors() []int {
	var open []int
	for fd := range 4096 {
		if IsOpen(fd) {
			open = append(open, fd)
		}
	}
	return open
}

// StartPoller has the Go runtime open what its own poller needs, which it does once
// and does not close. It is for who counts descriptors and uses package net as well.
func StartPoller() { startPoller() }

var startPoller = sync.OnceFunc(func() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.SetReadDeadline(time.Now())
	r.Close()
	w.Close()
})

// NoLeak returns a function that fails the test if other descriptors are open by
// then than now.
func NoLeak(t testing.TB) (check func()) {
	before := OpenDescriptors()
	names := describe(before)
	return func() {
		t.Helper()
		if after := OpenDescriptors(); !slices.Equal(before, after) {
			t.Errorf("open descriptors, before:\n%s\nafter:\n%s", names, describe(after))
		}
	}
}

// describe says what descriptors are, where the system can tell.
func describe(fds []int) string {
	var b strings.Builder
	for _, fd := range fds {
		target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		fmt.Fprintf(&b, "\t%d %s\n", fd, target)
	}
	return b.String()
}

// DupAbove returns another number for the file of fd, the first free one from low
// on. It is close-on-exec, not from birth: not every system of ours can do that.
func DupAbove(fd, low int) (int, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, low)
	if err == nil {
		unix.CloseOnExec(high)
	}
	return high, err
}

// DupTo makes n another name for fd, as dup2(2) does, which not every system of
// ours has in x/sys. n must be free.
func DupTo(fd, n int) error {
	got, err := DupAbove(fd, n)
	if err == nil && got != n {
		unix.Close(got)
		err = unix.EEXIST
	}
	return err
}

// TakeAll takes all descriptors that this process may still have.
func TakeAll() (taken []int) {
	for {
		fd, err := DupAbove(0, 0)
		if err != nil {
			return taken
		}
		taken = append(taken, fd)
	}
}

// ShortDir is a directory whose name leaves room in the 104 bytes that some
// systems have for the path of a unix socket.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ae")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
