package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"golang.org/x/sys/unix"
)

// The append-only file holds every change to the data, as commands in the
// protocol of Redis, so that the data is there again after a restart, and
// redis-server can load it too.
//
// What is logged is what changed, not what was asked for: db.set, del, expire
// and flush report here. So a command that changed nothing leaves no trace, an
// expiry time is the absolute one that was computed, a key that expired is a
// DEL, and a new command is logged right without a line of its own. The
// exceptions are those that would repeat a long value for ten bytes more, or for
// another name: they are logged as they came. The changes of one command are
// wrapped in MULTI and EXEC if there are several, for all of them or none to be
// there after a crash.
//
// Nothing is acknowledged that is not logged:
//
//   - A command only appends to buf. Before the loop sleeps, save writes buf, with
//     "always" it also syncs the file, and only then the replies are sent. So one
//     write and one sync serve all commands of an iteration (group commit): the
//     more clients wait, the less a sync costs each of them.
//   - A client whose socket was full waits for it to become writable, and may in
//     the same iteration have sent another command. Its writable must not send
//     that reply before save had its turn: it is registered with ae.Barrier and
//     so called before readable, when the reply does not exist yet.
//
// A sync takes milliseconds. With "always" the loop waits for it. A goroutine
// could do it instead, but its replies would have to be held back until it is
// done, and so would all later ones of the same clients, while all there is to
// do meanwhile is to prepare the next batch: a few microseconds for each
// command. With "everysec" nobody waits for the sync, so a goroutine does it, and
// comes back with Post. What is written while it runs could have to wait for
// it in the kernel, and is kept back for a while, together with the replies.
type aof struct {
	srv  *server
	path string
	file *os.File
	size int64 // of what is in it: whole commands

	buf      []byte // commands that are not written yet
	selected int    // the db that the last of them is for; -1 if none was named yet
	changes  int    // logged since the current command began
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

// An fsyncPolicy is the setting that says when the file is synced.
type fsyncPolicy struct{ p *string }

var fsyncPolicies = []string{"always", "everysec", "no"}

func (v fsyncPolicy) String() string { return text(v).String() }

func (v fsyncPolicy) Set(s string) error {
	s = strings.ToLower(s)
	if !slices.Contains(fsyncPolicies, s) {
		return errors.New("argument(s) must be one of the following: everysec, always, no")
	}
	*v.p = s
	return nil
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

// openAOF loads the file, which is created if there is none, and from then on
// logs to it.
func (s *server) openAOF(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // or compaction would replace the link
	}
	a := &aof{srv: s, path: path, selected: -1}

	var err error
	if a.file, err = openLocked(path, os.O_RDWR|os.O_CREATE|os.O_APPEND); err != nil {
		return err
	}
	os.Remove(a.temporary()) // left by a crash; it was not the file yet
	if err := a.start(); err != nil {
		a.file.Close()
		return err
	}
	return nil
}

func (a *aof) start() error {
	if err := syncDir(a.path); err != nil { // the file may be new
		return err
	}
	var err error
	if a.size, err = a.load(); err != nil {
		return err
	}
	if err := a.compact(); err != nil {
		a.srv.log.Warn("the append-only file could not be compacted, and stays as it is", "file", a.path, "error", err)
		if a.broken {
			a.fail(err) // it could, but would the new one survive a power failure?
		}
	}

	a.srv.aof = a
	for _, db := range a.srv.dbs {
		db.log = a
	}
	return nil
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

// verbatimKeys has the commands that are logged as they came, and how many keys
// each begins with.
var verbatimKeys = map[string]int{"append": 1, "setrange": 1, "rename": 2, "renamenx": 2}

// call executes a command, and logs what it changes.
func (a *aof) call(c *client, cmd *command, args [][]byte) {
	if cmd.write && a.err != nil {
		c.out.Error(a.refusal())
		return
	}

	reply, start := len(c.out.Buf), len(a.buf)
	a.changes = 0
	if cmd.verbatim > 0 {
		a.callVerbatim(c, cmd, args)
	} else {
		cmd.proc(c, args)
	}

	if a.changes > 1 {
		a.buf = slices.Insert(a.buf, start, []byte("*1\r\n$5\r\nMULTI\r\n")...)
		a.buf = append(a.buf, "*1\r\n$4\r\nEXEC\r\n"...)
	}
	if a.changes > 0 && cmd.write && c.doubtful == 0 {
		c.doubtful = reply + 1
	}
}

// callVerbatim logs the command instead of the value that it makes.
func (a *aof) callVerbatim(c *client, cmd *command, args [][]byte) {
	d := c.db
	for _, key := range args[1 : 1+cmd.verbatim] {
		d.exists(key) // logs its expiry, if the time has come
	}
	before := d.changes
	d.log = nil
	cmd.proc(c, args)
	d.log = a
	if d.changes != before {
		a.add(d, args...)
	}
}

func (a *aof) set(d *db, key, value []byte, when int64) {
	switch when {
	case 0:
		a.add(d, []byte("SET"), key, value)
	case keepTTL:
		a.add(d, []byte("SET"), key, value, []byte("KEEPTTL"))
	default:
		a.add(d, []byte("SET"), key, value, []byte("PXAT"), a.number(when))
	}
}

func (a *aof) expire(d *db, key []byte, when int64) {
	if when == 0 {
		a.add(d, []byte("PERSIST"), key)
		return
	}
	a.add(d, []byte("PEXPIREAT"), key, a.number(when))
}

func (a *aof) del(d *db, key []byte) { a.add(d, []byte("DEL"), key) }
func (a *aof) flush(d *db)           { a.add(d, []byte("FLUSHDB")) }

func (a *aof) number(n int64) []byte {
	a.digits = strconv.AppendInt(a.digits[:0], n, 10)
	return a.digits
}

// add appends a command to what is to be written.
func (a *aof) add(d *db, args ...[]byte) {
	if a.selected != d.index {
		a.selected = d.index
		a.buf = resp.AppendCommand(a.buf, []byte("SELECT"), strconv.AppendInt(nil, int64(d.index), 10))
	}
	a.buf = resp.AppendCommand(a.buf, args...)
	a.changes++
}

// How it comes to disk.

// save is called before the loop sleeps, and before the replies are sent.
func (a *aof) save() {
	if len(a.buf) > 0 && a.err == nil {
		if a.hold() {
			return
		}
		a.writeOrFail()
	}
	a.settle()
}

// settle lets go of the replies that waited for what they acknowledge.
func (a *aof) settle() {
	for _, c := range a.srv.pending {
		c.doubtful = 0
	}
}

func (a *aof) writeOrFail() {
	if err := a.write(); err != nil {
		a.fail(err)
		return
	}
	a.syncLater()
}

// write writes buf, and with "always" syncs it.
func (a *aof) write() error {
	n, err := a.file.Write(a.buf)
	a.dirty = a.dirty || n > 0
	if err != nil && n > 0 && a.file.Truncate(a.size) == nil {
		return err // and no half of a command stays there, for the next start to wonder about
	}
	a.size += int64(n)
	a.buf = a.buf[:copy(a.buf, a.buf[n:])]
	if err != nil {
		return err
	}

	if cap(a.buf) > bufferKeep {
		a.buf = nil
	}
	if a.srv.cfg.appendFsync == "always" {
		return a.sync()
	}
	return nil
}

// sync waits for the disk. When it fails, what was written may be lost and the
// kernel has forgotten about it: another sync would succeed and prove nothing.
func (a *aof) sync() error {
	err := a.file.Sync()
	a.dirty = err != nil
	a.broken = a.broken || err != nil
	return err
}

// syncLater sees to it that what is written will be synced. With "always" it is
// already, but for what was written under another policy.
func (a *aof) syncLater() {
	if a.srv.cfg.appendFsync != "no" && a.dirty && !a.timed && !a.busy {
		a.timed = true
		a.srv.el.CreateTimeEvent(syncPause, a.startSync)
	}
}

// startSync is the time event that has a goroutine sync the file.
func (a *aof) startSync(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
	a.timed = false
	if !a.dirty || a.broken {
		return ae.NoMore
	}

	a.dirty, a.busy, a.waited = false, true, false
	file := a.file
	a.syncing.Go(func() {
		a.result = file.Sync()
		_ = el.Post(a.synced) // after the end of the loop, close asks for the result
	})
	return ae.NoMore
}

// synced is what the goroutine posts.
func (a *aof) synced(*ae.EventLoop) {
	if !a.busy {
		return // close was faster
	}
	a.busy = false
	if a.result != nil {
		a.broken = true
		a.fail(a.result)
		return
	}
	a.syncLater()
}

// hold reports whether to keep buf back for the sync that is under way, and with
// it the replies, and sees to it that this ends.
func (a *aof) hold() bool {
	if !a.busy || a.waited || a.srv.cfg.appendFsync == "always" {
		return false
	}
	if !a.held {
		a.held = true
		a.srv.el.CreateTimeEvent(holdMax, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			// Now save writes it, even if the kernel makes us wait.
			a.held, a.waited = false, true
			return ae.NoMore
		})
	}
	return true
}

// When it does not come to disk.

// fail refuses all that changes data, from the commands of this iteration on,
// until the disk takes them.
func (a *aof) fail(err error) {
	if a.err == nil {
		a.srv.log.Error("the append-only file cannot be written: commands that write are refused", "error", err)
		a.pause = retryPause
		a.srv.el.CreateTimeEvent(a.pause, a.retry)
	}
	a.err = err

	for _, c := range a.srv.pending {
		if c.doubtful > 0 && c.fd >= 0 {
			c.retract()
		}
	}
}

// retract takes back the replies to commands that did not come to disk. They are
// executed, and will come there with the next success, so the one thing that can
// be said is that nothing is sure: an error for the first of them, and the end.
// Messages to the client that came later in the iteration go the same way.
func (c *client) retract() {
	c.out.Buf = c.out.Buf[:c.doubtful-1]
	c.doubtful = 0
	c.out.Error(c.srv.aof.refusal())
	c.finish()
}

func (a *aof) refusal() string {
	cause := a.err
	var errno syscall.Errno
	if errors.As(a.err, &errno) {
		cause = errno
	}
	return "MISCONF Errors writing to the AOF file: " + cause.Error()
}

// retry is the time event that tries again. After a sync that failed there is
// only one way to know what is in the file: to write it anew.
func (a *aof) retry(*ae.EventLoop, ae.TimeEventID) time.Duration {
	began := time.Now()
	if a.err = a.repair(); a.err != nil {
		a.pause = max(min(2*a.pause, retryMax), (retryShare-1)*time.Since(began))
		return a.pause
	}
	a.srv.log.Info("the append-only file can be written again")
	a.syncLater()
	return ae.NoMore
}

func (a *aof) repair() error {
	if a.broken {
		return a.rewrite()
	}
	return a.write()
}

// close writes and syncs what is left, and returns why it could not.
func (a *aof) close() error {
	a.syncing.Wait()
	a.broken = a.broken || a.busy && a.result != nil
	a.busy = false
	err := a.repair()
	if a.dirty && err == nil {
		err = a.sync()
	}
	if err != nil {
		a.fail(err) // the replies of the last iteration are not sent yet
	}
	a.settle()
	a.file.Close()
	return err
}

// infoPersistence writes the section of INFO about it.
func infoPersistence(s *server, b *strings.Builder) {
	enabled, pending, status := 0, 0, "ok"
	if s.aof != nil {
		enabled = 1
		if s.aof.busy {
			pending = 1
		}
		if s.aof.err != nil {
			status = "err"
		}
	}
	fmt.Fprintf(b, "loading:0\r\naof_enabled:%d\r\naof_last_write_status:%s\r\naof_pending_bio_fsync:%d\r\n", enabled, status, pending)
}

// Compaction.

func (a *aof) temporary() string { return a.path + ".rewrite" }

// compact rewrites a file of which at least half is history. It is called at
// start, when nobody waits yet.
func (a *aof) compact() error {
	before := a.size
	if before < compactAbove {
		return nil
	}
	needed, err := a.dump(io.Discard)
	if err != nil || before < 2*needed {
		return err
	}
	if err := a.rewrite(); err != nil {
		return err
	}
	a.srv.log.Info("the append-only file was compacted", "before", before, "after", a.size)
	return nil
}

// rewrite writes all data to a new file and puts that in the place of the old
// one. At any moment the name stands for one or the other, and both are whole.
func (a *aof) rewrite() error {
	f, err := openLocked(a.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND)
	if err != nil {
		return err
	}
	size := int64(0)
	if err = reserve(f, a.needed()); err == nil {
		size, err = a.dump(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(a.temporary(), a.path)
	}
	if err != nil {
		f.Close()
		os.Remove(a.temporary())
		return err
	}

	a.file.Close()
	a.file, a.size, a.buf, a.selected, a.dirty = f, size, nil, -1, false
	err = syncDir(a.path)
	a.broken = err != nil
	return err
}

// needed returns how many bytes dump will write at least, unless keys expire before.
func (a *aof) needed() (n int64) {
	for _, d := range a.srv.dbs {
		n += d.dumped()
	}
	return n
}

// dump writes the commands that make the data, and returns their length.
func (a *aof) dump(to io.Writer) (n int64, err error) {
	w := bufio.NewWriterSize(to, 1<<20)
	now := a.srv.clock().UnixMilli()
	scratch := &aof{srv: a.srv, selected: -1}
	for i, d := range a.srv.dbs {
		named := &db{index: i}
		d.each(func(key, value []byte, when int64) {
			if when == 0 || now <= when {
				scratch.set(named, key, value, when)
				n += int64(len(scratch.buf))
				w.Write(scratch.buf) // an error is kept for Flush
				scratch.buf = scratch.buf[:0]
			}
		})
	}
	return n, w.Flush()
}
