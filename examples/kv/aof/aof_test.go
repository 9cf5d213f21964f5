package aof

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/internal/resp/resptest"
	"github.com/aeloop/ae/examples/kv/store"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// A rig is a file, and a server that has no clients.
type rig struct {
	*File
	t      *testing.T
	path   string
	el     *ae.EventLoop
	policy Policy
	failed int // how often the file has said so
	commands
}

// commands executes what a File writes.
type commands struct {
	dbs []*store.DB
	db  *int
}

func (c commands) Known(name []byte) bool    { return resp.Is(name, "SET") }
func (c commands) Check(args [][]byte) error { return nil }
func (c commands) Execute(args [][]byte) error {
	switch db := c.dbs[*c.db]; {
	case resp.Is(args[0], "SELECT"):
		*c.db, _ = strconv.Atoi(string(args[1]))
	case resp.Is(args[0], "SET"):
		db.Set(args[1], store.Copy(args[2]), 0)
	case resp.Is(args[0], "DEL"):
		db.Delete(args[1])
	default:
		return errors.New("unknown")
	}
	return nil
}

func tempFile(t *testing.T) string { return filepath.Join(t.TempDir(), "kv.aof") }

func open(t *testing.T, path string) *rig {
	t.Helper()
	el, err := ae.New(1024)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { el.Close() })
	r := &rig{t: t, path: path, el: el, policy: Never, commands: commands{db: new(int)}}
	for range 8 {
		r.dbs = append(r.dbs, store.New())
	}
	el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 10 * time.Millisecond }) // until looks
	el.AddBeforeSleep(func(*ae.EventLoop) { r.Save() })
	r.File, err = Open(Config{Path: path, Loop: el, DBs: r.dbs, Commands: r.commands, Policy: func() Policy { return r.policy },
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Failed: func() { r.failed++ }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// does executes a command, as if it had come alone.
func (r *rig) does(words ...string) {
	r.t.Helper()
	args := make([][]byte, 0, len(words))
	for _, w := range words {
		args = append(args, []byte(w))
	}
	r.Begin()
	if err := r.Execute(args); err != nil {
		r.t.Fatal(err)
	}
	r.End()
	r.Save()
}

func (r *rig) bytes() int64 {
	r.t.Helper()
	info, err := os.Stat(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	return info.Size()
}

func (r *rig) contents() string {
	all := make(map[string]string)
	for i, d := range r.dbs {
		d.Each(func(key, value []byte, _ int64) { all[fmt.Sprint(i, ":", string(key))] = string(value) })
	}
	return fmt.Sprint(all)
}

// reopened closes the file and returns what another server finds there.
func (r *rig) reopened() *rig {
	r.t.Helper()
	r.Close()
	return open(r.t, r.path)
}

// until runs the loop.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	for end := testutil.Deadline(); !done(); {
		if time.Now().After(end) {
			r.t.Fatal("in vain: " + what)
		}
		if _, err := r.el.ProcessEvents(ae.AllEvents | ae.CallBeforeSleep); err != nil {
			r.t.Fatal(err)
		}
	}
}

// pipe puts a pipe in the place of the file: it can be written and not be synced.
func (r *rig) pipe() {
	r.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { out.Close() })
	go io.Copy(io.Discard, out)
	r.syncing.Wait()
	r.file.Close()
	r.file = in
}

// Between opening a file and locking it, the server that had it may have put the
// compacted one in its place.
func TestALockOnAFileThatWasReplacedIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.aof")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(f, info); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := os.WriteFile(path+".rewrite", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".rewrite", path); err != nil {
		t.Fatal(err)
	}
	if err := lock(f, info); err == nil {
		t.Error("a file without a name was locked")
	}
}

