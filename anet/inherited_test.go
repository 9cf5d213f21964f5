package anet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["inherited"] = func() error {
		list, err := Inherited()
		if err != nil {
			var errno unix.Errno
			errors.As(err, &errno)
			fmt.Println("errno", unix.ErrnoName(errno))
			return nil
		}

		for _, s := range list {
			nonblock, err1 := Nonblock(s.FD)
			cloexec, err2 := CloseOnExec(s.FD)
			_, _, acceptErr := Accept(s.FD)
			fmt.Println(s.FD, s.Name, LocalString(s.FD), nonblock, cloexec, acceptErr == ErrWouldBlock, errors.Join(err1, err2))
		}

		again, err := Inherited()
		fmt.Println("again", len(again), err)
		for _, v := range os.Environ() {
			if strings.HasPrefix(v, "LISTEN_") {
				fmt.Println("left", v)
			}
		}
		return nil
	}
}

// inherited starts a child that was passed the listeners lns, as systemd passes
// them, and returns what it printed.
func inherited(t *testing.T, script string, lns ...int) string {
	t.Helper()
	args := append([]string{"-c", script + ` exec "$0" "$@"`}, self(t)...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append(slices.Clone(os.Environ()), childVar+"=inherited", "GORACE=atexit_sleep_ms=0")
	for _, ln := range lns {
		fd, err := dup(ln)
		noError(t, err)
		f := os.NewFile(uintptr(fd), "listener")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}

	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return string(out)
}

func TestInheritedListeners(t *testing.T) {
	a := must(t)(Listen("tcp", "127.0.0.1:0"))
	b := must(t)(Listen("tcp", "[::1]:0"))
	noError(t, SetNonblock(b, false))

	const given = "export LISTEN_PID=$$ LISTEN_FDS=2 "
	lines := func(nameA, nameB string) string {
		return fmt.Sprintf("3 %s %s true true true <nil>\n4 %s %s true true true <nil>\nagain 0 <nil>\n",
			nameA, LocalString(a), nameB, LocalString(b))
	}

	for _, tt := range []struct{ script, want string }{
		{given + "LISTEN_FDNAMES=http:admin;", lines("http", "admin")},
		{given + ";", lines("", "")},
		{given + "LISTEN_FDNAMES=one;", lines("", "")},
		{"export LISTEN_PID=1 LISTEN_FDS=2;", "again 0 <nil>\n"},
		{"export LISTEN_FDS=2;", "again 0 <nil>\n"},
		{"export LISTEN_PID=$$;", "again 0 <nil>\n"},
		{"export LISTEN_PID=$$ LISTEN_FDS=0;", "again 0 <nil>\n"},
		{"export LISTEN_PID=$$ LISTEN_FDS=-1;", "errno EINVAL\n"},
		{"export LISTEN_PID=$$ LISTEN_FDS=two;", "errno EINVAL\n"},
		{"export LISTEN_PID=$$ LISTEN_FDS=60000;", "errno EBADF\n"},
		{"", "again 0 <nil>\n"},
	} {
		if got := inherited(t, tt.script, a, b); got != tt.want {
			t.Errorf("%s\ngot:\n%swant:\n%s", tt.script, got, tt.want)
		}
	}
}
