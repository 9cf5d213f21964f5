package main

import (
	"fmt"
	"slices"
)

func freeRow() row {
	peers := slices.Concat([]string{ours, onStream, epoll, threaded, goNet}, goLoops)
	return row{
		name:  "free",
		title: "an echo server that is not pinned",
		how: "As echo, with 64 bytes, but the server may use both cores, the client's too, and Go has two processors: so people run " +
			"servers. A Go program then has threads to spare, and pays for each that it wakes.",
		run: func(b *bench) {
			for _, conns := range []int{1, 50, 1000}[:b.pick(3, 2)] {
				b.interleave(fmt.Sprintf("%d connections", conns), peers, func(peer string) (values, error) {
					return b.withProgram(b.allCores(), func(port int) []string { return b.serverArgs(peer, port) },
						func(s *server) (values, error) { return b.closed(s, "-conns", conns) })
				})
			}
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: peers, plot: "free",
				goals: forBoth(goal{against: goLoops, best: true, factor: 1.0, on: from(1, 1)})},
			{metric: "rate", title: "requests each second", unit: "1/s", peers: peers, more: true},
			{metric: "server", title: "how busy the server was", unit: "% of a core", peers: peers},
		},
	}
}
