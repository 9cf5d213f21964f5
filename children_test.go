package ae_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Some tests need a second process. They run the test binary again, and AE_CHILD
// tells it what to do instead of testing. A child that fails panics.
var children = map[string]func(){
	"hold": func() { io.Copy(io.Discard, os.Stdin) }, // keeps what it inherited until stdin ends
}

func TestMain(m *testing.M) {
	name := os.Getenv("AE_CHILD")
	if child := children[name]; child != nil {
		runtime.LockOSThread() // strace counts calls by thread
		child()
		return
	}
	if name != "" {
		panic(fmt.Sprintf("no child is called %q", name))
	}
	os.Exit(m.Run())
}

// childCommand returns the command that runs a child, without having started it.
func childCommand(name string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "AE_CHILD="+name), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// holdInChild has a child process inherit fd, and so keep its open file, until
// the test ends.
func holdInChild(t testing.TB, fd int) {
	t.Helper()
	dup, err := dupAbove(fd, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "held")
	defer file.Close()
	cmd := childCommand("hold")
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
