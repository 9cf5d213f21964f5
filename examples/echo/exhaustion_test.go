package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
)

// spawn runs the server in a process of its own, with a limit on its descriptors
// if that is not 0, and wrapped in other commands if there are any. It returns
// where the server listens and the lines that it writes to its standard error.
func spawn(t testing.TB, nofile int, wrap ...string) (addr string, log *lines) {
	t.Helper()
	cmd := testutil.Command(wrap, "serve")
	if nofile > 0 {
		testutil.LimitDescriptors(cmd, nofile)
	}
	log = &lines{}
	cmd.Stderr = log
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log)
		}
	})
	addrs, _ := testutil.Spawn(t, cmd, 1, cmd.StdoutPipe)
	return addrs[0], log
}

// Whoever takes the messages may end before the server does.
func TestTheServerGoesOnWhenNobodyTakesItsMessages(t *testing.T) {
	addr, _ := spawn(t, 32, "sh", "-c", `("$0" "$@" 2>&1 >&3 | true) 3>&1`)
	first := dial(t, "tcp", addr)
	for range 50 { // more than it has descriptors for, which is worth a message
		dial(t, "tcp", addr)
		roundTrip(t, first, "still served")
	}
}

// lines collects what a process writes, for a test to look at meanwhile.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pitfall 5: redis#246, gnet#367, netpoll#311
func TestOutOfDescriptorsExistingClientsAreServed(t *testing.T) {
	const limit, clients = 64, 120
	began := time.Now()
	addr, log := spawn(t, limit)
	var conns []net.Conn
	first := dial(t, "tcp", addr)
	roundTrip(t, first, "the first")
	for range clients {
		conns = append(conns, dial(t, "tcp", addr)) // the backlog takes those whom the server cannot
		roundTrip(t, first, "still served")
	}

	for !strings.Contains(log.String(), "too many open files") {
		roundTrip(t, first, "still served")
		if time.Since(began) > testutil.Patience {
			t.Fatalf("the server does not say that it has run out:\n%s", log)
		}
	}

	// As descriptors return, those who wait are taken, to the last.
	for i, c := range conns {
		roundTrip(t, c, fmt.Sprint("client ", i))
		c.Close()
	}
	roundTrip(t, first, "to the end")
}
