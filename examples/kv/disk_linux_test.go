package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// What happens to the append-only file when the disk is full, slow, or broken.

// mount mounts a file system until the test ends.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	err := unix.Mount(source, target, kind, flags, data)
	if err == unix.EPERM || err == unix.EACCES {
		testutil.SkipUnlessCI(t, "to mount a file system takes root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// smallDisk returns a directory on a disk of so many bytes.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	mount(t, "kv", dir, "tmpfs", 0, "size="+strconv.Itoa(size))
	return dir
}

// room returns how many bytes are left of a disk.
func room(t *testing.T, dir string) int {
	t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	return int(disk.Bavail) * int(disk.Bsize)
}

// fill leaves so many bytes of a disk, and returns the file to remove for more.
func fill(t *testing.T, dir string, left int) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	f, err := os.OpenFile(filler, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, max(0, room(t, dir)-left))); err != nil && !errors.Is(err, unix.ENOSPC) { // others write too
		t.Fatal(err)
	}
	return filler
}

// tamper has strace do something to the system calls of a process.
func (p *process) tamper(t *testing.T, args ...string) {
	t.Helper()
	strace := requireTool(t, "strace")
	if out, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		testutil.SkipUnlessCI(t, "strace may not trace here: %v %s", err, out)
	}
	trace := exec.Command(strace, append([]string{"-f", "-p", strconv.Itoa(p.Process.Pid)}, args...)...)
	attached, err := trace.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := trace.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := attached.Read(make([]byte, 1)); err != nil { // it says when it is attached
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // it says more, and must not have to wait
		for b := make([]byte, 4096); ; {
			if _, err := attached.Read(b); err != nil {
				return
			}
		}
	})
	p.traced = func() {
		wg.Wait()
		_ = trace.Wait() // it ends as the process did
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
		p.traced()
	})
}

// waitFor asks until the reply to a command contains text.
func (c *conn) waitFor(line, text string) {
	c.t.Helper()
	for end := deadline(); ; {
		reply := c.cmd(line)
		if strings.Contains(reply, text) {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s never replies with %q, but %s", line, text, reply)
		}
	}
}

// What is kept back while a sync runs may turn out not to fit on the disk. (31)
func TestNothingIsAcknowledgedBeforeItIsWrittenWhileASyncRuns(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 8<<20)
	args := []string{"-appendonly", "yes", "-appendfsync", "everysec", "-appendfilename", filepath.Join(dir, "kv.aof")}
	p := startProcess(t, 0, "127.0.0.1:0", args...)
	p.tamper(t, "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1500000")
	fill(t, dir, 300_000)

	first := dialTo(t, "tcp", p.addr)
	first.expect("SET first 1", "+OK")
	first.waitFor("INFO persistence", "aof_pending_bio_fsync:1")

	const clients, size = 40, 20_000
	acked := make([]bool, clients)
	var wg sync.WaitGroup
	for i := range acked {
		c := dialTo(t, "tcp", p.addr)
		wg.Go(func() {
			c.send(array("SET", fmt.Sprint("key:", i), strings.Repeat("v", size)))
			acked[i] = c.reply() == "+OK"
		})
	}
	wg.Wait()
	p.Process.Kill()
	p.Wait()

	p = startProcess(t, 0, "127.0.0.1:0", args...)
	c := dialTo(t, "tcp", p.addr)
	missing, refused := 0, 0
	for i, ok := range acked {
		switch reply := c.cmd(fmt.Sprint("STRLEN key:", i)); {
		case !ok:
			refused++
		case reply != fmt.Sprint(":", size):
			missing++
		}
	}
	if missing > 0 || refused == 0 {
		t.Errorf("%d of %d acknowledged are missing; %d were refused", missing, clients-refused, refused)
	}
	c.expect("GET first", "$1 1")
}

// Where the disk is full it cuts a command in two, and a value that looks like
// commands would look like damage at the next start. (32)
func TestHalfACommandDoesNotStayInTheFile(t *testing.T) {
	path := filepath.Join(smallDisk(t, 8<<20), "kv.aof")
	args := []string{"-appendonly", "yes", "-appendfilename", path}
	p := startProcess(t, 0, "127.0.0.1:0", args...)
	c := dialTo(t, "tcp", p.addr)
	for i := range 7 {
		c.send(array("SET", fmt.Sprint("key:", i), strings.Repeat("v", 1<<20)))
		c.receive("+OK")
	}
	c.send(array("SET", "commands", strings.Repeat(array("PING"), 150_000)))
	c.receive("-MISCONF Errors writing to the AOF file: no space left on device")
	p.Process.Kill()
	p.Wait()

	p = startProcess(t, 0, "127.0.0.1:0", args...)
	if c := dialTo(t, "tcp", p.addr); c.cmd("DBSIZE") != ":7" {
		t.Error("not all that was acknowledged is there")
	}
}

