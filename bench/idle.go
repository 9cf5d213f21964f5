package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func idleRow() row {
	large := from(1000, 1<<20)
	peers := slices.Concat([]string{ours, onStream, oursKV, epoll, libevent, libev, libuv, goNet4K}, goLoops, []string{redis})
	return row{
		name:  "idle",
		title: "what an idle connection costs",
		how: "Each connection has had one request answered and then waits. Resident memory of the server afterwards less that before, for each; " +
			"what the kernel holds for a socket is not in it, and memory comes in pages, so that few connections tell little. Go's net has a goroutine and a buffer of 4 KiB for each. Two rounds.",
		run: func(b *bench) {
			defer func(n int) { b.rounds = n }(b.rounds)
			b.rounds = min(b.rounds, 2)
			for _, n := range []int{10, 100, 1000, 15_000}[b.pick(0, 1):b.pick(4, 2)] {
				n = min(n, descriptors()-200)
				b.interleave(fmt.Sprintf("%d connections", n), peers, func(peer string) (values, error) {
					return b.with(peer, func(s *server) (values, error) { return b.idle(s, n, peer) })
				})
			}
		},
		tables: []table{{
			metric: "bytes", title: "resident memory", unit: "bytes for each connection", peers: peers, plot: "growth-idle", log: true, lines: true,
			goals: slices.Concat(
				[]goal{{factor: 200, on: large}, {against: []string{goNet4K}, factor: 0.1, on: large}},
				forBoth(goal{against: goLoops, factor: 0.5, on: large}),
			),
		}},
	}
}

func descriptors() int {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return 1024
	}
	return int(min(lim.Max, 1<<20))
}

// idle measures what n connections add to the server's memory.
func (b *bench) idle(s *server, n int, peer string) (values, error) {
	what := "echo"
	if peer == redis || peer == oursKV {
		what = "ping"
	}
	if _, err := b.load(s, "closed", "-what", what, "-conns", 1, "-time", "10ms"); err != nil { // code that runs is resident
		return nil, err
	}
	return b.memoryOf(s, n, "load", "idle", "-port", s.port, "-conns", n, "-what", what)
}

// memoryOf measures what n connections add to the server's memory while a program
// holds them, which prints a line when it has them all.
func (b *bench) memoryOf(s *server, n int, program string, args ...any) (values, error) {
	before, err := resident(s.pid())
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(b.program(program), words(args)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := pinned(cmd, b.clientCPU); err != nil {
		return nil, err
	}
	defer cmd.Wait()
	defer stdin.Close()
	if !bufio.NewScanner(stdout).Scan() {
		return nil, fmt.Errorf("the connections could not be made")
	}

	time.Sleep(b.span(1500*time.Millisecond, 100*time.Millisecond)) // redis-server gives buffers back in its own time
	after, err := resident(s.pid())
	return values{"bytes": (after - before) / float64(n)}, err
}

// resident is the resident memory of a process in bytes. (What statm says of it is allowed to lag.)
func resident(pid int) (float64, error) {
	kB, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss"), " ")
	n, err := strconv.ParseFloat(kB, 64)
	return n * 1024, err
}
