package promises_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// The tests of this file load and abuse the example servers, each in a process
// of its own. They run if AE_SOAK says for how long, such as AE_SOAK=1m.

func soakTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("AE_SOAK"))
	if err != nil {
		t.Skip("AE_SOAK is not set: it says how long to soak, such as 1m")
	}
	return d
}

// exampleServer is an example that runs in its own process.
type exampleServer struct {
	t    *testing.T
	name string
	pid  int
	addr string
}

func startExample(t *testing.T, name string) *exampleServer {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", program, "github.com/aeloop/ae/examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	args := []string{"-addr", "127.0.0.1:0"}
	if name == "kv" {
		args = append(args, "-maxclients", "30000")
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &exampleServer{t: t, name: name, pid: cmd.Process.Pid}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		guard := time.AfterFunc(testutil.Patience, func() { cmd.Process.Kill() })
		defer guard.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.addr = strings.TrimSpace(strings.TrimPrefix(line, name+": listening on"))
	return s
}

// descriptors counts what the server has open.
func (s *exampleServer) descriptors() int {
	dir := fmt.Sprintf("/proc/%d/fd/", s.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	n := len(entries)
	for _, e := range entries {
		// The Go runtime makes an epoll instance and an eventfd of its own when it
		// first wants them. The loop has no eventfd.
		if link, err := os.Readlink(dir + e.Name()); err == nil && strings.Contains(link, "eventfd") {
			n -= 2
		}
	}
	return n
}

// status returns a number of /proc/pid/status, such as VmRSS in KiB.
func (s *exampleServer) status(key string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key+":" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatalf("no %s", key)
	return 0
}

// comesBackTo waits until the server has no more descriptors open than before.
func (s *exampleServer) comesBackTo(before int) {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.addr, testutil.Patience)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(testutil.Patience); s.descriptors() > before+1; {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s has %d descriptors open, before %d: %s", s.name, s.descriptors()-1, before, s.links())
		}
		if err := s.ask(c, 1, nil); err != nil { // which gives it time
			s.t.Fatal(err)
		}
	}
}

// links returns what the server's descriptors are.
func (s *exampleServer) links() (all []string) {
	dir := fmt.Sprintf("/proc/%d/fd/", s.pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		to, _ := os.Readlink(dir + e.Name())
		all = append(all, e.Name()+" "+to)
	}
	return all
}

// request is something to send to a server, and what must come back.
func (s *exampleServer) request(n int) (send, want string) {
	if s.name == "echo" {
		send = strings.Repeat("echo ", 1+n%200)
		return send, send
	}
	value := strings.Repeat("v", n%1000)
	key := "key" + strconv.Itoa(n)
	return fmt.Sprintf("*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key, len(value), value, len(key), key),
		fmt.Sprintf("+OK\r\n$%d\r\n%s\r\n", len(value), value)
}

// exchange makes requests on a connection of its own, and adds how long each
// took to latencies, if there are any.
func (s *exampleServer) exchange(latencies *[]time.Duration, requests int) error {
	c, err := net.DialTimeout("tcp", s.addr, testutil.Patience)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.ask(c, requests, latencies)
}

// ask makes requests on c, one after another.
func (s *exampleServer) ask(c net.Conn, requests int, latencies *[]time.Duration) error {
	for i := range requests {
		send, want := s.request(i)
		c.SetDeadline(time.Now().Add(testutil.Patience))
		start := time.Now()
		if _, err := io.WriteString(c, send); err != nil {
			return err
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		if string(got) != want {
			return fmt.Errorf("request %d: received %q, want %q", i, got, want)
		}
		if latencies != nil {
			*latencies = append(*latencies, time.Since(start))
		}
	}
	return nil
}

// abuses are clients that behave badly, each on one connection. They end by
// themselves soon, whatever the server does.
var abuses = map[string]func(s *exampleServer, c *net.TCPConn, rng *rand.Rand){
	"says nothing": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		c.Read(make([]byte, 1))
	},
	"sends a byte at a time": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		request, _ := s.request(rng.IntN(100))
		for _, b := range []byte(request) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(time.Millisecond) // this client's way of being a nuisance: nobody waits for it
		}
	},
	"never reads": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		request, _ := s.request(999)
		for {
			if _, err := io.WriteString(c, strings.Repeat(request, 50)); err != nil {
				return
			}
		}
	},
	"closes its half": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		request, _ := s.request(rng.IntN(1000))
		io.WriteString(c, request)
		c.CloseWrite()
		io.Copy(io.Discard, c)
	},
	"resets": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		request, _ := s.request(rng.IntN(1000))
		io.WriteString(c, request[:rng.IntN(len(request))])
		c.SetLinger(0)
	},
	"sends garbage": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		junk := make([]byte, 1+rng.IntN(100_000))
		for i := range junk {
			junk[i] = "*$\r\n0123456789-+: \x00\xff"[rng.IntN(20)]
		}
		c.Write(junk)
		io.CopyN(io.Discard, c, 1000)
	},
	"pipelines without end": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {
		request, _ := s.request(rng.IntN(1000))
		go io.Copy(io.Discard, c)
		for {
			if _, err := io.WriteString(c, strings.Repeat(request, 100)); err != nil {
				return
			}
		}
	},
	"comes and goes": func(s *exampleServer, c *net.TCPConn, rng *rand.Rand) {},
}

