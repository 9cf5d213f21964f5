package testutil

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Some tests need a second process. They run the test binary again, and AE_CHILD
// says what it is to do instead of testing. A child that fails panics. AE_NOFILE is
// how many descriptors it may have, if not as many as the test.
const (
	childVar  = "AE_CHILD"
	nofileVar = "AE_NOFILE"
)

var children = map[string]func(){
	"hold": func() { io.Copy(io.Discard, os.Stdin) }, // keeps what it inherited until stdin ends
}

// Child registers, in an init function, what a child process of that name does.
func Child(name string, do func()) {
	if children[name] != nil {
		panic(fmt.Sprintf("two children are called %q", name))
	}
	children[name] = do
}

// Waiting is for the TestMain of a package whose parallel tests wait for most of the
// time: four at once need no more than two processors. The command line goes first.
func Waiting() {
	if runtime.GOMAXPROCS(0) < 4 {
		_ = flag.Set("test.parallel", "4")
	}
}

// Main is for the TestMain of a package that has children.
func Main(m *testing.M) {
	name := os.Getenv(childVar)
	if name == "" {
		Waiting()
		os.Exit(m.Run())
	}
	do := children[name]
	if do == nil {
		panic(fmt.Sprintf("no child is called %q", name))
	}
	var limit unix.Rlimit
	if n, _ := fmt.Sscan(os.Getenv(nofileVar), &limit.Cur); n > 0 {
		limit.Max = limit.Cur
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			panic(err)
		}
	}
	runtime.LockOSThread() // strace counts calls by thread
	do()
}

// emulator is the command that runs this binary, if it is not the kernel that
// does: AE_EXEC, such as "qemu-aarch64", which `go test -exec` was given too.
var emulator = strings.Fields(os.Getenv("AE_EXEC"))

// NotEmulated skips a test of what an emulator cannot do.
func NotEmulated(t testing.TB, what string) {
	t.Helper()
	if len(emulator) > 0 {
		t.Skipf("not under %s: %s", emulator[0], what)
	}
}

// Command is the command that runs this test binary again, behind the words of
// wrap if there are any: as the child of that name, or, without a name, with the
// tests that the arguments say.
func Command(wrap []string, name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	words := slices.Concat(wrap, emulator, []string{self}, args)
	cmd := exec.Command(words[0], words[1:]...)
	// Under -race a process sleeps a second before it exits, unless told not to.
	cmd.Env = append(os.Environ(), childVar+"="+name, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// LimitDescriptors has a child begin with that many descriptors at most.
func LimitDescriptors(cmd *exec.Cmd, n int) {
	cmd.Env = append(cmd.Env, fmt.Sprint(nofileVar, "=", n))
}

// Run runs a child, within the time that a test has, and returns what it wrote.
func Run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	guard := time.AfterFunc(3*Patience, func() { cmd.Process.Kill() })
	defer guard.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// Exit runs a child that is to end by itself. It returns its exit code, and what it
// wrote.
func Exit(t testing.TB, cmd *exec.Cmd) (code int, out string) {
	t.Helper()
	defer time.AfterFunc(Patience, func() { cmd.Process.Kill() }).Stop()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// HoldInChild has a child process inherit fd, and so keep its open file, until
// the test ends.
func HoldInChild(t testing.TB, fd int) {
	t.Helper()
	dup, err := DupAbove(fd, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "held")
	defer file.Close()
	cmd := Command(nil, "hold")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{file}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}
