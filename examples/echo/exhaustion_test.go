package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
)

// spawn runs the server in a process of its own, wrapped in other commands if
// there are any. It returns where the server listens and the lines that it
// writes to its standard error.
func spawn(t testing.TB, env []string, wrap ...string) (addr string, log *lines) {
	t.Helper()
	cmd := testutil.Command(wrap, "serve")
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log = &lines{}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with whatever it is wrapped in
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v\n%s", err, log)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "echo: listening on")), log
}

// Whoever takes the messages may end before the server does.
func TestTheServerGoesOnWhenNobodyTakesItsMessages(t *testing.T) {
	addr, _ := spawn(t, []string{"ECHO_NOFILE=32"}, "sh", "-c", `("$0" "$@" 2>&1 >&3 | true) 3>&1`)
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
	addr, log := spawn(t, []string{fmt.Sprint("ECHO_NOFILE=", limit)})
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