// history makes a file of which most is not needed.
func history(t *testing.T, path string) {
	t.Helper()
	file := array("SET", "kept", "1") + strings.Repeat(array("SET", "k", strings.Repeat("v", 1000)), 2000)
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A file that cannot be compacted is still good as it is. (33)
func TestAFileThatCannotBeCompactedIsUsedAsItIs(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) (path string){
		"mounted on its own": func(t *testing.T) string {
			file, path := filepath.Join(t.TempDir(), "data"), tempFile(t)
			history(t, file)
			history(t, path)
			mount(t, file, path, "", unix.MS_BIND, "")
			return path
		},
		"directory cannot be written": func(t *testing.T) string {
			file, dir := filepath.Join(t.TempDir(), "data"), smallDisk(t, 1<<20)
			history(t, file)
			path := filepath.Join(dir, "kv.aof")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("kv", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			mount(t, file, path, "", unix.MS_BIND, "")
			return path
		},
		"disk full": func(t *testing.T) string {
			dir := smallDisk(t, 8<<20)
			path := filepath.Join(dir, "kv.aof")
			history(t, path)
			fill(t, dir, 0)
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := prepare(t)
			args := []string{"-appendonly", "yes", "-appendfilename", path}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p := startProcess(t, 0, "127.0.0.1:0", args...)
			c := dialTo(t, "tcp", p.addr)
			c.expect("GET kept", "$1 1")
			if name != "disk full" {
				c.expect("SET more 1", "+OK")
			}
			p.Process.Kill()
			p.Wait()
			if said := p.stderr.String(); !strings.Contains(said, "could not be compacted") {
				t.Errorf("it says: %s", said)
			}
			after, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(after), string(before)) {
				t.Errorf("%d bytes have become others, %v", len(before), err)
			}
			if left, err := filepath.Glob(path + "?*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A fillWriter writes until its connection ends, and knows what was acknowledged.
type fillWriter struct {
	id    int
	piece string // of the values
	sent  int
	acked map[int]int // the lengths of the values
}

func (w *fillWriter) run(c *conn) {
	for {
		w.sent++
		value := strings.Repeat(w.piece, rand.IntN(20_000/len(w.piece)))
		n := strconv.Itoa(w.sent)
		id := strconv.Itoa(w.id)
		_, err := c.Write([]byte(array("SET", "key:"+id+":"+n, value) + array("APPEND", "log:"+id, n+",")))
		if err != nil {
			return
		}
		for i := range 2 {
			line, err := c.r.ReadString('\n')
			switch {
			case err != nil:
				return
			case line[0] != '-' && i == 0:
				w.acked[w.sent] = len(value)
			}
		}
	}
}

func (w *fillWriter) check(t *testing.T, c *conn) {
	t.Helper()
	for n, size := range w.acked {
		if got := c.cmd(fmt.Sprintf("STRLEN key:%d:%d", w.id, n)); got != fmt.Sprint(":", size) {
			t.Errorf("writer %d: SET %d of %d bytes was acknowledged, and is %s", w.id, n, size, got)
		}
	}
}

// However the disk fills and the program ends, it has after a restart what it has
// acknowledged. KV_FULL_DISKS is how many times. (31, 32)
func TestNothingAcknowledgedIsLostWhenTheDiskFills(t *testing.T) {
	t.Parallel()
	disks := 8
	if n, err := strconv.Atoi(os.Getenv("KV_FULL_DISKS")); err == nil {
		disks = n
	}
	for _, policy := range []string{"always", "everysec"} {
		for _, sig := range []os.Signal{os.Kill, unix.SIGTERM} {
			t.Run(fmt.Sprint(policy, " ", sig), func(t *testing.T) {
				dir := smallDisk(t, 4<<20)
				acked, refused := 0, 0
				rounds := (disks + 3) / 4
				for n := 0; n < rounds || (acked == 0 || refused == 0) && n < rounds+20; n++ { // by chance it may take longer
					a, r := fillDisk(t, dir, policy, sig, n%2 == 1)
					acked, refused = acked+a, refused+r
					if t.Failed() {
						return
					}
				}
				t.Logf("%d acknowledged, %d refused", acked, refused)
				if acked == 0 || refused == 0 {
					t.Error("nothing is tested")
				}
			})
		}
	}
}

// fillDisk fills the disk at a random moment under clients that write, makes room
// sometimes, and ends the program at another one.
func fillDisk(t *testing.T, dir, policy string, sig os.Signal, slow bool) (acked, refused int) {
	path := filepath.Join(dir, "kv.aof")
	args := []string{"-appendonly", "yes", "-appendfsync", policy, "-appendfilename", path}
	p := startProcess(t, 0, "127.0.0.1:0", args...)
	if slow {
		p.tamper(t, "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=300000")
	}

	piece := array("PING") // which looks like damage if it stays
	if sig == os.Kill {
		piece = "v" // it may come in the middle of a write
	}
	watcher := dialTo(t, "tcp", p.addr)
	end := make(chan struct{})
	writers := make([]*fillWriter, 5)
	var wg sync.WaitGroup
	for i := range writers {
		w := &fillWriter{id: i, piece: piece, acked: make(map[int]int)}
		writers[i] = w
		c := dialTo(t, "tcp", p.addr)
		wg.Go(func() {
			for {
				w.run(c)
				c.Close()
				nc, err := net.Dial("tcp", p.addr)
				if err != nil {
					return // it has ended
				}
				nc.SetDeadline(deadline())
				c = &conn{nc, t, bufio.NewReader(nc)}
				select {
				case <-end:
					c.Close()
					return
				default:
				}
			}
		})
	}

	moment := func() { time.Sleep(rand.N(150 * time.Millisecond)) }
	for slow && policy == "everysec" { // until a sync runs; or the disk is full already, and none may come
		if info := watcher.cmd("INFO persistence"); strings.Contains(info, "fsync:1") || strings.Contains(info, "status:err") {
			break
		}
	}
	moment()
	var filler string
	if room(t, dir) > 100_000 {
		filler = fill(t, dir, rand.IntN(100_000))
	}
	moment()
	if filler != "" && rand.IntN(2) == 0 {
		os.Remove(filler)
		moment()
	}
	close(end)
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	wg.Wait()

	p = startProcess(t, 0, "127.0.0.1:0", args...)
	c := dialTo(t, "tcp", p.addr)
	for _, w := range writers {
		w.check(t, c)
		acked += len(w.acked)
		refused += w.sent - len(w.acked)
	}
	p.Process.Kill()
	p.Wait()
	os.Remove(filler)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return acked, refused
}
