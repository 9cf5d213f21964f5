package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The names under which results are shown.
const (
	ours      = "ae"
	onStream  = "ae, package stream"
	epoll     = "bare epoll"
	threaded  = "bare epoll, 2 threads"
	libevent  = "libevent"
	libev     = "libev"
	libuv     = "libuv"
	goNet     = "Go net"
	gnet      = "gnet"
	redis     = "redis-server"
	memcached = "memcached"
)

// worker is the program that stands for a peer.
var worker = map[string]string{
	ours: "ae", onStream: "ae", gnet: "gnet", epoll: "epoll", threaded: "epoll", libevent: "libevent", libev: "libev", libuv: "libuv", goNet: "std",
}

func (b *bench) has(peer string) bool {
	switch peer {
	case epoll, libevent, libev, libuv, redis, memcached:
		return b.versions[peer] != ""
	case threaded:
		return b.has(epoll)
	}
	return true // Go has them all
}

// serverArgs is the command that starts the echo or key-value server of a peer.
func (b *bench) serverArgs(peer string, port int) []string {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	number, clients := strconv.Itoa(port), strconv.Itoa(descriptors()-100)
	switch peer {
	case ours:
		return []string{filepath.Join(b.dir, "echo"), "-addr", addr}
	case oursKV:
		return []string{filepath.Join(b.dir, "kv"), "-addr", addr}
	case threaded:
		return []string{filepath.Join(b.dir, "epoll"), "echo", number, "threaded"}
	case goNet4K:
		return []string{filepath.Join(b.dir, "std"), "echo", number, "4096"}
	case redis:
		return []string{"redis-server", "--bind", "127.0.0.1", "--port", number, "--save", "", "--appendonly", "no",
			"--maxclients", clients, "--logfile", "/dev/null"}
	case memcached:
		return []string{"memcached", "-l", "127.0.0.1", "-p", number, "-U", "0", "-t", "1", "-m", "8192", "-c", clients,
			"-u", "root"}
	}
	return []string{filepath.Join(b.dir, worker[peer]), "echo", number}
}

// program is the path of a worker.
func (b *bench) program(name string) string { return filepath.Join(b.dir, name) }

// allCores are the client's and the server's.
func (b *bench) allCores() []int { return []int{b.clientCPU, b.serverCPU} }

// setUp builds the programs and finds out what is here.
func (b *bench) setUp() error {
	if err := b.chooseCores(); err != nil {
		return err
	}
	for name, pkg := range map[string]string{
		"ae":   "./workers/ae",
		"std":  "./workers/std",
		"gnet": "./workers/gnet",
		"load": "./workers/load",
		"echo": "github.com/aeloop/ae/examples/echo",
		"kv":   "github.com/aeloop/ae/examples/kv",
	} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(b.dir, name), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}

	b.versions = map[string]string{}
	b.buildC(epoll, "-lpthread")
	b.buildC(libevent, "-levent_core")
	b.buildC(libev, "-lev")
	b.buildC(libuv, "-luv", "-lpthread")
	b.find(redis, "redis-server", "--version")
	b.find(memcached, "memcached", "-V")
	for _, m := range b.missing {
		log.Print("left out: ", m)
	}
	return nil
}

// buildC compiles the C worker of a peer, if its library is here.
func (b *bench) buildC(peer string, libs ...string) {
	bin := filepath.Join(b.dir, worker[peer])
	args := append([]string{"-O2", "-o", bin, filepath.Join("c", worker[peer]+".c")}, libs...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		line, _, _ := strings.Cut(string(out), "\n")
		b.missing = append(b.missing, fmt.Sprintf("%s (%v: %s)", peer, err, line))
		return
	}
	b.find(peer, bin, "version")
}

func (b *bench) find(peer, program string, arg string) {
	out, err := exec.Command(program, arg).Output()
	if err != nil {
		b.missing = append(b.missing, fmt.Sprintf("%s (%v)", peer, err))
		return
	}
	line, _, _ := strings.Cut(string(out), "\n")
	b.versions[peer] = strings.TrimSpace(line)
}

// chooseCores takes the first core for the client and the last for the server.
func (b *bench) chooseCores() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	b.clientCPU, b.serverCPU = cpus[0], cpus[len(cpus)-1]
	return nil
}
