package main

import "time"

// moreConnections is a goal in CPU time, which is what a connection less leaves for
// others: the rate is the client's.
const moreConnections = 1 / 1.2

func churnRow() row {
	return row{
		name:  "churn",
		title: "connections that come and go",
		how:   "Connect, send 64 bytes, take the reply, close, on 50 connections at a time. The client has more to do than the server.",
		run: func(b *bench) {
			b.interleave("50 at a time", echoServers, func(peer string) (values, error) {
				return b.with(peer, func(s *server) (values, error) {
					return b.load(s, "churn", "-warm", b.span(150*time.Millisecond, 20*time.Millisecond),
						"-time", b.span(time.Second, 100*time.Millisecond))
				})
			})
		},
		tables: []table{
			{metric: "rate", title: "connections each second", unit: "1/s", peers: echoServers, more: true,
				goals: []goal{{against: []string{epoll}, factor: 0.9, atLeast: true}}},
			{metric: "cpu", title: "CPU time of the server for each connection", unit: "µs", peers: echoServers, plot: "churn",
				goals: forBoth(goal{against: goLoops, best: true, factor: moreConnections})},
			{metric: "server", title: "how busy the server was", unit: "% of its core", peers: echoServers},
			{metric: "client", title: "how busy the client was", unit: "% of its core", peers: echoServers},
		},
	}
}
