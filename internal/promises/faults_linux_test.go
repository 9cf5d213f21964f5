//go:build linux && !ae_select

package promises_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
)

// These tests run the test binary again as a child under strace(1), which
// watches its system calls or makes them fail.

func init() {
	testutil.Child("new", newUntilItFails)
	testutil.Child("idle", sleepBetweenMarks)
}

// conformWith runs rows of the conformance table while calls are made to fail.
func conformWith(t *testing.T, rows, calls, inject string) {
	t.Helper()
	log, out := testutil.RunUnderStrace(t, "", []string{"-test.count=1", "-test.v", "-test.run=^TestConformance$/" + rows},
		"trace="+calls, "inject="+calls+":"+inject)
	if !strings.Contains(out, "--- PASS: TestConformance") {
		t.Errorf("no row ran:\n%s", out)
	}
	if !strings.Contains(log, "INJECTED") {
		t.Errorf("no call was made to fail:\n%s", log)
	}
}

// pitfall 11: ivykis#33, ivykis#34, php-src#23825
func TestWithoutEpollPwait2EverythingStillHolds(t *testing.T) {
	for errno, rows := range map[string]string{"ENOSYS": "^(Time|Door|Iteration)$", "EPERM": "^Time$", "EOPNOTSUPP": "^Time$"} {
		if errno == "EOPNOTSUPP" && !testutil.Long() {
			continue // the same as EPERM
		}
		t.Run(errno, func(t *testing.T) {
			conformWith(t, rows, "epoll_pwait2", "error="+errno)
		})
	}
}

// pitfall 6. The calls that sleep are interrupted; that a call which cannot
// block is interrupted too would be a lie that no kernel tells.
func TestInterruptedWaitsAreNoError(t *testing.T) {
	conformWith(t, "^(File|Time|Door|Iteration)$", "epoll_wait,epoll_pwait2", "error=EINTR:when=1+3")
}

func TestNewReturnsWhatTheSystemSays(t *testing.T) {
	for _, call := range []string{"epoll_create1", "pipe2", "epoll_ctl"} {
		for _, errno := range []string{"EMFILE", "ENFILE", "ENOMEM"} {
			t.Run(call+"/"+errno, func(t *testing.T) {
				testutil.RunUnderStrace(t, "new", nil, "trace="+call, "inject="+call+":error="+errno+":when=2+")
			})
		}
	}
}

func newUntilItFails() {
	for range 5 {
		before := testutil.OpenDescriptors()
		el, err := ae.New(16)
		if err == nil {
			el.Close()
			continue
		}
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			panic(fmt.Sprintf("error %v tells no errno", err))
		}
		if after := testutil.OpenDescriptors(); !slices.Equal(before, after) {
			panic(fmt.Sprintf("New failed with %v and left descriptors open: %v, before %v", err, after, before))
		}
		return
	}
	panic("New never failed")
}

// The loop of the child sleeps 200 ms between two marks. A poll that finds
// nothing and one that sleeps is all it may do in that time.
func TestAnIdleLoopMakesNoSystemCall(t *testing.T) {
	log, _ := testutil.RunUnderStrace(t, "idle", nil, "trace=all")
	// What the Go runtime does on this thread, for itself.
	runtimes := regexp.MustCompile(`^(futex|rt_sig\w+|sched_yield|madvise|mmap|munmap|nanosleep|getpid|tgkill)$`)
	polls := 0
	var others []string
	for _, c := range testutil.CallsBetween(t, log) {
		switch {
		case strings.HasPrefix(c.Name, "epoll_"):
			polls++
		case !runtimes.MatchString(c.Name):
			others = append(others, c.Line)
		}
	}
	if polls == 0 || polls > 9 || len(others) > 0 { // a signal ends a sleep, and makes for two more polls
		t.Errorf("while the loop slept: %d polls, and\n%s", polls, strings.Join(others, ""))
	}
}

func sleepBetweenMarks() {
	el, err := ae.New(1024)
	if err != nil {
		panic(err)
	}
	el.CreateTimeEvent(200*time.Millisecond, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		el.Stop()
		return ae.NoMore
	})
	testutil.Between(func() { err = el.Main() })
	if err != nil {
		panic(err)
	}
}
