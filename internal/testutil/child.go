package testutil

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Some tests need a second process. They run the test binary again, and AE_CHILD
// says what it is to do instead of testing. A child that fails panics.
const childVar = "AE_CHILD"

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

// Main is for the TestMain of a package that has children.
func Main(m *testing.M) {
	name := os.Getenv(childVar)
	if name == "" {
		os.Exit(m.Run())
	}
	do := children[name]
	if do == nil {
		panic(fmt.Sprintf("no child is called %q", name))
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
