package main

import "fmt"

func chainRow() row {
	all := []string{ours, epoll, threaded, libevent, libev, libuv}
	return row{
		name:  "chain",
		title: "the cost of an event",
		how: "Pairs of Unix sockets in a ring, and bytes that travel along it: each event reads one byte and writes it to the next " +
			"pair (libevent's benchmark). 8000/4000/40000 is 8000 pairs, 4000 bytes at a time, 40000 writes in all. CPU time of the process. " +
			"The second thread of bare epoll only sleeps: it shows what the kernel asks of every process with threads, such as any in Go, " +
			"for each use of a descriptor.",
		run: func(b *bench) {
			for _, c := range [][3]int{{100, 1, 1000}, {1000, 100, 10_000}, {8000, 100, 10_000}, {8000, 4000, 40_000}}[:b.pick(4, 2)] {
				n, active, writes := c[0], c[1], c[2]
				repeat := b.pick(max(100_000/writes, 5), 2)
				b.interleave(fmt.Sprintf("%d/%d/%d", n, active, writes), all, func(peer string) (values, error) {
					return b.runAs(peer, []int{b.serverCPU}, "chain", n, active, writes, repeat)
				})
			}
		},
		tables: []table{{
			metric: "event", title: "CPU time for each event", unit: "ns", peers: all, plot: "chain",
			goals: []goal{
				{against: []string{threaded}, factor: 1.10},
				{against: []string{epoll}, factor: 1.10},
				{against: []string{libevent, libuv}, factor: 1, strict: true},
			},
		}},
	}
}
