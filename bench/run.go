package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bench is one run of everything.
type bench struct {
	quick  bool
	rounds int
	dir    string // of the programs that were built
	took   time.Duration

	clientCPU, serverCPU int

	versions map[string]string // of the peers that are here
	missing  []string
	failures []failure
	repeated int // measurements that were disturbed, and done again

	row     string // under which results are kept
	results []*result
}

// pick chooses between a full run and a quick one.
func (b *bench) pick(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

func (b *bench) span(full, quick time.Duration) time.Duration {
	if b.quick {
		return quick
	}
	return full
}

// values are what a worker printed, by name.
type values map[string]float64

// pinned starts cmd on the given cores: a child inherits those of the thread that starts it. It ends with this process.
func pinned(cmd *exec.Cmd, cpus ...int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	defer unix.SchedSetaffinity(0, &before)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Start()
}

const patience = 2 * time.Minute

// work runs a worker to its end on the given cores and returns what it printed.
func (b *bench) work(cpus []int, program string, args ...any) (values, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, program), words(args)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := pinned(cmd, cpus...); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(append([]string{program}, cmd.Args[1:]...), " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parse(&stdout)
}

func words(args []any) []string {
	var s []string
	for _, a := range args {
		s = append(s, fmt.Sprint(a))
	}
	return s
}

// parse reads lines of name, value, unit.
func parse(r io.Reader) (values, error) {
	v := values{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return nil, fmt.Errorf("not a result: %q", lines.Text())
		}
		x, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return nil, fmt.Errorf("not a result: %w", err)
		}
		v[f[0]] = x
	}
	return v, nil
}

// A server is a process under test.
type server struct {
	cmd  *exec.Cmd
	port int
	end  chan error // what became of the process
}

// serve starts a peer's server on the server's core.
func (b *bench) serve(peer string) (*server, error) {
	return b.start([]int{b.serverCPU}, func(port int) []string { return b.serverArgs(peer, port) })
}

// start runs a server on the given cores, and waits until it accepts.
func (b *bench) start(cpus []int, command func(port int) []string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	argv := command(port)
	s := &server{port: port, cmd: exec.Command(argv[0], argv[1:]...)}
	s.cmd.Dir = b.dir
	if err := pinned(s.cmd, cpus...); err != nil {
		return nil, err
	}
	s.end = make(chan error, 1)
	go func() { s.end <- s.cmd.Wait() }()
	if err := s.awaitAccept(); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return s, nil
}

func (s *server) awaitAccept() error {
	for start := time.Now(); ; {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			return c.Close()
		}
		if time.Since(start) > 10*time.Second {
			return err
		}
		select {
		case err := <-s.end:
			s.end <- err
			return fmt.Errorf("it has ended: %v", err)
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the server. None of them has anything to save.
func (s *server) stop() {
	s.cmd.Process.Kill()
	<-s.end
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// load runs the load generator against s on the client's core. A measurement during which others had a good part of
// that core is done again, once, as long as that does not happen all the time.
func (b *bench) load(s *server, args ...any) (values, error) {
	args = append(args, "-port", s.port, "-pid", s.pid())
	const enough, most = 95, 60
	v, err := b.work([]int{b.clientCPU}, "load", args...)
	core, measured := v["core"]
	if err != nil || !measured || core >= enough || b.repeated == most || b.quick {
		return v, err
	}
	b.repeated++
	return b.work([]int{b.clientCPU}, "load", args...)
}

// with runs f on a peer's server that is started for it on the server's core.
func (b *bench) with(peer string, f func(s *server) (values, error)) (values, error) {
	s, err := b.serve(peer)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	return f(s)
}

// withProgram runs f on a server that is started for it on the given cores.
func (b *bench) withProgram(cpus []int, argv func(port int) []string, f func(s *server) (values, error)) (values, error) {
	s, err := b.start(cpus, argv)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	return f(s)
}

// interleave measures all peers one after the other, over and over: what changes on the machine meanwhile then comes
// to all of them. A peer that fails is reported and left out from then on.
func (b *bench) interleave(subject string, peers []string, measure func(peer string) (values, error)) {
	failed := map[string]bool{}
	for range b.rounds {
		for _, peer := range peers {
			if !b.has(peer) || failed[peer] {
				continue
			}
			v, err := measure(peer)
			if err != nil {
				failed[peer] = true
				b.failed(subject, peer, err)
				continue
			}
			for metric, x := range v {
				b.record(subject, peer, metric, x)
			}
		}
	}
}

// failure is a measurement that did not work.
type failure struct {
	row, subject, peer string
	err                error
}

func (f failure) String() string {
	return fmt.Sprintf("%s, %s, %s: %v", f.row, f.subject, f.peer, f.err)
}

func (b *bench) failed(subject, peer string, err error) {
	b.failures = append(b.failures, failure{b.row, subject, peer, err})
	log.Printf("  failed: %s, %s: %v", subject, peer, err)
}
