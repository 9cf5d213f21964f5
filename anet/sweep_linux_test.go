package anet

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
)

// swept are the system calls that this package makes. (Not close: a fault would
// keep the descriptor open.)
var swept = []string{
	"socket", "bind", "listen", "accept4", "connect", "setsockopt", "getsockopt", "getsockname", "getpeername", "fcntl",
	"pipe2", "socketpair", "shutdown", "fchmodat", "unlinkat", "newfstatat",
	"read", "write", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg",
}

// otherwise are the calls whose failure an op meets in its own way.
var otherwise = map[string]string{
	"listen any getsockname":  "the op asks LocalString, which has ? for it",
	"listen any getsockopt":   "likewise",
	"listen unix newfstatat":  "the op looks whether the file is gone",
	"replace unix newfstatat": "what cannot be looked at is not replaced: EADDRINUSE",
	"replace unix connect":    "only ECONNREFUSED proves that nobody listens: EADDRINUSE",
}

// callsOf returns the system calls that an op makes when all is well.
func callsOf(t *testing.T, op string) []testutil.Call {
	t.Helper()
	output := filepath.Join(t.TempDir(), "trace")
	t.Setenv(opVar, op)
	t.Setenv(dirVar, shortDir(t))
	runChild(t, "op", testutil.Strace(t, output)...)
	trace, err := os.ReadFile(output)
	noError(t, err)
	return slices.DeleteFunc(testutil.CallsBetween(t, string(trace)), func(c testutil.Call) bool {
		return !slices.Contains(swept, c.Name)
	})
}

// What an event costs: nothing asks for a descriptor's flags first.
func TestAnAcceptAReadAndAWriteAreOneCallEach(t *testing.T) {
	for op, want := range map[string]string{
		"accept": "accept4", "read a socket": "recvfrom", "write a socket": "sendto",
		"read a pipe": "recvfrom read", "write a pipe": "sendto write", // recvfrom and sendto say ENOTSOCK
	} {
		t.Run(op, func(t *testing.T) {
			var got []string
			for _, c := range callsOf(t, op) {
				got = append(got, c.Name)
			}
			// Under the race detector callsOf leaves out read and write.
			plain := strings.Fields(want)[0]
			if s := strings.Join(got, " "); s != want && s != plain {
				t.Errorf("system calls %q, want %q", s, want)
			}
		})
	}
}

// Each call that each operation makes is made to fail in each way that means
// trouble: what comes of it is that error or a retry. No descriptor is lost,
// and nothing hangs.
func TestEveryCallThatFailsIsAnErrorOrARetry(t *testing.T) {
	faults := 0
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		switch op {
		case "close", "permissions", "replace at once", "short writev":
			continue // their own tests say more
		}
		for _, c := range callsOf(t, op) {
			for _, errno := range testutil.Errnos(faults) {
				faults++
				sweep(t, op, c, errno)
			}
		}
	}
	t.Logf("%d faults injected", faults)
}

func sweep(t *testing.T, op string, c testutil.Call, errno string) {
	t.Run(fmt.Sprintf("%s/%s-%d/%s", op, c.Name, c.N, errno), func(t *testing.T) {
		t.Setenv(opVar, op)
		t.Setenv(dirVar, shortDir(t))
		output := filepath.Join(t.TempDir(), "trace")
		inject := fmt.Sprintf("inject=%s:error=%s:when=%d", c.Name, errno, c.N)
		out := runChild(t, "op", testutil.Strace(t, output, "trace="+c.Name, inject)...)

		trace, err := os.ReadFile(output)
		noError(t, err)
		if !strings.Contains(string(trace), "INJECTED") {
			t.Error("nothing was injected")
		}
		if _, ok := otherwise[op+" "+c.Name]; ok || errno == "EINTR" {
			return // runChild has seen to it that no descriptor was lost
		}
		if !strings.Contains(out, "errno "+errno+":") {
			t.Errorf("the error became: %s", out)
		}
	})
}
