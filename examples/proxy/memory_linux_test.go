package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Whatever is sent to peers that do not read, the proxy keeps no more of it than
// its High mark and one read for each.
func TestMemoryDoesNotGrowForPeersThatDoNotRead(t *testing.T) {
	const pairs = 20
	to, conns := accepting(t)
	addr, cmd := spawn(t, 0, "-to", to)
	var senders []net.Conn
	for range pairs {
		client := dial(t, addr)
		server := take(t, conns)
		defer server.Close()
		if err := errors.Join(pass(client, server, 1), pass(server, client, 1)); err != nil {
			t.Fatal(err)
		}
		senders = append(senders, client, server)
	}

	before := resident(t, cmd.Process.Pid)
	var wg sync.WaitGroup
	for _, c := range senders {
		wg.Go(func() {
			junk := make([]byte, 256<<10)
			for sent := 0; ; {
				c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				n, err := c.Write(junk)
				sent += n
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return // the kernel's buffers are full, and the proxy reads no more
				}
				if err != nil || sent > 64<<20 {
					t.Errorf("%d bytes that nobody reads, %v", sent, err)
					return
				}
			}
		})
	}
	wg.Wait()
	grown := resident(t, cmd.Process.Pid) - before
	t.Logf("%d KiB for each direction", grown>>10/len(senders))
	if most := len(senders) * (64 + 64 + 32) << 10; grown > most+8<<20 { // and the garbage collector's share
		t.Errorf("the proxy has grown by %d bytes for %d directions", grown, len(senders))
	}
}

// resident returns how much memory a process has.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
