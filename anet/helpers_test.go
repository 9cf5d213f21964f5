package anet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// onLinux reports whether sys_linux.go is built in: sockets never wait, and
// nothing allocates.
const onLinux = runtime.GOOS == "linux" || runtime.GOOS == "android"

// pollFor is what to poll fd for. The type of Events is not the same
// everywhere, but constants fit.
func pollFor(fd int, events int16) []unix.PollFd {
	pfd := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	if events == unix.POLLOUT {
		pfd.Events = unix.POLLOUT
	}
	return []unix.PollFd{pfd}
}

// isReadable asks poll, without waiting, and allocates nothing.
func isReadable(fd int) (bool, error) {
	pfd := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(pfd[:], 0)
	if err == unix.EINTR {
		err = nil
	}
	return n > 0, err
}

// await waits until poll reports events, POLLIN or POLLOUT, on fd.
func await(t testing.TB, fd int, events int16) {
	t.Helper()
	pfd := pollFor(fd, events)
	for deadline := time.Now().Add(testutil.Patience); time.Now().Before(deadline); {
		// Short waits: a goroutine that a lost wake-up left behind on this one's P, as
		// happens in emulators, gets to run between two of them.
		n, err := unix.Poll(pfd, 100)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal("poll:", err)
		}
		if n == 1 {
			return
		}
	}
	t.Fatalf("descriptor %d is not ready for %#x after %v", fd, events, testutil.Patience)
}

// within fails the test if f is not done in time. A call that waits in the
// kernel for ever cannot be ended: so it is reported and left behind.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()

	select {
	case <-done:
	case <-time.After(testutil.Patience):
		t.Fatalf("%s has not returned after %v", what, testutil.Patience)
	}
}

// must passes a descriptor on and closes it at the end of the test.
func must(t testing.TB) func(fd int, err error) int {
	return func(fd int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, fd)
		return fd
	}
}

// owned says which descriptors the running test is still to close.
var owned sync.Map

func closeAtEnd(t testing.TB, fds ...int) {
	for _, fd := range fds {
		token := new(byte)
		owned.Store(fd, token)
		t.Cleanup(func() {
			if owned.CompareAndDelete(fd, token) {
				Close(fd)
			}
		})
	}
}

// closeNow closes what closeAtEnd would have closed.
func closeNow(t testing.TB, fd int) {
	t.Helper()
	owned.Delete(fd)
	if err := Close(fd); err != nil && (onLinux || err != unix.ECONNRESET) {
		t.Fatal(err)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// accepted waits for a connection and accepts it.
func accepted(t testing.TB, ln int) (int, netip.AddrPort) {
	t.Helper()
	await(t, ln, unix.POLLIN)
	fd, peer, err := Accept(ln)
	if err != nil {
		t.Fatal("accept:", err)
	}
	closeAtEnd(t, fd)
	return fd, peer
}

// connected connects to the listener ln at address, and returns both ends.
func connected(t testing.TB, ln int, network, address string) (client, server int) {
	t.Helper()
	client = must(t)(Connect(network, address))
	server, _ = accepted(t, ln)
	await(t, client, unix.POLLOUT)
	noError(t, SocketError(client))
	return client, server
}

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t testing.TB) (client, server int) {
	t.Helper()
	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	return connected(t, ln, "tcp4", LocalString(ln))
}

func socketPairT(t testing.TB) (a, b int) {
	t.Helper()
	a, b, err := SocketPair()
	noError(t, err)
	closeAtEnd(t, a, b)
	return a, b
}

func pipeT(t testing.TB, rflags, wflags int) (r, w int) {
	t.Helper()
	r, w, err := PipeFlags(rflags, wflags)
	noError(t, err)
	closeAtEnd(t, r, w)
	return r, w
}

// openDescriptors lists this process's descriptors with what they are open on.
func openDescriptors() (list []string, err error) {
	dir := "/dev/fd"
	if runtime.GOOS == "linux" {
		dir = "/proc/self/fd"
	}

	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			list = append(list, e.Name()+" "+target)
		}
	}
	slices.Sort(list)
	return list, err
}

// noLeak returns a function that fails the test if the open descriptors are not
// those of now.
func noLeak(t testing.TB) (check func()) {
	t.Helper()
	before, err := openDescriptors()
	noError(t, err)
	return func() {
		t.Helper()
		if after, err := openDescriptors(); err != nil || !slices.Equal(before, after) {
			t.Errorf("open descriptors before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
}

// wantFlags checks that fd is non-blocking and close-on-exec.
func wantFlags(t testing.TB, what string, fd int) {
	t.Helper()
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || fl&unix.O_NONBLOCK == 0 {
		t.Errorf("%s: not non-blocking: flags %#x, %v", what, fl, err)
	}
	fdfl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || fdfl&unix.FD_CLOEXEC == 0 {
		t.Errorf("%s: not close-on-exec: flags %#x, %v", what, fdfl, err)
	}
}

func wantIs(t testing.TB, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: error %v, want %v", what, err, target)
	}
}

// shortDir is a temporary directory whose path leaves room for a socket's name.
// t.TempDir's may not.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "anet")
	noError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// childVar names the part of a test that this binary plays when a test has
// started it again.
const childVar = "ANET_TEST_CHILD"

// children are these parts.
var children = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		if err := children[name](); err != nil {
			fmt.Println("child failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}

	os.Exit(m.Run())
}

// emulated reports whether this binary runs under an emulator, which AE_EXEC
// names: GOARCH=arm64 AE_EXEC=qemu-aarch64 go test -exec qemu-aarch64.
var emulated = os.Getenv("AE_EXEC") != ""

// self is the command that starts this binary again: behind the emulator, which
// the kernel does not know of.
func self(t testing.TB) []string {
	t.Helper()
	path, err := os.Executable()
	noError(t, err)
	return append(strings.Fields(os.Getenv("AE_EXEC")), path)
}

// runChild starts this binary again in the part name, behind the command
// prefix, and returns what it printed.
func runChild(t testing.TB, name string, prefix ...string) string {
	t.Helper()
	args := append(slices.Clone(prefix), self(t)...)
	cmd := exec.Command(args[0], args[1:]...)
	// Under -race a process sleeps a second before it exits, unless told not
	// to.
	cmd.Env = append(os.Environ(), childVar+"="+name, "GORACE=atexit_sleep_ms=0")
	timer := time.AfterFunc(3*testutil.Patience, func() { cmd.Process.Kill() })
	defer timer.Stop()

	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("child %s: %v\n%s", name, err, out)
	}
	return string(out)
}
