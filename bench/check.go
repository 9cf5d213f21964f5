package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const redisBenchmark = "redis-benchmark"

// checkRow holds the load generator against the one everybody knows. The peers of this row are the clients.
func checkRow() row {
	clients := []string{"ae's load", redisBenchmark}
	return row{
		name:  "check",
		title: "the load generator against redis-benchmark",
		how: "The same requests, GET of 100,000 keys on 50 connections, from both generators to redis-server. A generator that is not the " +
			"bottleneck gets as much out of the server as the other, for less time of its own.",
		run: func(b *bench) {
			if !b.has(redis) {
				return
			}
			for _, pipeline := range []int{1, 16} {
				b.interleave(fmt.Sprintf("GET -P %d", pipeline), clients, func(client string) (values, error) {
					return b.with(redis, func(s *server) (values, error) {
						if client == redisBenchmark {
							return b.redisBenchmark(s, pipeline)
						}
						v, err := b.kv(s, redis, "get", pipeline)
						v["own"] = (v["core"] + v["client"] - 100) / 100 / v["rate"] * 1e6 // without the time in which it only polled
						return v, err
					})
				})
			}
		},
		tables: []table{
			{metric: "rate", title: "requests each second", unit: "1/s", peers: clients, more: true},
			{metric: "own", title: "time of the client for each request", unit: "µs", peers: clients},
		},
	}
}

func (b *bench) redisBenchmark(s *server, pipeline int) (values, error) {
	keys := b.pick(100_000, 10_000)
	if _, err := b.load(s, "fill", "-keys", keys, "-size", valueSize); err != nil {
		return nil, err
	}
	n := b.pick(100_000, 5000) * pipeline
	cmd := exec.Command(redisBenchmark, words([]any{"-p", s.port, "-c", 50, "-t", "get", "-r", keys, "-n", n, "-P", pipeline, "--csv"})...)
	var out strings.Builder
	cmd.Stdout = &out
	if err := pinned(cmd, b.clientCPU); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}

	// The last line is "GET","<requests each second>",...
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	fields := strings.Split(lines[len(lines)-1], ",")
	if len(fields) < 2 {
		return nil, fmt.Errorf("%s printed %q", redisBenchmark, out.String())
	}
	rate, err := strconv.ParseFloat(strings.Trim(fields[1], `"`), 64)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return values{"rate": rate, "own": float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3 / float64(n)}, err
}
