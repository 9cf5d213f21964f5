//go:build linux && !ae_select

package ae_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"golang.org/x/sys/unix"
)

// These tests run the test binary again as a child under strace(1), which
// watches its system calls or makes them fail.

func init() {
	children["new"] = newUntilItFails
	children["idle"] = sleepBetweenMarks
}

// strace runs this binary, as child or with args, under strace with the given
// options. It returns what strace and the child wrote.
func strace(t *testing.T, child string, args []string, options ...string) (log, out string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is missing, and CI must not skip")
		}
		t.Skip("strace is not installed")
	}
	file := t.TempDir() + "/strace"
	cmd := exec.Command(path, slices.Concat([]string{"-f", "--seccomp-bpf", "-qq", "-o", file}, options, []string{os.Args[0]}, args)...)
	// Under -race a process sleeps a second before it exits, unless told not to.
	cmd.Env = append(os.Environ(), "AE_CHILD="+child, "GORACE=atexit_sleep_ms=0")
	output, err := cmd.CombinedOutput()
	if os.Getenv("CI") == "" && strings.Contains(string(output), "PTRACE_TRACEME") {
		t.Skipf("ptrace(2) is not permitted here: %s", output)
	}
	if err != nil {
		t.Fatalf("child %q %v under strace %v: %v\n%s", child, args, options, err, output)
	}
	calls, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(calls), string(output)
}

// conformWith runs rows of the conformance table while calls are made to fail.
func conformWith(t *testing.T, rows, calls, inject string) {
	t.Helper()
	log, out := strace(t, "", []string{"-test.count=1", "-test.v", "-test.run=^TestConformance$/" + rows},
		"-e", "trace="+calls, "-e", "inject="+calls+":"+inject)
	if !strings.Contains(out, "--- PASS: TestConformance") {
		t.Errorf("no row ran:\n%s", out)
	}
	if !strings.Contains(log, "INJECTED") {
		t.Errorf("no call was made to fail:\n%s", log)
	}
}

// pitfall 11: ivykis#33, ivykis#34, php-src#23825
func TestWithoutEpollPwait2EverythingStillHolds(t *testing.T) {
	for _, errno := range []string{"ENOSYS", "EPERM", "EOPNOTSUPP"} {
		t.Run(errno, func(t *testing.T) {
			conformWith(t, "^(Time|Door|Iteration)$", "epoll_pwait2", "error="+errno)
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
				strace(t, "new", nil, "-e", "trace="+call, "-e", "inject="+call+":error="+errno+":when=2+")
			})
		}
	}
}

func newUntilItFails() {
	for range 5 {
		before := openDescriptors()
		el, err := ae.New(16)
		if err == nil {
			el.Close()
			continue
		}
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			panic(fmt.Sprintf("error %v tells no errno", err))
		}
		if after := openDescriptors(); !slices.Equal(before, after) {
			panic(fmt.Sprintf("New failed with %v and left descriptors open: %v, before %v", err, after, before))
		}
		return
	}
	panic("New never failed")
}

// The loop of the child sleeps 200 ms between two marks. A poll that finds
// nothing and one that sleeps is all it may do in that time.
func TestAnIdleLoopMakesNoSystemCall(t *testing.T) {
	log, _ := strace(t, "idle", nil, "-e", "trace=all")
	lines := strings.Split(log, "\n")
	thread, begin, end := "", -1, -1
	mark := regexp.MustCompile(`^(\d+) +write\(-1, "(begin|end)"`)
	// What the Go runtime does on this thread, and the signals that it sends itself.
	runtimes := regexp.MustCompile(`^\d+ +(---|(futex|rt_sig\w+|sched_yield|madvise|mmap|munmap|nanosleep|getpid|tgkill)\()`)
	for i, line := range lines {
		if m := mark.FindStringSubmatch(line); m != nil && m[2] == "begin" {
			thread, begin = m[1], i
		} else if m != nil {
			end = i
		}
	}
	if begin < 0 || end < begin {
		t.Fatalf("the marks are missing:\n%s", log)
	}
	var calls []string
	for _, line := range lines[begin+1 : end] {
		if strings.HasPrefix(line, thread+" ") && !strings.Contains(line, "resumed>") && !runtimes.MatchString(line) {
			calls = append(calls, line)
		}
	}
	polls := 0
	for _, call := range calls {
		if strings.Contains(call, "epoll_") {
			polls++
		}
	}
	if polls == 0 || polls > 9 || len(calls) > polls { // a signal ends a sleep, and makes for two more polls
		t.Errorf("%d system calls, %d of them polls, while the loop slept:\n%s", len(calls), polls, strings.Join(calls, "\n"))
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
	unix.Write(-1, []byte("begin"))
	err = el.Main()
	unix.Write(-1, []byte("end"))
	if err != nil {
		panic(err)
	}
}
