package anet

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns the two ends of a pseudo-terminal, non-blocking.
func terminal(t testing.TB) (master, slave int) {
	t.Helper()
	master = must(t)(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0))
	noError(t, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	noError(t, err)
	slave = must(t)(unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0))
	return master, slave
}

func TestTerminals(t *testing.T) {
	master, slave := terminal(t)

	within(t, "Read from a silent terminal", func() {
		if _, err := Read(slave, make([]byte, 8)); err != ErrWouldBlock {
			t.Error(err)
		}
	})

	writeAll(t, master, func(p []byte) (int, error) { return Write(master, p) }, []byte("line\n"))
	await(t, slave, unix.POLLIN)
	buf := make([]byte, 16)
	if n, err := Read(slave, buf); err != nil || string(buf[:n]) != "line\n" {
		t.Errorf("read %q, %v", buf[:n], err)
	}

	for _, chunk := range []int{1, 100, 5000} {
		p := make([]byte, chunk)
		for i := range p {
			p[i] = '\n'
		}
		within(t, "filling a terminal", func() { fill(t, slave, p) })
		readUntilWouldBlock(t, master)
	}
}

func readUntilWouldBlock(t testing.TB, fd int) {
	buf := make([]byte, 1<<16)
	for {
		if _, err := Read(fd, buf); err != nil {
			if err != ErrWouldBlock {
				t.Error(err)
			}
			return
		}
	}
}

func TestEventfdsAndFilesReadAndWrite(t *testing.T) {
	fd := must(t)(unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC))
	within(t, "an eventfd", func() {
		if _, err := Read(fd, make([]byte, 8)); err != ErrWouldBlock {
			t.Errorf("Read at zero: %v", err)
		}
		if n, err := Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); n != 8 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if n, err := Read(fd, make([]byte, 8)); n != 8 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
	})

	path := filepath.Join(t.TempDir(), "file")
	noError(t, os.WriteFile(path, []byte("0123456789"), 0o600))
	fd = must(t)(unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0))
	if got := readN(t, fd, 10); string(got) != "0123456789" {
		t.Errorf("read %q from a file", got)
	}
	if n, err := Write(fd, []byte("more")); n != 4 || err != nil {
		t.Errorf("Write to a file: %d, %v", n, err)
	}

	dir := must(t)(unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_CLOEXEC, 0))
	if _, err := Read(dir, make([]byte, 8)); !errors.Is(err, unix.EISDIR) {
		t.Errorf("Read of a directory: %v", err)
	}
}

func TestASocketOfAnotherKindHasNoAddress(t *testing.T) {
	fd := must(t)(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE))
	if s := LocalString(fd); s != "?" {
		t.Errorf("LocalString: %q", s)
	}
	if addr, err := LocalAddr(fd); addr.IsValid() || err != nil {
		t.Errorf("LocalAddr: %v, %v", addr, err)
	}
}

// Go itself survives a SIGPIPE, but who asked for signals would get it, and a C
// program that this is linked into ends.
func TestASocketWhosePeerIsGoneRaisesNoSignal(t *testing.T) {
	a, b := socketPairT(t)
	closeNow(t, b)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGPIPE, unix.SIGWINCH)
	defer signal.Stop(signals)

	if _, err := Write(a, []byte("x")); err != unix.EPIPE {
		t.Error(err)
	}
	if _, err := Writev(a, [][]byte{[]byte("x")}); err != unix.EPIPE {
		t.Error(err)
	}
	noError(t, unix.Kill(unix.Getpid(), unix.SIGWINCH)) // of two pending signals, Go reports the smaller number first
	if s := <-signals; s != unix.SIGWINCH {
		t.Errorf("signal: %v", s)
	}
}
