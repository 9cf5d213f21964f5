package anet

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// InheritedSocket is a socket that the process was started with.
type InheritedSocket struct {
	FD   int
	Name string // from LISTEN_FDNAMES, by default the name of systemd's .socket unit; "" without one
}

// inheritedFirst is the first descriptor after standard error:
// SD_LISTEN_FDS_START.
const inheritedFirst = 3

// Inherited returns the sockets that systemd, or another that keeps to
// sd_listen_fds(3), passed to this process through LISTEN_FDS: none, without an
// error, if it passed none. They are made non-blocking and close-on-exec, and
// are the caller's to close. Listeners are ready for Accept.
//
// The variables are removed from the environment, so that children do not
// mistake them for theirs, and so a second call returns nothing. Call it early:
// descriptors that the variables name by mistake are somebody else's later. If
// one of them is not open, the error says so and none is touched.
func Inherited() ([]InheritedSocket, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}

	if pid != strconv.Itoa(os.Getpid()) || count == "" {
		return nil, nil // nothing passed, or not to this process
	}
	n, err := strconv.ParseUint(count, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%q: %w", count, unix.EINVAL)
	}
	return inherit(int(n), strings.Split(names, ":"))
}

// inherit readies n descriptors. Names count only if there is one for each.
func inherit(n int, names []string) ([]InheritedSocket, error) {
	list := make([]InheritedSocket, n)
	for i := range list {
		if _, err := CloseOnExec(inheritedFirst + i); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d: descriptor %d: %w", n, inheritedFirst+i, err)
		}
	}

	for i := range list {
		list[i].FD = inheritedFirst + i
		if len(names) == n {
			list[i].Name = names[i]
		}

		err := SetCloseOnExec(list[i].FD, true)
		if err == nil {
			err = SetNonblock(list[i].FD, true)
		}
		if err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d: descriptor %d: %w", n, list[i].FD, err)
		}
	}
	return list, nil
}
