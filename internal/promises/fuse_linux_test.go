//go:build !ae_select

package promises_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"golang.org/x/sys/unix"
)

// A file on FUSE is one whose poll operation waits for somebody: for the daemon
// behind it, in epoll_wait and in EPOLL_CTL_ADD and MOD, whatever the timeout. A
// raw system call that waits stops the garbage collector of its process, and for
// ever if the daemon is in that process too: it cannot go on to answer.
//
// Here the file's daemon takes fuseDelay for each answer, and the loop that
// watches the file is in a process of its own, which can be killed if it hangs.
// pitfall 24
func TestAFileOnFUSEDoesNotStopTheGarbageCollector(t *testing.T) {
	if os.Getenv("AE_EXEC") != "" {
		t.Skip("what an emulator does for a raw call is not what is tested here")
	}
	for _, c := range []struct{ name, daemon, loop string }{
		{"daemon in another process", "daemon", "loop"},
		{"daemon in the loop's process", "", "daemon and loop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time they wait
			dev, path := mountFUSE(t)
			ctx, cancel := context.WithTimeout(context.Background(), 40*fuseDelay)
			defer cancel()
			if c.daemon != "" {
				daemon, _ := fuseChild(ctx, t, c.daemon, path, dev)
				defer daemon.Wait()
				defer daemon.Process.Kill()
				dev = nil
			}
			loop, output := fuseChild(ctx, t, c.loop, path, dev)
			if err := loop.Wait(); err != nil {
				t.Errorf("%v\n%s", errors.Join(err, ctx.Err()), output)
			}
		})
	}
}

const (
	fuseDelay   = 800 * time.Millisecond
	fuseChildFD = 3 // /dev/fuse, in a child
)

// mountFUSE mounts a file system that is one regular file, and returns the
// daemon's end of it, which nobody reads yet, and the file's path.
func mountFUSE(t *testing.T) (dev *os.File, path string) {
	t.Helper()
	path = t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs /dev/fuse: ", err)
	}
	dev = os.NewFile(uintptr(fd), "/dev/fuse")
	t.Cleanup(func() { dev.Close() })
	var janitor *exec.Cmd
	t.Cleanup(func() {
		if janitor != nil {
			janitor.Wait()
		}
	})
	janitor, _ = fuseChild(context.Background(), t, "janitor", path, nil)
	err = unix.Mount("ae-test", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV,
		fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d", fd, unix.S_IFREG, os.Getuid(), os.Getgid()))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		t.Skip("needs root and FUSE: mount: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dev, path
}

// abortFUSE fails every request that waits for the daemon, without which not even
// SIGKILL ends who waits, and takes the mount away.
func abortFUSE(path string) { unix.Unmount(path, unix.MNT_FORCE|unix.MNT_DETACH) }

// fuseChild starts this binary again; init, below, is what the child does. It has
// dev as its descriptor 3, and this process no longer has it.
func fuseChild(ctx context.Context, t *testing.T, role, path string, dev *os.File) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "AE_FUSE_CHILD="+role, "AE_FUSE_PATH="+path)
	if dev != nil {
		cmd.ExtraFiles = []*os.File{dev}
		defer dev.Close()
	}
	cmd.Cancel = func() error {
		abortFUSE(path)
		return cmd.Process.Kill()
	}
	cmd.WaitDelay = 5 * time.Second
	output := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = output, output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, output
}

