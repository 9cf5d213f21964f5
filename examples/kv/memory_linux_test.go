package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// resident returns how many bytes of memory a process has.
func resident(t *testing.T, pid int) (n int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(status[strings.Index(string(status), "VmRSS:"):]), "VmRSS: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n << 10
}

func TestMemoryIsGivenBackWhenTheDataIsGone(t *testing.T) {
	p := startProcess(t, 0, "127.0.0.1:0")
	c := dialTo(t, "tcp", p.addr)
	for i := range 100 {
		c.expect(fmt.Sprintf("SETRANGE key:%d 1048575 v", i), ":1048576")
	}
	before := resident(t, p.Process.Pid)
	if before < 100<<20 {
		t.Fatalf("100 MiB take only %d bytes", before)
	}
	c.expect("FLUSHALL", "+OK")

	// What the race detector has noted about that memory stays.
	for end := deadline(); resident(t, p.Process.Pid) > before-40<<20; c.expect("PING", "+PONG") {
		if time.Now().After(end) {
			t.Fatalf("it had %d bytes, and has %d", before, resident(t, p.Process.Pid))
		}
	}
}
