package main

import (
	"fmt"
)

func growthRow() row {
	const active = 10
	return row{
		name:  "growth",
		title: "what more descriptors cost",
		how: fmt.Sprintf("As echo, with 64 bytes, from %d connections among so many; the others are open and say nothing. How the cost of a timer "+
			"grows is in timers, and that of an idle connection in idle.", active),
		run: func(b *bench) {
			for _, conns := range []int{10, 100, 1000, 5000, 15_000}[b.pick(0, 1):b.pick(5, 2)] {
				conns = min(conns, descriptors()-200)
				b.interleave(fmt.Sprintf("%d connections", conns), echoServers, func(peer string) (values, error) {
					return b.with(peer, func(s *server) (values, error) {
						return b.closed(s, "-conns", active, "-idle", conns-active)
					})
				})
			}
		},
		tables: []table{{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: echoServers,
			plot: "growth-descriptors", lines: true}},
	}
}
