package tlsstream_test

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
	"golang.org/x/sys/unix"
)

// The measurements put an echo server on this package beside one on package net, each
// in a process of its own that the test asks for what it has used. AE_MEASURE is how
// long each takes, such as 3s; without it none runs. They assert nothing.

func init() { testutil.Child("measured", measured) }

// measured serves, and answers each line of its input with its connections, resident
// KiB, CPU microseconds, and the worst lateness of a time event since the last one.
func measured() {
	cert, err := tls.X509KeyPair([]byte(os.Getenv("CERT")), []byte(os.Getenv("CERT")))
	if err != nil {
		panic(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: os.Getenv("TICKETS") == "off"}
	var report func() (conns int, late time.Duration)
	if os.Getenv("SERVER") == "net" {
		report = measuredNet(config)
	} else {
		report = measuredLoop(config)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "memory" {
			debug.FreeOSMemory()
		}
		conns, late := report()
		var u unix.Rusage
		unix.Getrusage(unix.RUSAGE_SELF, &u)
		fmt.Println(conns, residentKiB(), (u.Utime.Nano()+u.Stime.Nano())/1000, late.Microseconds())
	}
	os.Exit(0)
}

func measuredLoop(config *tls.Config) func() (int, time.Duration) {
	el := must(ae.New(1 << 20))
	l := stream.On(el)
	e := must(tlsstream.Server(config, tlsstream.Limits{Timeout: time.Minute}))
	h := &stream.Handler{Idle: time.Hour, Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) }}
	ln := must(l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: e.Layer}, h))
	fmt.Println(ln.Addr())
	var worst time.Duration
	if os.Getenv("TICK") != "" {
		due := time.Now().Add(time.Millisecond)
		el.CreateTimeEvent(time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			now := time.Now()
			worst = max(worst, now.Sub(due))
			due = now.Add(time.Millisecond)
			return time.Millisecond
		})
	}
	go func() { panic(el.Main()) }()
	return func() (conns int, late time.Duration) {
		done := make(chan struct{})
		el.Post(func(*ae.EventLoop) {
			conns, late, worst = l.Len(), worst, 0
			close(done)
		})
		<-done
		return conns, late
	}
}

func measuredNet(config *tls.Config) func() (int, time.Duration) {
	size := 4096
	fmt.Sscan(os.Getenv("BUFFER"), &size)
	ln := must(tls.Listen("tcp", "127.0.0.1:0", config))
	fmt.Println(ln.Addr())
	var n atomic.Int64
	go func() {
		for {
			c := must(ln.Accept())
			n.Add(1)
			go func() {
				defer n.Add(-1)
				defer c.Close()
				buf := make([]byte, size)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return func() (int, time.Duration) { return int(n.Load()), 0 }
}

func residentKiB() (n int) {
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/status")))) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

// subject is a server that is measured.
type subject struct {
	testing.TB
	cmd   *exec.Cmd
	addr  string
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startSubject(t testing.TB, server string, cert string, env ...string) *subject {
	cmd := testutil.Command(nil, "measured")
	cmd.Env = append(append(cmd.Env, "SERVER="+server, "CERT="+cert), env...)
	cmd.Stderr = os.Stderr
	in := must(cmd.StdinPipe())
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &subject{TB: t, cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	s.lines.Scan()
	s.addr = s.lines.Text()
	return s
}

func (s *subject) end() {
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		s.Error(err)
	}
}

type usage struct {
	conns, kib int
	cpu, late  time.Duration
}

func (s *subject) ask(what string) (u usage) {
	fmt.Fprintln(s.in, what)
	if !s.lines.Scan() {
		s.Fatal("the server has ended")
	}
	var cpu, late int64
	fmt.Sscan(s.lines.Text(), &u.conns, &u.kib, &cpu, &late)
	u.cpu, u.late = time.Duration(cpu)*time.Microsecond, time.Duration(late)*time.Microsecond
	return u
}

// memory waits until there are n connections, and returns what is resident.
func (s *subject) memory(n int) (kib int) {
	for end := testutil.Deadline(); s.ask("").conns != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("%d connections, want %d", s.ask("").conns, n)
		}
	}
	kib = s.ask("memory").kib
	for range 4 {
		kib = min(kib, s.ask("memory").kib)
	}
	return kib
}

func pemOf(c tls.Certificate) string {
	var b strings.Builder
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))})
	return b.String()
}

// measureFor is how long a measurement takes, or skips the test.
func measureFor(t *testing.T) time.Duration {
	d, err := time.ParseDuration(os.Getenv("AE_MEASURE"))
	if err != nil {
		t.Skip("AE_MEASURE is not set")
	}
	return d
}

