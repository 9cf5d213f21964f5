// Package aof is the append-only file of kv.
//
// It holds every change to the data, as commands in the protocol of Redis, so that
// the data is there again after a restart, and redis-server can load it too.
//
// What is logged is what changed, not what was asked for: the store reports it. So a
// command that changed nothing leaves no trace, an expiry time is the absolute one
// that was computed, a key that expired is a DEL, and a new command is logged right
// without a line of its own. The changes of one command are wrapped in MULTI and
// EXEC if there are several, for all of them or none to be there after a crash.
//
// Nothing is acknowledged that is not logged: a command only appends to a buffer.
// Before the loop sleeps, Save writes it, with "always" it also syncs the file, and
// only then the replies are sent. So one write and one sync serve all commands of an
// iteration (group commit): the more clients wait, the less a sync costs each.
//
// A sync takes milliseconds. With "always" the loop waits for it. A goroutine could
// do it instead, but its replies would have to be held back until it is done, and so
// would all later ones of the same clients, while all there is to do meanwhile is to
// prepare the next batch: a few microseconds for each command. With "everysec"
// nobody waits for the sync, so a goroutine does it, and comes back with Post. What
// is written while it runs could have to wait for it in the kernel, and is kept back
// for a while, together with the replies.
package aof

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/store"
	"golang.org/x/sys/unix"
)

// Config is what a File has to know. Nothing in it may change while it is used.
type Config struct {
	Path     string
	Loop     *ae.EventLoop
	DBs      []*store.DB
	Commands Commands
	Policy   func() Policy // as it is now
	Clock    func() time.Time
	Logger   *slog.Logger

	// Failed says that what changed since the last Save that returned true cannot be
	// written, or was not synced: what would acknowledge it must not be sent.
	Failed func()
}

// Commands executes what is in a file.
type Commands interface {
	Known(name []byte) bool      // reports whether there is a command of that name
	Check(args [][]byte) error   // returns what is wrong with a command before it is executed
	Execute(args [][]byte) error // executes one that nothing is wrong with
}

// Policy says when the file is synced.
type Policy string

const (
	Always   Policy = "always"   // before Save returns
	EverySec Policy = "everysec" // soon, by a goroutine
	Never    Policy = "no"       // when the system likes
)

// File is an append-only file. All of it belongs to the goroutine of its loop.
type File struct {
	cfg  Config
	file *os.File
	size int64 // of what is in it: whole commands

	buf      []byte // commands that are not written yet
	selected int    // the db that the last of them is for; -1 if none was named yet
	start    int    // where in buf the changes of the current command begin
	changes  int    // and how many there are
	digits   []byte // to write numbers in

	dirty   bool // something is written and not synced
	timed   bool // a time event is set that will sync it
	syncing sync.WaitGroup
	busy    bool  // a goroutine is syncing
	result  error // of that; the goroutine's until it is done
	held    bool  // a time event is set that ends the wait for it
	waited  bool  // long enough: what comes now is written although it runs

	err    error         // why writes are refused, or nil
	pause  time.Duration // until the next try
	broken bool          // a sync has failed: nobody knows what is in the file
}

const (
	// syncPause is how long after a change "everysec" begins to sync it. It is half
	// a second for no more than one to be missing when the sync takes its time.
	syncPause = 500 * time.Millisecond

	// holdMax is how long commands are kept back for a sync that is under way.
	holdMax = 250 * time.Millisecond

	// retryPause is how long to wait after an error before trying again, and twice as
	// long after each more, up to retryMax. A try may take no more than one part in
	// retryShare of the time: the clients that read want the rest.
	retryPause = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	retryShare = 10

	// bufferKeep is the size from which the buffer is left to the garbage collector.
	bufferKeep = 4 << 20

	// compactAbove is the size of a file from which compaction is worth it.
	compactAbove = 1 << 20
)

// Open loads the file, which is created if there is none, and from then on the DBs
// log to it.
func Open(cfg Config) (*File, error) {
	if target, err := filepath.EvalSymlinks(cfg.Path); err == nil {
		cfg.Path = target // or compaction would replace the link
	}
	f := &File{cfg: cfg, selected: -1}

	var err error
	if f.file, err = openLocked(cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND); err != nil {
		return nil, err
	}
	os.Remove(f.temporary()) // left by a crash; it was not the file yet

	if err = syncDir(cfg.Path); err == nil { // the file may be new
		f.size, err = f.load()
	}
	if err != nil {
		f.file.Close()
		return nil, err
	}

	if err := f.compact(); err != nil {
		cfg.Logger.Warn("the append-only file could not be compacted, and stays as it is", "file", cfg.Path, "error", err)
		if f.broken {
			f.fail(err) // it could, but would the new one survive a power failure?
		}
	}
	for i, db := range cfg.DBs {
		db.Log = changes{f, i}
	}
	return f, nil
}

