package main

import (
	"fmt"
	"strings"
	"time"
)

var echoServers = []string{ours, onStream, epoll, threaded, libevent, libev, libuv, goNet, gnet}

func echoRow() row {
	return row{
		name:  "echo",
		title: "an echo server under full load",
		how: "TCP over loopback; each client sends when its last message has come back. The server has one core, Go's net too: on more " +
			"cores it serves more, at the same cost or a higher one for each request. ae is examples/echo.",
		run: func(b *bench) {
			type load struct{ size, conns, pipeline int }
			var loads []load
			for _, size := range []int{64, 16 << 10} {
				for _, conns := range []int{1, 50, 1000, 5000} {
					loads = append(loads, load{size, conns, 1})
				}
			}
			loads = append(loads, load{64, 50, 16})
			for _, l := range loads {
				subject := fmt.Sprintf("%d B, %d connections", l.size, l.conns)
				if l.pipeline > 1 {
					subject += fmt.Sprintf(", %d at once", l.pipeline)
				}
				b.interleave(subject, echoServers, func(peer string) (values, error) {
					return b.with(peer, func(s *server) (values, error) {
						return b.load(s, "closed", "-conns", l.conns, "-size", l.size, "-pipeline", l.pipeline,
							"-warm", b.span(150*time.Millisecond, 20*time.Millisecond),
							"-time", b.span(450*time.Millisecond, 50*time.Millisecond))
					})
				})
			}
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: echoServers, plot: "echo-cpu",
				goals: []goal{
					{against: []string{epoll}, factor: 1.10},
					{against: []string{goNet}, factor: 0.75, on: many},
				}},
			{metric: "rate", title: "requests each second", unit: "1/s", peers: echoServers, more: true, plot: "echo-rate"},
			{metric: "server", title: "how busy the server was", unit: "% of its core", peers: echoServers},
			{metric: "client", title: "how busy the client was: the greater of the two is the bottleneck", unit: "% of its core",
				peers: echoServers},
		},
	}
}

// many reports whether a subject is one of a thousand connections and more.
func many(subject string) bool {
	return strings.Contains(subject, " 1000 ") || strings.Contains(subject, " 5000 ")
}
