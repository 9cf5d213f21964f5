package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
)

// pitfall 5: redis#246, gnet#367, netpoll#311. Out of descriptors, a server goes on serving
// those it has, takes the others as descriptors return, and does not spin.
func TestOutOfDescriptorsItNeitherSpinsNorClosesAClient(t *testing.T) {
	const limit, clients = 64, 80
	began := time.Now()
	addr, end := startWith(t, limit)
	var waiting, served []net.Conn
	for range clients {
		c, err := net.DialTimeout("tcp", addr, testutil.Patience) // the backlog takes those whom the server cannot
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if len(waiting) == 0 && answers(t, c, time.Second) {
			served = append(served, c)
		} else {
			waiting = append(waiting, c)
		}
	}
	if len(served) == 0 || len(waiting) < clients-limit {
		t.Fatalf("%d clients of %d are served with %d descriptors", len(served), clients, limit)
	}

	// As clients go, others are taken, to the last.
	for _, c := range served[1:] {
		c.Close()
	}
	for i, c := range append(waiting, served[0]) {
		if !answers(t, c, testutil.Patience) {
			t.Fatalf("client %d of those who wait gets no answer", i)
		}
	}

	iterations, cpu := end()
	elapsed := time.Since(began)
	t.Logf("%d iterations and %v of CPU time in %v", iterations, cpu, elapsed)
	if most := 6*clients + 4*int(elapsed/(100*time.Millisecond)); iterations > most {
		t.Errorf("%d iterations in %v: the server spins", iterations, elapsed)
	}
	if cpu > elapsed/2 {
		t.Errorf("%v of CPU time in %v: the server spins", cpu, elapsed)
	}
}

// answers reports whether c sends back what it is sent before d has passed, which
// is all that may keep it from that.
func answers(t *testing.T, c net.Conn, d time.Duration) bool {
	t.Helper()
	c.SetDeadline(time.Now().Add(d))
	msg := fmt.Sprint("I am ", c.LocalAddr(), "\n")
	if _, err := io.WriteString(c, msg); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if err != nil || got != msg {
		t.Fatalf("sent %q, received %q: %v", msg, got, err)
	}
	return true
}

func TestAnEchoAllocatesNothing(t *testing.T) {
	el, a, _ := connect(t)
	msg, back := []byte("hello"), make([]byte, 64)
	n := testing.AllocsPerRun(1000, func() {
		anet.Write(a, msg)
		if _, err := el.ProcessEvents(ae.AllEvents); err != nil {
			t.Fatal(err)
		}
		if n, err := anet.Read(a, back); err != nil || string(back[:n]) != "hello" {
			t.Fatalf("%q, %v", back[:n], err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A client that sends and does not read costs the server one buffer; all that was
// taken from it comes back.
func TestARestWaitsForRoom(t *testing.T) {
	el, a, b := connect(t)
	if err := anet.SetSendBuffer(b, 4096); err != nil { // a rest goes in parts
		t.Fatal(err)
	}
	if got := el.FileEvents(b); got != ae.Readable {
		t.Fatalf("an idle client is watched for %v", got)
	}
	chunk := make([]byte, 4096)
	for i := range chunk {
		chunk[i] = byte(i % 251)
	}
	var sent, got []byte
	until(t, el, func() bool {
		n, _ := anet.Write(a, chunk)
		sent = append(sent, chunk[:n]...)
		return n == 0 && el.FileEvents(b) == ae.Writable
	})
	clear(buf[:]) // as another client's request would
	part := make([]byte, 10_000)
	until(t, el, func() bool {
		n, _ := anet.Read(a, part)
		got = append(got, part[:n]...)
		return len(got) >= len(sent)
	})
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d, or not those", len(got), len(sent))
	}
	until(t, el, func() bool { return el.FileEvents(b) == ae.Readable })
}

// A client that goes is taken off the loop and closed, also with a rest.
func TestAClientThatGoesLeavesNothing(t *testing.T) {
	for _, withRest := range []bool{false, true} {
		el, a, b := connect(t)
		until(t, el, func() bool {
			anet.Write(a, make([]byte, 4096))
			return el.FileEvents(b) == ae.Writable || !withRest
		})
		anet.Close(a)
		until(t, el, func() bool { return el.FileEvents(b) == ae.None })
		if err := anet.Close(b); err != syscall.EBADF {
			t.Errorf("closed again: %v", err)
		}
	}
}

// connect returns a loop and both ends of a connection; b is the server's.
func connect(t *testing.T) (el *ae.EventLoop, a, b int) {
	t.Helper()
	el, err := ae.New(1024)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { el.Close() })
	a, b, err = anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{}
	if err := el.CreateFileEvent(b, ae.Readable, c.read); err != nil {
		t.Fatal(err)
	}
	return el, a, b
}

// until runs iterations until done, which is asked before each.
func until(t *testing.T, el *ae.EventLoop, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); {
		if _, err := el.ProcessEvents(ae.AllEvents | ae.DontWait); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > testutil.Patience {
			t.Fatalf("waited %v in vain", testutil.Patience)
		}
	}
}

// startWith runs the server in a process that may open limit descriptors. end
// ends it, and returns how many iterations it made and its CPU time.
func startWith(t *testing.T, limit int) (addr string, end func() (int, time.Duration)) {
	t.Helper()
	cmd := testutil.Command(nil, "serve")
	testutil.LimitDescriptors(cmd, limit)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	addrs, out := testutil.Spawn(t, cmd, 1, cmd.StdoutPipe)
	return addrs[0], func() (iterations int, cpu time.Duration) {
		stdin.Close()
		if _, err := fmt.Fscan(out, &iterations); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return iterations, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
}

func TestMain(m *testing.M) { testutil.Main(m) }

func init() { testutil.Child("serve", serveUntilStdinEnds) }

// serveUntilStdinEnds does what main does, with the iterations counted.
func serveUntilStdinEnds() {
	el, err := ae.New(10_000)
	check(err)
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	check(err)
	check(el.CreateFileEvent(ln, ae.Readable, accept))
	iterations := 0
	el.AddBeforeSleep(func(*ae.EventLoop) { iterations++ })
	fmt.Println(anet.LocalString(ln))
	go func() {
		io.Copy(io.Discard, os.Stdin)
		el.Stop()
	}()
	check(el.Main())
	fmt.Println(iterations)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
