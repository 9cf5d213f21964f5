package main

import (
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"slices"
	"time"
)

func startupRow() row {
	peers := slices.Concat([]string{ours, onStream, oursKV, epoll, libevent, libev, libuv, goNet}, goLoops, []string{redis, memcached})
	return row{
		name:  "startup",
		title: "starting, size, dependencies",
		how: "From starting the process to the first connection accepted, of an echo server or a key-value server; the size of the program's file; how many Go modules, or shared " +
			"libraries besides libc's own, it needs. A Go program has its runtime in its file.",
		run: func(b *bench) {
			b.interleave("each", peers, func(peer string) (values, error) {
				start := time.Now()
				s, err := b.serve(peer)
				if err != nil {
					return nil, err
				}
				ready := time.Since(start)
				defer s.stop()
				memory, err := resident(s.pid())
				if err != nil {
					return nil, err
				}
				size, needs, err := program(s.cmd.Path)
				return values{"ready": ready.Seconds() * 1e3, "resident": memory / 1e6, "size": size / 1e6, "needs": needs}, err
			})
		},
		tables: []table{
			{metric: "ready", title: "until it accepts", unit: "ms", peers: peers},
			{metric: "resident", title: "resident memory then", unit: "MB", peers: peers},
			{metric: "size", title: "size of the program", unit: "MB", peers: peers},
			{metric: "needs", title: "modules or shared libraries besides libc", unit: "number", peers: peers},
		},
	}
}

// program returns the size of an executable file and how many modules or libraries it needs.
func program(path string) (size, needs float64, err error) {
	path, err = exec.LookPath(path)
	if err != nil {
		return 0, 0, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	if info, err := buildinfo.ReadFile(path); err == nil {
		for _, dep := range info.Deps {
			if dep.Path != "github.com/aeloop/ae" {
				needs++
			}
		}
		return float64(st.Size()), needs, nil
	}

	f, err := elf.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	for _, lib := range libs {
		if lib != "libc.so.6" && lib != "libm.so.6" {
			needs++
		}
	}
	return float64(st.Size()), needs, err
}