func TestAfterACompactionChangesGoToTheRightDB(t *testing.T) {
	r := open(t, tempFile(t))
	r.does("SELECT", "7")
	r.does("SET", "a", "1")
	r.does("SELECT", "0")
	r.does("SET", "b", "1")
	if err := r.Rewrite(); err != nil {
		t.Fatal(err)
	}
	r.does("SET", "c", "1")
	want := r.contents()
	r = r.reopened()
	defer r.Close()
	if got := r.contents(); got != want || got != "map[0:b:1 0:c:1 7:a:1]" {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A patch of nothing makes a key all the same.
func TestAnEmptyValueThatWasPatchedIsThereAgain(t *testing.T) {
	r := open(t, tempFile(t))
	if n := r.dbs[0].Patch([]byte("empty"), 0, nil); n != 0 {
		t.Fatal(n)
	}
	r.Save()
	r = r.reopened()
	defer r.Close()
	if got := r.contents(); got != "map[0:empty:]" {
		t.Error(got)
	}
}

func TestACompactionThatFailsChangesNothing(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	r.does("SET", "a", "1")
	if err := os.Mkdir(r.temporary(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Rewrite(); err == nil {
		t.Error("it succeeded although its file is a directory")
	}
	r.does("SET", "b", "2")
	if file, err := os.ReadFile(r.path); err != nil || !strings.HasSuffix(string(file), resptest.Command("SET", "b", "2")) {
		t.Errorf("%q, %v", file, err)
	}
}

// After a sync that failed only a new file is known to be good.
func TestAfterASyncThatFailedTheFileIsWrittenAnew(t *testing.T) {
	for _, policy := range []Policy{Always, EverySec} {
		t.Run(string(policy), func(t *testing.T) {
			r := open(t, tempFile(t))
			r.policy = policy
			r.does("SET", "before", "1")
			r.pipe()
			r.does("SET", "a", "1")
			if policy == Always && (r.Err() == nil || r.failed != 1) {
				t.Fatalf("%v, and the server was told %d times", r.Err(), r.failed)
			}
			r.until("the sync fails", func() bool { return r.Err() != nil })
			if r.failed != 1 {
				t.Errorf("the server was told %d times", r.failed)
			}
			r.until("it is written anew", func() bool { return r.Err() == nil })
			r.does("SET", "b", "2")
			r = r.reopened()
			defer r.Close()
			if got := r.contents(); got != "map[0:a:1 0:b:2 0:before:1]" {
				t.Error(got)
			}
		})
	}
}

// What fails again and again may not keep the loop from everything else. (34)
func TestTheLongerTheFileCannotBeWrittenTheRarerItIsTried(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	r.broken = true
	if err := os.Mkdir(r.temporary(), 0o700); err != nil {
		t.Fatal(err)
	}
	r.fail(unix.EIO)
	last := time.Duration(0)
	for range 10 {
		wait := r.retry(r.el, 0)
		if wait < min(2*last, retryMax) {
			t.Errorf("after %v it waits for %v", last, wait)
		}
		last = wait
	}
	if last < retryMax {
		t.Errorf("in the end it waits for %v", last)
	}

	if err := os.Remove(r.temporary()); err != nil {
		t.Fatal(err)
	}
	if wait := r.retry(r.el, 0); wait != ae.NoMore {
		t.Errorf("it has succeeded, and tries again in %v", wait)
	}
}

func TestASyncThatFailsAtTheEndLosesNothing(t *testing.T) {
	r := open(t, tempFile(t))
	r.policy = EverySec
	r.does("SET", "a", "1")
	r.pipe()
	r.does("SET", "b", "2")
	r.startSync(r.el, 0)
	r = r.reopened()
	defer r.Close()
	if got := r.contents(); got != "map[0:a:1 0:b:2]" {
		t.Error(got)
	}
}

// While a sync is under way the file is left alone, but not with "always".
func TestWhatIsHeldBackForASyncIsWrittenInTheEnd(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	size := r.bytes()
	r.busy = true
	r.does("SET", "a", "1")
	if r.bytes() != size || r.Save() {
		t.Error("it was written during the sync, or its reply may go")
	}
	r.until("it is written", func() bool { return r.bytes() != size })
	if !r.Save() {
		t.Error("its reply still waits")
	}

	size = r.bytes()
	r.policy = Always
	r.does("SET", "b", "1")
	if r.bytes() == size {
		t.Error("it was held back although a reply is a promise")
	}
}

func TestEverysecSyncsWhatIsWritten(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	r.policy = EverySec
	for range 2 {
		r.does("SET", "a", "1")
		if !r.dirty && !r.busy {
			t.Fatal("nothing is left to sync right after a write")
		}
		r.until("it is synced", func() bool { return !r.dirty && !r.busy })
	}
}

// What another policy has left is synced without waiting for the next write.
func TestWhoSetsEverysecNeedNotWriteForItToSync(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	for _, policy := range []Policy{EverySec, Always} {
		r.policy = Never
		r.does("SET", "a", "1")
		r.policy = policy
		r.SyncLater()
		r.until("it is synced", func() bool { return !r.dirty && !r.busy })
	}
}

// Where there is room for the data, no more of it may be asked for.
func TestARewriteReservesNoMoreThanItWrites(t *testing.T) {
	r := open(t, tempFile(t))
	defer r.Close()
	for _, length := range []int{0, 1, 7, 100, 40, 5000, 2600, 40_000, 50} {
		for i := range 100 {
			r.does("SET", fmt.Sprint(i), strings.Repeat("v", length))
		}
		written, err := r.dump(io.Discard)
		if reserved := r.dbs[0].Dumped(); err != nil || reserved > written || reserved < written-2000 {
			t.Errorf("values of %d bytes: %d bytes are reserved and %d written, %v", length, reserved, written, err)
		}
	}
}

// Whoever is told of damage cuts the file off: it had better be damage.
func TestAReadErrorIsNotDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aof")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600) // which cannot be read
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("*1\r\n$7\r\nFLUSHDB\r\n"); err != nil {
		t.Fatal(err)
	}
	f := &File{cfg: Config{Path: path}, file: file}
	if _, err := f.load(); !errors.Is(err, unix.EBADF) || strings.Contains(err.Error(), "corrupt") {
		t.Errorf("said %v", err)
	}

	// Nor is it the end of the file, from where load would cut it off itself.
	l := &loader{File: f, end: 17}
	if err := l.checkEnd(0); !errors.Is(err, unix.EBADF) {
		t.Errorf("the end: said %v", err)
	}
}
