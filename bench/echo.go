package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var echoServers = slices.Concat([]string{ours, onStream, epoll, threaded, libevent, libev, libuv, goNet}, goLoops)

func echoRow() row {
	return row{
		name:  "echo",
		title: "an echo server under full load",
		how: "TCP over loopback; each client sends when its last message has come back. The server has one core, Go's net too: on more " +
			"cores it serves more, at the same cost or a higher one for each request. ae is examples/echo.",
		run: func(b *bench) {
			type load struct{ size, conns, pipeline int }
			loads := []load{{64, 1, 1}, {64, 50, 1}, {16 << 10, 50, 1}, {64, 50, 16}}
			if !b.quick {
				loads = []load{{64, 1, 1}, {64, 50, 1}, {64, 1000, 1}, {64, 5000, 1},
					{16 << 10, 1, 1}, {16 << 10, 50, 1}, {16 << 10, 1000, 1}, {16 << 10, 5000, 1}, {64, 50, 16}}
			}
			for _, l := range loads {
				subject := fmt.Sprintf("%d B, %d connections", l.size, l.conns)
				if l.pipeline > 1 {
					subject += fmt.Sprintf(", %d at once", l.pipeline)
				}
				b.interleave(subject, echoServers, func(peer string) (values, error) {
					return b.with(peer, func(s *server) (values, error) {
						return b.closed(s, "-conns", l.conns, "-size", l.size, "-pipeline", l.pipeline)
					})
				})
			}
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: echoServers, plot: "echo-cpu",
				goals: slices.Concat(
					forBoth(goal{against: []string{epoll}, factor: 1.20, on: from(1, 1)}),
					forBoth(goal{against: goLoops, best: true, factor: 1.0, on: from(1, 1)}),
					forBoth(goal{against: []string{epoll}, factor: 1.05, on: from(50, 1<<20)}),
					forBoth(goal{against: goLoops, best: true, factor: 0.88, on: from(50, 50)}),
					forBoth(goal{against: goLoops, best: true, factor: 0.80, on: from(1000, 1<<20)}),
					[]goal{{against: []string{goNet}, factor: 0.75, on: from(1000, 1<<20)}},
				)},
			{metric: "rate", title: "requests each second", unit: "1/s", peers: echoServers, more: true, plot: "echo-rate"},
			{metric: "server", title: "how busy the server was", unit: "% of its core", peers: echoServers},
			{metric: "client", title: "how busy the client was: the greater of the two is the bottleneck", unit: "% of its core",
				peers: echoServers},
		},
	}
}

// closed is the load of clients that each send when their last reply has come.
func (b *bench) closed(s *server, args ...any) (values, error) {
	return b.load(s, append([]any{"closed",
		"-warm", b.span(150*time.Millisecond, 20*time.Millisecond),
		"-time", b.span(450*time.Millisecond, 50*time.Millisecond)}, args...)...)
}

// forBoth is a goal of ae alone, and the same of package stream on it.
func forBoth(g goal) []goal {
	s := g
	s.peer = onStream
	return []goal{g, s}
}

// from reports whether a subject has so many connections.
func from(least, most int) func(subject string) bool {
	return func(subject string) bool {
		n := connections(subject)
		return least <= n && n <= most
	}
}

// connections is how many a subject has, as it says.
func connections(subject string) int {
	before, _, _ := strings.Cut(subject, " connections")
	n, _ := strconv.Atoi(before[strings.LastIndexByte(before, ' ')+1:])
	return n
}