// openLocked opens a regular file that no other process has open in this way:
// two of them would write into each other's commands.
func openLocked(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0o600) // a FIFO would wait for its other end
	if err != nil {
		return nil, err
	}

	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		err = lock(f, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock locks all of a file, if its name still stands for it: who compacts puts
// another one in its place.
func lock(f *os.File, info os.FileInfo) error {
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_SETLK, &whole) == nil {
		if now, err := os.Stat(f.Name()); err == nil && os.SameFile(info, now) {
			return nil
		}
	}
	return fmt.Errorf("%s is in use by another process", f.Name())
}

// syncDir makes the name of a file as durable as its contents.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // not on every file system
		return err
	}
	return nil
}

// What the commands do.

// Begin says that a command begins: what changes until End is one thing.
func (f *File) Begin() { f.start, f.changes = len(f.buf), 0 }

// End says that it has ended, and reports whether it has changed anything.
func (f *File) End() (changed bool) {
	if f.changes > 1 {
		f.buf = slices.Insert(f.buf, f.start, []byte("*1\r\n$5\r\nMULTI\r\n")...)
		f.buf = append(f.buf, "*1\r\n$4\r\nEXEC\r\n"...)
	}
	return f.changes > 0
}

// changes is the store.Log of a DB.
type changes struct {
	*File
	db int
}

func (c changes) Set(key, value []byte, when int64) {
	switch when {
	case 0:
		c.add([]byte("SET"), key, value)
	case store.KeepTTL:
		c.add([]byte("SET"), key, value, []byte("KEEPTTL"))
	default:
		c.add([]byte("SET"), key, value, []byte("PXAT"), c.number(when))
	}
}

func (c changes) Patch(key []byte, offset int, part []byte) {
	c.add([]byte("SETRANGE"), key, c.number(int64(offset)), part)
}

func (c changes) Rename(from, to []byte) { c.add([]byte("RENAME"), from, to) }
func (c changes) Delete(key []byte)      { c.add([]byte("DEL"), key) }
func (c changes) Flush()                 { c.add([]byte("FLUSHDB")) }

func (c changes) Expire(key []byte, when int64) {
	if when == 0 {
		c.add([]byte("PERSIST"), key)
	} else {
		c.add([]byte("PEXPIREAT"), key, c.number(when))
	}
}

func (f *File) number(n int64) []byte {
	f.digits = strconv.AppendInt(f.digits[:0], n, 10)
	return f.digits
}

// add appends a command to what is to be written.
func (c changes) add(args ...[]byte) {
	if c.selected != c.db {
		c.selected = c.db
		c.buf = resp.AppendCommand(c.buf, []byte("SELECT"), strconv.AppendInt(nil, int64(c.db), 10))
	}
	c.buf = resp.AppendCommand(c.buf, args...)
	c.File.changes++
}

// How it comes to disk.

// Save writes what has changed, before the loop sleeps and before the replies are
// sent. It returns false if these have to wait, because a sync is under way.
func (f *File) Save() (done bool) {
	if len(f.buf) == 0 || f.err != nil {
		return true
	}
	if f.hold() {
		return false
	}
	if err := f.write(); err != nil {
		f.fail(err)
	} else {
		f.SyncLater()
	}
	return true
}

// write writes buf, and with "always" syncs it.
func (f *File) write() error {
	n, err := f.file.Write(f.buf)
	f.dirty = f.dirty || n > 0
	if err != nil && n > 0 && f.file.Truncate(f.size) == nil {
		return err // and no half of a command stays there, for the next start to wonder about
	}
	f.size += int64(n)
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	if err != nil {
		return err
	}

	if cap(f.buf) > bufferKeep {
		f.buf = nil
	}
	if f.cfg.Policy() == Always {
		return f.sync()
	}
	return nil
}

// sync waits for the disk. When it fails, what was written may be lost and the
// kernel has forgotten about it: another sync would succeed and prove nothing.
func (f *File) sync() error {
	err := f.file.Sync()
	f.dirty = err != nil
	f.broken = f.broken || err != nil
	return err
}

// SyncLater sees to it that what is written will be synced. With "always" it is
// already, but for what was written under another policy: whoever changes that calls
// it.
func (f *File) SyncLater() {
	if f.cfg.Policy() != Never && f.dirty && !f.timed && !f.busy {
		f.timed = true
		f.cfg.Loop.CreateTimeEvent(syncPause, f.startSync)
	}
}

// startSync is the time event that has a goroutine sync the file.
func (f *File) startSync(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
	f.timed = false
	if !f.dirty || f.broken {
		return ae.NoMore
	}

	f.dirty, f.busy, f.waited = false, true, false
	file := f.file
	f.syncing.Go(func() {
		f.result = file.Sync()
		_ = el.Post(f.synced) // after the end of the loop, close asks for the result
	})
	return ae.NoMore
}

