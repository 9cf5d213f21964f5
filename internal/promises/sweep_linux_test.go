//go:build linux && !ae_select

package promises_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

func init() {
	testutil.Child("life", wholeLife)
	testutil.Child("wake", wakeOverAndOver)
	testutil.Child("without descriptors", closedFileWithoutDescriptors)
}

// swept are the system calls that the loop makes. (Not close: a fault would keep
// the descriptor open.)
var swept = []string{
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "pipe2", "fcntl", "poll", "ppoll",
	"read", "write",
}

// Each system call in the life of a loop is made to fail in each way that means
// trouble. What comes of it is that error, seen by the caller, or a retry: no byte
// is lost, no descriptor is, and the child ends.
func TestInjectedFaultsAreAnErrorOrARetry(t *testing.T) {
	injected := map[string]int{} // by the call's name
	log, _ := testutil.RunUnderStrace(t, "life", nil, "trace="+strings.Join(swept, ",?"))
	for i, c := range testutil.CallsBetween(t, log) {
		for _, errno := range testutil.Errnos(i) {
			t.Run(fmt.Sprintf("%s-%d/%s", c.Name, c.N, errno), func(t *testing.T) {
				log, out := testutil.RunUnderStrace(t, "life", nil, "trace="+c.Name,
					fmt.Sprintf("inject=%s:error=%s:when=%d", c.Name, errno, c.N))
				if !strings.Contains(log, "INJECTED") {
					return // how often it polls before all is ready depends on the machine
				}
				injected[c.Name]++
				if strings.Contains(out, errno) == survives(c, errno) {
					t.Errorf("%s(%s: %s became %s", c.Name, c.Args, errno, out)
				}
			})
		}
	}
	for _, name := range []string{"epoll_create1", "epoll_ctl", "epoll_pwait", "pipe2"} {
		if injected[name] == 0 {
			t.Errorf("no fault in %s", name)
		}
	}
	t.Logf("faults injected: %v", injected)
}

// survives reports whether the loop goes on as if nothing had been, after that
// error of that call.
func survives(c testutil.Call, errno string) bool {
	switch {
	case errno == "EINTR" && c.Name != "epoll_create1" && c.Name != "epoll_ctl" && c.Name != "pipe2":
		return true // asked again
	case strings.Contains(c.Args, "EPOLL_CTL_DEL"), strings.Contains(c.Args, "EPOLL_CTL_MOD") && !strings.Contains(c.Args, "EPOLLOUT"):
		return true // DeleteFileEvent cannot fail: what is reported nevertheless is dropped
	}
	return false
}

// wholeLife has one loop make every system call it knows.
func wholeLife() {
	a, b, err := anet.SocketPair()
	if err != nil {
		panic(err)
	}
	before := testutil.OpenDescriptors()
	testutil.Between(func() { err = liveOn(a, b) })

	fmt.Println("error:", err)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		fmt.Println("errno:", unix.ErrnoName(errno))
	} else if err != nil {
		panic(err)
	}
	if after := testutil.OpenDescriptors(); !slices.Equal(before, after) {
		panic(fmt.Sprintf("descriptors %v, before %v", after, before))
	}
}

func liveOn(a, b int) (err error) {
	el, err := ae.New(1024)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, el.Close()) }()
	fail := func(what error) {
		if what != nil && what != anet.ErrWouldBlock {
			err = cmp.Or(err, what)
		}
	}

	// A byte at a time goes from b to a.
	const text = "hello"
	var got bytes.Buffer
	sent := 0
	fail(el.CreateFileEvent(a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
		var buf [1]byte
		n, err := anet.Read(fd, buf[:])
		fail(err)
		got.Write(buf[:n])
	}))
	fail(el.CreateFileEvent(b, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { panic("there is nothing to read") }))
	fail(el.CreateFileEvent(b, ae.Writable, func(el *ae.EventLoop, fd int, _ ae.Mask) {
		if sent == len(text) {
			fail(el.DeleteFileEvent(fd, ae.Writable))
			return
		}
		n, err := anet.Write(fd, []byte(text[sent:sent+1]))
		fail(err)
		sent += n
	}))

	// A time event has the loop sleep.
	slept := false
	el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		slept = true
		return ae.NoMore
	})
	deadline := time.Now().Add(testutil.Patience)
	for err == nil && (got.Len() < len(text) || !slept) {
		_, pollErr := el.ProcessEvents(ae.AllEvents)
		fail(pollErr)
		if time.Now().After(deadline) {
			panic(fmt.Sprintf("%d of %d bytes have come, slept: %v", got.Len(), len(text), slept))
		}
	}
	if err == nil && got.String() != text {
		panic(fmt.Sprintf("%q became %q", text, got.String()))
	}

	_, waitErr := ae.Wait(b, ae.Writable, 0)
	fail(waitErr)
	return err
}

