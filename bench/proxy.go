package main

import (
	"fmt"
	"strconv"
)

func proxyRow() row {
	peers := []string{ours, goNet}
	return row{
		name:  "proxy",
		title: "passing bytes on",
		how: "A proxy between the client and a server, which are one process here: each message goes through the proxy and comes back. ae is " +
			"examples/proxy. Go's net is two goroutines for each connection with io.Copy, which splices from socket to socket in the kernel.",
		run: func(b *bench) {
			type load struct{ size, conns int }
			for _, l := range []load{{64, 1}, {64, 50}, {16 << 10, 50}, {64, 1000}}[:b.pick(4, 3)] {
				b.interleave(fmt.Sprintf("%d B, %d connections", l.size, l.conns), peers, func(peer string) (values, error) {
					behind, err := freePort()
					if err != nil {
						return nil, err
					}
					return b.withProgram([]int{b.serverCPU}, func(port int) []string { return b.proxyArgs(peer, port, behind) },
						func(s *server) (values, error) {
							return b.closed(s, "-conns", l.conns, "-size", l.size, "-behind", behind)
						})
				})
			}
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the proxy for each message, there and back", unit: "µs", peers: peers, plot: "proxy"},
			{metric: "rate", title: "messages each second", unit: "1/s", peers: peers, more: true},
			{metric: "server", title: "how busy the proxy was", unit: "% of its core", peers: peers},
			{metric: "client", title: "how busy the client and server were", unit: "% of their core", peers: peers},
		},
	}
}

// proxyArgs is the command of a proxy to the server that will listen at port behind.
func (b *bench) proxyArgs(peer string, port, behind int) []string {
	if peer == ours {
		return []string{b.program("proxy"), "-listen", fmt.Sprintf("127.0.0.1:%d", port), "-to", fmt.Sprintf("127.0.0.1:%d", behind)}
	}
	return []string{b.program("std"), "proxy", strconv.Itoa(port), strconv.Itoa(behind)}
}