// synced is what the goroutine posts.
func (f *File) synced(*ae.EventLoop) {
	if !f.busy {
		return // close was faster
	}
	f.busy = false
	if f.result != nil {
		f.broken = true
		f.fail(f.result)
		return
	}
	f.SyncLater()
}

// hold reports whether to keep buf back for the sync that is under way, and with
// it the replies, and sees to it that this ends.
func (f *File) hold() bool {
	if !f.busy || f.waited || f.cfg.Policy() == Always {
		return false
	}
	if !f.held {
		f.held = true
		f.cfg.Loop.CreateTimeEvent(holdMax, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			// Now save writes it, even if the kernel makes us wait.
			f.held, f.waited = false, true
			return ae.NoMore
		})
	}
	return true
}

// When it does not come to disk.

// fail refuses all that changes data, from the commands of this iteration on,
// until the disk takes them.
func (f *File) fail(err error) {
	if f.err == nil {
		f.cfg.Logger.Error("the append-only file cannot be written: commands that write are refused", "error", err)
		f.pause = retryPause
		f.cfg.Loop.CreateTimeEvent(f.pause, f.retry)
	}
	f.err = err
	f.cfg.Failed()
}

// Err returns why changes are refused, or nil: nothing may change then.
func (f *File) Err() error { return f.err }

// Syncing reports whether a sync is under way.
func (f *File) Syncing() bool { return f.busy }

// retry is the time event that tries again. After a sync that failed there is
// only one way to know what is in the file: to write it anew.
func (f *File) retry(*ae.EventLoop, ae.TimeEventID) time.Duration {
	began := time.Now()
	if f.err = f.repair(); f.err != nil {
		f.pause = max(min(2*f.pause, retryMax), (retryShare-1)*time.Since(began))
		return f.pause
	}
	f.cfg.Logger.Info("the append-only file can be written again")
	f.SyncLater()
	return ae.NoMore
}

func (f *File) repair() error {
	if f.broken {
		return f.Rewrite()
	}
	return f.write()
}

// Close writes and syncs what is left, and returns why it could not.
func (f *File) Close() error {
	f.syncing.Wait()
	f.broken = f.broken || f.busy && f.result != nil
	f.busy = false
	err := f.repair()
	if f.dirty && err == nil {
		err = f.sync()
	}
	if err != nil {
		f.fail(err) // the replies of the last iteration are not sent yet
	}
	f.file.Close()
	return err
}

// Compaction.

func (f *File) temporary() string { return f.cfg.Path + ".rewrite" }

// compact rewrites a file of which at least half is history. It is called at
// start, when nobody waits yet.
func (f *File) compact() error {
	before := f.size
	if before < compactAbove {
		return nil
	}
	needed, err := f.dump(io.Discard)
	if err != nil || before < 2*needed {
		return err
	}
	if err := f.Rewrite(); err != nil {
		return err
	}
	f.cfg.Logger.Info("the append-only file was compacted", "before", before, "after", f.size)
	return nil
}

// Rewrite writes all data to a new file and puts that in the place of the old
// one. At any moment the name stands for one or the other, and both are whole. It
// keeps the loop for as long as that takes.
func (f *File) Rewrite() error {
	next, err := openLocked(f.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND)
	if err != nil {
		return err
	}

	size, needed := int64(0), int64(0) // needed at least, unless keys expire before
	for _, d := range f.cfg.DBs {
		needed += d.Dumped()
	}
	if err = reserve(next, needed); err == nil { // for no half of it to be written in vain
		size, err = f.dump(next)
	}
	if err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = os.Rename(f.temporary(), f.cfg.Path)
	}
	if err != nil {
		next.Close()
		os.Remove(f.temporary())
		return err
	}

	f.file.Close()
	f.file, f.size, f.buf, f.selected, f.dirty = next, size, nil, -1, false
	err = syncDir(f.cfg.Path)
	f.broken = err != nil
	return err
}

// dump writes the commands that make the data, and returns their length.
func (f *File) dump(to io.Writer) (n int64, err error) {
	w := bufio.NewWriterSize(to, 1<<20)
	now := f.cfg.Clock().UnixMilli()
	scratch := &File{selected: -1}
	for i, d := range f.cfg.DBs {
		d.Each(func(key, value []byte, when int64) {
			if when == 0 || now <= when {
				changes{scratch, i}.Set(key, value, when)
				n += int64(len(scratch.buf))
				w.Write(scratch.buf) // an error is kept for Flush
				scratch.buf = scratch.buf[:0]
			}
		})
	}
	return n, w.Flush()
}
