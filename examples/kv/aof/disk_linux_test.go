package aof

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aeloop/ae/examples/internal/resp/resptest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// limitFiles keeps the files of this process from growing beyond n bytes.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}); err != nil {
		t.Fatal(err)
	}
}

func TestWhereverTheDiskIsFullTheFileIsWhole(t *testing.T) {
	if os.Getenv("KV_TEST_ALONE") == "" {
		// The limit is one of the process, and go test writes files too.
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "KV_TEST_ALONE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}

	for n := 0; ; n++ {
		r := open(t, tempFile(t))
		r.does("SET", "a", "1")
		whole := r.bytes()

		limitFiles(t, uint64(whole)+uint64(n))
		r.Begin()
		for i, value := range []string{"1", resptest.Command("SET", "d", "1")} {
			r.Execute([][]byte{[]byte("SET"), []byte{'b' + byte(i)}, []byte(value)})
		}
		r.End()
		r.Save()
		got, failed := r.bytes(), r.Err() != nil
		limitFiles(t, unix.RLIM_INFINITY)
		if failed && (got != whole || r.failed == 0) {
			t.Fatalf("room for %d bytes: the file has %d, its commands %d; the server was told %d times", n, got, whole, r.failed)
		}

		// Now there is room: all of it is written, and once.
		r.retry(r.el, 0)
		want := r.contents()
		r = r.reopened()
		if got := r.contents(); strings.Count(want, "0:") != 3 || got != want {
			t.Fatalf("room for %d bytes: %v, want %v", n, got, want)
		}
		r.Close()
		if !failed {
			break
		}
	}
}

// written returns how many bytes this process has given to write.
func written(t *testing.T) (n int) {
	t.Helper()
	counts, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(counts[strings.Index(string(counts), "wchar:"):]), "wchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// After a sync that failed all is written anew. While there is no room for a
// second copy, to find that out must not take as long as to write one. (34)
func TestWithoutRoomForASecondCopyNoneIsBegun(t *testing.T) {
	const values = 20
	dir := t.TempDir()
	if err := unix.Mount("kv", dir, "tmpfs", 0, "size=32m"); err != nil {
		testutil.SkipUnlessCI(t, "to mount a file system takes root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	r := open(t, dir+"/kv.aof")
	defer r.Close()
	for i := range values {
		r.does("SET", fmt.Sprint("big:", i), strings.Repeat("v", 1<<20))
	}
	for i := range 1000 {
		r.does("SET", fmt.Sprint("small:", i), fmt.Sprint(i))
	}
	r.broken = true
	r.fail(unix.EIO)

	before := written(t)
	for range 10 {
		if r.retry(r.el, 0); r.Err() == nil {
			t.Fatal("a disk of 32 MiB has room for twice 20")
		}
	}
	if n := written(t) - before; n > 1<<20 {
		t.Errorf("%d bytes were written in vain", n)
	}

	for i := range values {
		r.dbs[0].Delete(fmt.Appendf(nil, "big:%d", i))
	}
	if r.retry(r.el, 0); r.Err() != nil {
		t.Error("it does not recover:", r.Err())
	}
	if n := r.dbs[0].Len(); n != 1000 {
		t.Errorf("%d keys", n)
	}
}