func init() {
	role := os.Getenv("AE_FUSE_CHILD")
	if role == "" {
		return
	}
	path := os.Getenv("AE_FUSE_PATH")
	if role == "janitor" { // unmounts when the test ends, even by a panic
		signal.Ignore(os.Interrupt)
		io.Copy(io.Discard, os.Stdin)
		abortFUSE(path)
		os.Exit(0)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // the parent is gone
	}()
	var err error
	switch role {
	case "daemon":
		err = serveFUSE(fuseChildFD)
	case "loop":
		err = watchFUSE(path)
	case "daemon and loop":
		go serveFUSE(fuseChildFD)
		err = watchFUSE(path)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// watchFUSE does with the file all that makes the kernel ask its daemon, while
// the garbage collector runs.
func watchFUSE(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	el, err := ae.New(1024)
	if err != nil {
		return err
	}
	defer el.Close()
	calls := 0
	proc := func(*ae.EventLoop, int, ae.Mask) { calls++ }

	var all error
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"CreateFileEvent", func() error { return el.CreateFileEvent(fd, ae.Readable, proc) }},
		{"ProcessEvents", func() error { _, err := el.ProcessEvents(ae.AllEvents); return err }},
		{"CreateFileEvent for the other event", func() error { return el.CreateFileEvent(fd, ae.Writable, proc) }},
		{"DeleteFileEvent of one event", func() error { return el.DeleteFileEvent(fd, ae.Writable) }},
		{"ProcessEvents with DontWait", func() error { _, err := el.ProcessEvents(ae.AllEvents | ae.DontWait); return err }},
	} {
		start := time.Now()
		slowest, err := slowestGC(c.do)
		took := time.Since(start)
		if err != nil || took < fuseDelay || slowest > fuseDelay*3/4 {
			all = errors.Join(all, fmt.Errorf("%s: %v; it took %v, and the slowest runtime.GC beside it %v", c.what, err, took, slowest))
		}
	}
	if calls != 2 {
		all = errors.Join(all, fmt.Errorf("%d calls of the proc in two iterations", calls))
	}
	return errors.Join(all, el.DeleteFileEvent(fd, ae.Readable))
}

// slowestGC runs the garbage collector until do returns, and returns how long it
// took at most.
func slowestGC(do func() error) (slowest time.Duration, err error) {
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			start := time.Now()
			runtime.GC()
			slowest = max(slowest, time.Since(start))
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err = do()
	close(stop)
	<-stopped
	return slowest, err
}

// What serveFUSE knows of the protocol, from linux/fuse.h.
const (
	fuseForget  = 2
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRelease = 18
	fuseInit    = 26
	fusePoll    = 40

	fuseNoFlush = 1 << 5 // FOPEN_NOFLUSH: close(2) does not ask

	fuseInHeader  = 40 // len, opcode uint32; unique, nodeid uint64; ...
	fuseOutHeader = 16 // len uint32; error int32; unique uint64
)

// serveFUSE is the daemon of a file that is always readable and writable. It
// takes fuseDelay to say so, and to answer fstat(2).
func serveFUSE(dev int) error {
	request := make([]byte, 64<<10)
	for {
		n, err := unix.Read(dev, request)
		switch {
		case err == unix.ENODEV: // unmounted
			return nil
		case err == unix.EINTR || err == unix.ENOENT: // ENOENT: the request was taken back
			continue
		case err != nil:
			return err
		case n < fuseInHeader:
			return fmt.Errorf("a FUSE request of %d bytes", n)
		}
		op := binary.NativeEndian.Uint32(request[4:])
		unique := binary.NativeEndian.Uint64(request[8:])
		answer := fuseAnswer(op, unique)
		switch op {
		case fuseForget:
		case fusePoll, fuseGetattr:
			time.AfterFunc(fuseDelay, func() { unix.Write(dev, answer) })
		default:
			unix.Write(dev, answer)
		}
	}
}

func fuseAnswer(op uint32, unique uint64) []byte {
	var errno unix.Errno
	var body []byte
	u32 := binary.NativeEndian.PutUint32
	switch op {
	case fuseInit: // struct fuse_init_out
		body = make([]byte, 64)
		u32(body[0:], 7)     // the protocol's version, 7.31
		u32(body[4:], 31)    //
		u32(body[20:], 4096) // max_write
	case fuseGetattr: // struct fuse_attr_out; not to be cached
		body = make([]byte, 104)
		u32(body[16:], 1)                  // attr.ino
		u32(body[76:], unix.S_IFREG|0o600) // attr.mode
		u32(body[80:], 1)                  // attr.nlink
	case fuseOpen: // struct fuse_open_out
		body = make([]byte, 16)
		u32(body[8:], fuseNoFlush)
	case fusePoll: // struct fuse_poll_out
		body = make([]byte, 8)
		u32(body[0:], unix.POLLIN|unix.POLLOUT)
	case fuseRelease:
	default:
		errno = unix.ENOSYS
	}
	header := make([]byte, fuseOutHeader, fuseOutHeader+len(body))
	u32(header[0:], uint32(fuseOutHeader+len(body)))
	u32(header[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(header[8:], unique)
	return append(header, body...)
}
