package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// writeMachine tells what the figures were measured on, and with what.
func (b *bench) writeMachine(w io.Writer) {
	var uts unix.Utsname
	unix.Uname(&uts)
	line(w, []string{"", ""})
	line(w, repeat("---", 2))
	line(w, []string{"machine", fmt.Sprintf("%s, %d cores; the client on core %d, the server on core %d",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), b.clientCPU, b.serverCPU)})
	line(w, []string{"memory", field("/proc/meminfo", "MemTotal")})
	line(w, []string{"virtual machine", virtual()})
	line(w, []string{"kernel", unix.ByteSliceToString(uts.Sysname[:]) + " " + strings.SplitN(unix.ByteSliceToString(uts.Release[:]), "-", 2)[0]})
	line(w, []string{"Go", runtime.Version()})
	for _, p := range peers {
		if v := b.versions[p.name]; v != "" {
			line(w, []string{p.name, v})
		}
	}
}

// field is the first value of a name in a file of "name: value" lines.
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func virtual() string {
	if strings.Contains(" "+field("/proc/cpuinfo", "flags")+" ", " hypervisor ") {
		return "yes"
	}
	return "no"
}