// pitfall 12: the pipe that wakes the loop is read and written like any other.
func TestInjectedFaultsInTheWakePipeLoseNoWakeUp(t *testing.T) {
	for _, c := range []struct{ calls, inject string }{
		{"write", "error=EINTR:when=1+2"},
		{"read", "error=EINTR:when=20+2"},
		{"read", "error=EAGAIN:when=21+7"},
		{"epoll_pwait", "error=EINTR:when=1+3"},
	} {
		t.Run(c.calls+"/"+c.inject, func(t *testing.T) {
			log, _ := testutil.RunUnderStrace(t, "wake", nil, "trace="+c.calls, "inject="+c.calls+":"+c.inject)
			if !strings.Contains(log, "INJECTED") {
				t.Error("nothing was injected")
			}
		})
	}
}

// wakeOverAndOver posts to a loop from another goroutine, again as soon as what
// was posted has run. Most of the time the loop sleeps by then.
func wakeOverAndOver() {
	el, err := ae.New(64)
	if err != nil {
		panic(err)
	}
	ran := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			for range i {
				runtime.Gosched()
			}
			if err := el.Post(func(*ae.EventLoop) { ran <- i }); err != nil {
				panic(err)
			}
			select {
			case got := <-ran:
				if got != i {
					panic(fmt.Sprintf("function %d ran when %d was posted", got, i))
				}
			case <-time.After(testutil.Patience):
				panic("a wake-up was lost")
			}
		}
		el.Stop()
	})
	if err := el.Main(); err != nil {
		panic(err)
	}
	wg.Wait()
	if err := el.Close(); err != nil {
		panic(err)
	}
}

// A file that was closed before DeleteFileEvent, and that a dup keeps open, cannot
// be got rid of while there is no descriptor left. It must not spin the loop then:
// programs that lose descriptors run out of them. pitfall 2
func TestAClosedFileThatIsHeldDoesNotSpinWithoutDescriptors(t *testing.T) {
	testutil.Run(t, testutil.Command(nil, "without descriptors"))
}

func closedFileWithoutDescriptors() {
	el, err := ae.New(1024)
	if err != nil {
		panic(err)
	}
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	for round := range 2 {
		a, b, err := anet.SocketPair()
		if err != nil {
			panic(err)
		}
		held, err := testutil.DupAbove(a, 0)
		if err != nil {
			panic(err)
		}
		anet.Write(b, []byte("x"))
		if err := el.CreateFileEvent(a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { panic("called for a closed file") }); err != nil {
			panic(err)
		}
		anet.Close(a)
		el.DeleteFileEvent(a, ae.Readable)
		taken := testutil.TakeAll()

		iterations := 0
		remove := el.AddBeforeSleep(func(*ae.EventLoop) { iterations++ })
		mainFor(el, 100*time.Millisecond)
		if iterations > 15 { // 100 a second
			panic(fmt.Sprintf("round %d: the loop spins: %d iterations", round, iterations))
		}

		// Nor does that hold up a poll that must not wait, or a time event: not each time.
		if d := leastOf(20, func() { el.ProcessEvents(ae.AllEvents | ae.DontWait) }); d > 5*time.Millisecond {
			panic(fmt.Sprintf("round %d: a poll that must not wait takes %v", round, d))
		}
		if d := leastOf(20, func() { mainFor(el, time.Millisecond) }); d > 8*time.Millisecond {
			panic(fmt.Sprintf("round %d: a time event for a millisecond takes %v", round, d))
		}

		anet.Close(taken[0])
		iterations = 0
		if mainFor(el, 50*time.Millisecond); iterations > 4 {
			panic(fmt.Sprintf("round %d: with a descriptor, %d iterations instead of a sleep", round, iterations))
		}
		remove()
		for _, fd := range append(taken[1:], b, held) {
			anet.Close(fd)
		}
	}
	if err := el.Close(); err != nil {
		panic(err)
	}
}

// leastOf returns how long the fastest of n calls of fn takes.
func leastOf(n int, fn func()) time.Duration {
	least := time.Hour
	for range n {
		start := time.Now()
		fn()
		least = min(least, time.Since(start))
	}
	return least
}

// mainFor runs Main for d.
func mainFor(el *ae.EventLoop, d time.Duration) {
	el.CreateTimeEvent(d, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		el.Stop()
		return ae.NoMore
	})
	if err := el.Main(); err != nil {
		panic(err)
	}
}