// abuse has workers of each kind connect and misbehave until stop is set.
func (s *exampleServer) abuse(stop *atomic.Bool, count map[string]*atomic.Int64) (wait func()) {
	var wg sync.WaitGroup
	for kind, misbehave := range abuses {
		n := &atomic.Int64{}
		count[kind] = n
		for worker := range 3 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(worker), 9))
				for !stop.Load() {
					c, err := net.DialTimeout("tcp", s.addr, testutil.Patience)
					if err != nil {
						s.t.Errorf("%s: %v", kind, err)
						return
					}
					c.SetDeadline(time.Now().Add(time.Duration(50+rng.IntN(400)) * time.Millisecond))
					misbehave(s, c.(*net.TCPConn), rng)
					c.Close()
					n.Add(1)
				}
			})
		}
	}
	return wg.Wait
}

func TestSoakUnderAbuse(t *testing.T) {
	d := soakTime(t)
	for _, name := range []string{"echo", "kv"} {
		t.Run(name, func(t *testing.T) { soak(t, name, d/2) })
	}
}

// soak abuses a server for d, beside a client that behaves well.
func soak(t *testing.T, name string, d time.Duration) {
	s := startExample(t, name)
	before := s.descriptors()
	if err := s.exchange(nil, 1100); err != nil { // so that kv holds all the keys it ever will
		t.Fatal(err)
	}
	var stop atomic.Bool
	count := map[string]*atomic.Int64{}
	wait := s.abuse(&stop, count)

	var latencies []time.Duration
	var early int
	for start := time.Now(); time.Since(start) < d; {
		if err := s.exchange(&latencies, 200); err != nil {
			t.Errorf("the client that behaves well: %v", err)
			break
		}
		if early == 0 && time.Since(start) > d/4 {
			early = s.status("VmRSS")
		}
	}
	stop.Store(true)
	late := s.status("VmRSS")
	wait()
	s.comesBackTo(before)

	slices.Sort(latencies)
	for kind, n := range count {
		t.Logf("%-24s %6d connections", kind, n.Load())
	}
	if n := len(latencies); n > 0 {
		t.Logf("beside them %d requests: median %v, 99%% %v, longest %v", n, latencies[n/2], latencies[n*99/100], latencies[n-1])
	}
	t.Logf("resident: %d KiB after a quarter, %d KiB at the end; %d descriptors before, %d after; %d threads",
		early, late, before, s.descriptors(), s.status("Threads"))
	if late > 2*early+64<<10 {
		t.Errorf("%s grew from %d to %d KiB", name, early, late)
	}
}

// Fifteen thousand connections, or as many as the limit allows, of which one in
// a hundred is active.
func TestFifteenThousandConnections(t *testing.T) {
	soakTime(t)
	if ae.APIName() == "select" {
		t.Skip("select does not take that many descriptors")
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	n := int(min(15_000, lim.Cur-200))
	for _, name := range []string{"echo", "kv"} {
		t.Run(name, func(t *testing.T) { holdConnections(t, name, n) })
	}
}

func holdConnections(t *testing.T, name string, n int) {
	s := startExample(t, name)
	descriptors := s.descriptors()
	if err := s.exchange(nil, 10); err != nil {
		t.Fatal(err)
	}
	s.comesBackTo(descriptors)
	resident := s.status("VmRSS")
	conns := make([]int, 0, n)
	defer func() {
		for _, fd := range conns {
			anet.Close(fd)
		}
		s.comesBackTo(descriptors)
	}()
	for range n {
		fd, err := anet.Connect("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, fd)
		once(t, s, fd) // it has been accepted
	}
	if open := s.descriptors() - descriptors; open != n {
		t.Errorf("the server holds %d connections of %d", open, n)
	}
	idle := s.status("VmRSS")

	el := aetest.Loop(t)
	left := 0
	for i := 0; i < n; i += 100 {
		left += 20
		pingPong(t, el, s, conns[i], 20, &left)
	}
	start := time.Now()
	requests := left
	aetest.Until(t, el, func() bool { return left == 0 })
	t.Logf("%s holds %d connections in %d KiB more than without: %d bytes each; one in a hundred active: %d requests in %v",
		name, n, idle-resident, (idle-resident)<<10/n, requests, time.Since(start).Round(time.Millisecond))
}

// once makes one request on a descriptor and waits for the reply.
func once(t *testing.T, s *exampleServer, fd int) {
	request, want := s.request(1)
	aetest.Arrives(t, fd, ae.Writable)
	aetest.Send(t, fd, request)
	for got := ""; got != want; {
		aetest.Arrives(t, fd, ae.Readable)
		more, err := aetest.Receive(fd)
		if got += more; err != nil || len(got) > len(want) {
			t.Fatalf("received %q, %v; want %q", got, err, want)
		}
	}
}

// pingPong makes requests on a connection of el, one after another.
func pingPong(t *testing.T, el *ae.EventLoop, s *exampleServer, fd, rounds int, left *int) {
	request, want := s.request(rounds)
	var got bytes.Buffer
	aetest.Send(t, fd, request)
	aetest.Create(t, el, fd, ae.Readable, func(el *ae.EventLoop, fd int, _ ae.Mask) {
		more, err := aetest.Receive(fd)
		if got.WriteString(more); err != nil {
			t.Fatalf("%v", err)
		}
		if got.Len() < len(want) {
			return
		}
		if got.String() != want {
			t.Fatalf("received %q, want %q", got.String(), want)
		}
		got.Reset()
		*left--
		if rounds--; rounds > 0 {
			aetest.Send(t, fd, request)
		} else {
			aetest.Delete(t, el, fd, ae.Readable)
		}
	})
}