func connectTLS(t testing.TB, addr string) *tls.Conn {
	c := tls.Client(must(net.Dial("tcp", addr)), clientConfig())
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMeasureIdle(t *testing.T) {
	measureFor(t)
	for _, n := range []int{2000, 5000} {
		for _, size := range []int{64, 16 << 10} {
			var each [2]float64
			for i, server := range []string{"loop", "net"} {
				s := startSubject(t, server, pemOf(leaf()))
				message := strings.Repeat("x", size)
				var conns []*tls.Conn
				connect := func(n int) {
					for range n {
						c := connectTLS(t, s.addr)
						exchange(t, c, message)
						conns = append(conns, c)
					}
				}
				connect(100)
				for _, c := range conns {
					c.Close()
				}
				conns = nil
				before := s.memory(0)
				connect(n)
				each[i] = float64(s.memory(n)-before) * 1024 / float64(n)
				for _, c := range conns {
					c.NetConn().Close()
				}
				s.end()
			}
			t.Logf("%d idle after %d B: %.0f bytes each, net %.0f: %.2f times", n, size, each[0], each[1], each[0]/each[1])
		}
	}
}

func TestMeasureEcho(t *testing.T) {
	d := measureFor(t)
	for _, size := range []int{64, 16 << 10} {
		var each [2][]float64
		for range 3 {
			for i, server := range []string{"loop", "net"} {
				s := startSubject(t, server, pemOf(leaf()), fmt.Sprint("BUFFER=", max(4096, size)))
				each[i] = append(each[i], measureEcho(t, s, size, d))
				s.end()
			}
		}
		slices.Sort(each[0])
		slices.Sort(each[1])
		t.Logf("echo of %d B on 50: %.2f us of CPU, net %.2f: %.2f times (medians of %.2f, %.2f)", size, each[0][1], each[1][1], each[0][1]/each[1][1], each[0], each[1])
	}
}

func measureEcho(t *testing.T, s *subject, size int, d time.Duration) float64 {
	var n, stop atomic.Int64
	var wg sync.WaitGroup
	message := strings.Repeat("x", size)
	for range 50 {
		c := connectTLS(t, s.addr)
		wg.Go(func() {
			defer c.Close()
			for stop.Load() == 0 {
				exchange(t, c, message)
				n.Add(1)
			}
		})
	}
	time.Sleep(d / 5)
	before, n0 := s.ask("").cpu, n.Load()
	time.Sleep(d)
	used, done := s.ask("").cpu-before, n.Load()-n0
	stop.Store(1)
	wg.Wait()
	return float64(used.Microseconds()) / float64(done)
}

func TestMeasureHandshakes(t *testing.T) {
	d := measureFor(t)
	for _, procs := range []int{1, 2} {
		var each, rate [2][]float64
		for range 3 {
			for i, server := range []string{"loop", "net"} {
				s := startSubject(t, server, pemOf(leaf()), fmt.Sprint("GOMAXPROCS=", procs))
				cpu, n := measureHandshakes(t, s, 32, d)
				each[i], rate[i] = append(each[i], cpu), append(rate[i], n)
				s.end()
			}
		}
		for i := range 2 {
			slices.Sort(each[i])
			slices.Sort(rate[i])
		}
		t.Logf("GOMAXPROCS=%d: a handshake takes %.0f us of CPU, net %.0f: %.2f times; %.0f a second, net %.0f (CPU %.0f, %.0f; rates %.0f, %.0f)", procs,
			each[0][1], each[1][1], each[0][1]/each[1][1], rate[0][1], rate[1][1], each[0], each[1], rate[0], rate[1])
	}
}

// measureHandshakes has so many clients connect one after the other, and returns the
// CPU microseconds of one, and how many there are in a second.
func measureHandshakes(t *testing.T, s *subject, clients int, d time.Duration) (cpu, rate float64) {
	var n, stop atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for stop.Load() == 0 {
				c := connectTLS(t, s.addr)
				c.NetConn().(*net.TCPConn).SetLinger(0) // no port in TIME_WAIT
				exchange(t, c, "x")
				c.NetConn().Close()
				n.Add(1)
			}
		})
	}
	time.Sleep(d / 5)
	before, n0, begin := s.ask("").cpu, n.Load(), time.Now()
	time.Sleep(d)
	used, done, took := s.ask("").cpu-before, n.Load()-n0, time.Since(begin)
	stop.Store(1)
	wg.Wait()
	return float64(used.Microseconds()) / float64(done), float64(done) / took.Seconds()
}

func TestMeasureLateness(t *testing.T) {
	d := measureFor(t)
	cert := pemOf(certificate(must(rsa.GenerateKey(rand.Reader, 4096))))
	for _, procs := range []int{1, 2} {
		s := startSubject(t, "loop", cert, fmt.Sprint("GOMAXPROCS=", procs), "TICK=on")
		time.Sleep(time.Second / 2)
		s.ask("") // what was before is not measured
		time.Sleep(d)
		quiet := s.ask("").late
		_, rate := measureHandshakes(t, s, 16, d)
		t.Logf("GOMAXPROCS=%d: worst lateness of a time event %v, without handshakes %v; %.0f RSA-4096 handshakes a second", procs, s.ask("").late, quiet, rate)
		s.end()
	}
}

func TestMeasureHalfOpen(t *testing.T) {
	measureFor(t)
	const n = 9500
	hello := clientHello()
	for _, c := range []struct {
		name  string
		bytes []byte
	}{{"a silent client", nil}, {"half a ClientHello", hello[:len(hello)/2]}, {"a ClientHello", hello}} {
		s := startSubject(t, "loop", pemOf(leaf()))
		before := s.memory(0)
		var conns []net.Conn
		for range n {
			conn := must(net.Dial("tcp", s.addr))
			conn.Write(c.bytes)
			conns = append(conns, conn)
		}
		t.Logf("%d times %s: %d kB (%d before)", n, c.name, s.memory(n), before)
		for _, c := range conns {
			c.Close()
		}
		s.end()
	}
}
