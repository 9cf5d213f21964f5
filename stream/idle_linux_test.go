package stream_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

func init() { testutil.Child("idle", idleServer) }

// idleServer serves idle connections, and for each line of its input prints how
// many there are and how much memory is resident, in KiB.
func idleServer() {
	el, err := ae.New(1 << 20)
	if err != nil {
		panic(err)
	}
	l := stream.On(el)
	h := *echoHandler
	h.Idle = time.Hour
	ln, err := l.Listen(os.Getenv("NETWORK"), os.Getenv("ADDRESS"), stream.ListenConfig{}, &h)
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			el.Post(func(*ae.EventLoop) {
				debug.FreeOSMemory()
				fmt.Println(l.Len(), residentKiB())
			})
		}
		el.Stop()
	}()
	if err := el.Main(); err != nil {
		panic(err)
	}
	l.Close()
	el.Close()
}

// residentKiB returns the process's own resident memory, without its file pages.
func residentKiB() (n int) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

// idleBytes returns what each of n idle connections costs a process that serves
// them.
func (e *env) idleBytes(n int) int {
	testutil.NotEmulated(e, "what it needs itself is counted too")
	e.Helper()
	cmd := testutil.Command(nil, "idle")
	cmd.Env = append(cmd.Env, "NETWORK="+e.network, "ADDRESS="+e.address())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	e.must(err)
	out, err := cmd.StdoutPipe()
	e.must(err)
	e.must(cmd.Start())
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			e.Error(err)
		}
	}()
	lines := bufio.NewScanner(out)
	lines.Scan()
	addr := lines.Text()
	ask := func(want int) (kib int) {
		for end := testutil.Deadline(); ; {
			var conns int
			fmt.Fprintln(in)
			lines.Scan()
			fmt.Sscan(lines.Text(), &conns, &kib)
			if conns == want {
				return kib
			}
			if time.Now().After(end) {
				e.Fatalf("%d connections of %d", conns, want)
			}
		}
	}

	connect := func(n int) (fds []int) {
		for range n {
			fd := e.connect(addr)
			fds = append(fds, fd)
			e.send1(fd)
		}
		return fds
	}
	for _, fd := range connect(100) {
		testutil.CloseNow(e, fd)
	}
	before := ask(0)
	for range 2 {
		before = ask(0)
	}
	connect(n)
	after := ask(n)
	for range 4 {
		after = min(after, ask(n)) // the collector is not done at once
	}
	return (after - before) << 10 / n
}

// send1 has a client be active once.
func (e *env) send1(fd int) {
	e.Helper()
	if _, err := ae.Wait(fd, ae.Writable, testutil.Patience); err != nil {
		e.Fatal(err)
	}
	aetest.Send(e, fd, "x")
	if m, err := ae.Wait(fd, ae.Readable, testutil.Patience); err != nil || m == ae.None {
		e.Fatal(m, err)
	}
	aetest.Receive(fd)
}
