package testutil

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Strace returns the command that runs what follows under strace(1), which writes
// the system calls to the file log and makes them fail as expressions, such as
// "inject=read:error=EINTR", say.
func Strace(t testing.TB, log string, expressions ...string) (command []string) {
	t.Helper()
	NotEmulated(t, "it does not implement ptrace(2)")
	if err := straceWorks(); err != nil {
		SkipUnlessCI(t, "%v", err)
	}
	command = []string{"strace", "-f", "--seccomp-bpf", "-qq", "-o", log}
	for _, e := range expressions {
		command = append(command, "-e", e)
	}
	return command
}

// straceWorks returns why strace is of no use here.
var straceWorks = sync.OnceValue(func() error {
	out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-qq", "-o", os.DevNull, "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

// RunUnderStrace runs this test binary again, as a child or with arguments. It
// returns what strace logged and what the child wrote.
func RunUnderStrace(t testing.TB, name string, args []string, expressions ...string) (log, out string) {
	t.Helper()
	file := t.TempDir() + "/strace"
	out = Run(t, Command(Strace(t, file, expressions...), name, args...))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), out
}

// Between calls fn in a child, between two marks in the trace.
func Between(fn func()) {
	unix.Write(-1, []byte("begin"))
	fn()
	unix.Write(-1, []byte("end"))
}

// Errnos are the errors that mean trouble. A sweep has each system call fail in each
// of these ways if AE_LONG asks for it, and otherwise call i in one, by turns.
func Errnos(i int) []string {
	all := []string{"EINTR", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"}
	if Long() {
		return all
	}
	i %= len(all)
	return all[i : i+1]
}

// A Call is a system call in a trace: the N-th of its name by its thread.
type Call struct {
	Name, Args string // with what follows the arguments
	N          int
	Line       string
}

var callLine = regexp.MustCompile(`^(\d+) +(\w+)\((.*)`)

// CallsBetween returns the calls that the thread of Between made there. What other
// threads do, and what a signal interrupts and resumes, is left out.
func CallsBetween(t testing.TB, log string) (calls []Call) {
	t.Helper()
	count := map[string]int{}
	marked, racing := "", strings.Contains(log, `write(-1, "", 0`)
	for line := range strings.Lines(log) {
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, name, args := m[1], m[2], m[3]
		count[thread+name]++
		switch {
		case strings.HasPrefix(args, `-1, "begin"`):
			marked = thread
		case strings.HasPrefix(args, `-1, "end"`):
			return calls
		case racing && (name == "read" || name == "write"): // the detector makes empty ones of its own
		case thread == marked:
			calls = append(calls, Call{name, args, count[thread+name], line})
		}
	}
	t.Fatalf("the marks are missing:\n%s", log)
	return nil
}
