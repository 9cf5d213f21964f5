package anet

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPipeFlagsAreThoseOfEachEnd(t *testing.T) {
	r, w, err := Pipe()
	noError(t, err)
	closeAtEnd(t, r, w)
	wantFlags(t, "the reading end", r)
	wantFlags(t, "the writing end", w)

	all := []int{0, unix.O_NONBLOCK, unix.O_CLOEXEC, unix.O_NONBLOCK | unix.O_CLOEXEC}
	for _, rflags := range all {
		for _, wflags := range all {
			r, w := pipeT(t, rflags, wflags)
			for fd, flags := range map[int]int{r: rflags, w: wflags} {
				nonblock, err := Nonblock(fd)
				noError(t, err)
				cloexec, err := CloseOnExec(fd)
				noError(t, err)
				if nonblock != (flags&unix.O_NONBLOCK != 0) || cloexec != (flags&unix.O_CLOEXEC != 0) {
					t.Errorf("asked for %#x, got non-blocking %v, close-on-exec %v", flags, nonblock, cloexec)
				}
			}
			if n, err := Write(w, []byte("x")); n != 1 || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
			if got := readN(t, r, 1); string(got) != "x" {
				t.Errorf("read %q", got)
			}
		}
	}

	check := noLeak(t)
	_, _, err = PipeFlags(unix.O_APPEND, 0)
	wantIs(t, "a flag that is none of the two", err, unix.EINVAL)
	check()
}

func TestFlagsChangeAndChangeBack(t *testing.T) {
	a, b := socketPairT(t)
	wantFlags(t, "a", a)
	wantFlags(t, "b", b)

	for _, on := range []bool{false, true, true} {
		noError(t, SetNonblock(a, on))
		noError(t, SetCloseOnExec(a, on))
		if got, err := Nonblock(a); got != on || err != nil {
			t.Errorf("Nonblock %v, %v; want %v", got, err, on)
		}
		if got, err := CloseOnExec(a); got != on || err != nil {
			t.Errorf("CloseOnExec %v, %v; want %v", got, err, on)
		}
	}
}

func TestIsFIFO(t *testing.T) {
	dir := t.TempDir()
	fifo, file, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := unix.Mknod(fifo, unix.S_IFIFO|0o600, 0); err != nil {
		t.Fatal(err)
	}
	noError(t, os.WriteFile(file, nil, 0o600))
	noError(t, os.Symlink(fifo, link))

	for path, want := range map[string]bool{fifo: true, link: true, file: false, dir: false} {
		if got, err := IsFIFO(path); got != want || err != nil {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	_, err := IsFIFO(filepath.Join(dir, "nothing"))
	wantIs(t, "nothing", err, os.ErrNotExist)
}
