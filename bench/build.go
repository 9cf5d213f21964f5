package main

import (
	"debug/buildinfo"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// program is the path of a worker.
func (b *bench) program(name string) string { return filepath.Join(b.dir, name) }

// allCores are the client's and the server's.
func (b *bench) allCores() []int { return []int{b.clientCPU, b.serverCPU} }

// setUp builds the programs and finds out what is here.
func (b *bench) setUp() error {
	if err := b.chooseCores(); err != nil {
		return err
	}
	programs := []string{"./workers/..."}
	for _, name := range []string{"echo", "kv", "proxy"} {
		programs = append(programs, "github.com/aeloop/ae/examples/"+name)
	}
	args := append([]string{"build", "-o", b.dir + "/"}, programs...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}

	b.versions = map[string]string{}
	for _, p := range peers {
		switch {
		case p.program != "":
			b.askVersion(p.name, p.program, p.version)
		case p.libs != nil:
			b.buildC(p)
		case p.module != "":
			b.versions[p.name] = moduleVersion(b.program(p.worker), p.module)
		}
	}
	for _, m := range b.missing {
		log.Print("left out: ", m)
	}
	return nil
}

// buildC compiles the C worker of a peer, if its library is here.
func (b *bench) buildC(p peer) {
	bin := b.program(p.worker)
	args := append([]string{"-O2", "-o", bin, filepath.Join("c", p.worker+".c")}, p.libs...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		line, _, _ := strings.Cut(string(out), "\n")
		b.missing = append(b.missing, fmt.Sprintf("%s (%v: %s)", p.name, err, line))
		return
	}
	b.askVersion(p.name, bin, "version")
}

// moduleVersion is that of a module that a Go program was built with.
func moduleVersion(program, module string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

func (b *bench) askVersion(peer, program string, arg string) {
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
