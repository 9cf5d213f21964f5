package main

import (
	"fmt"
	"strconv"
	"time"
)

func broadcastRow() row {
	peers := []string{onStream, goNet, gnet}
	return row{
		name:  "broadcast",
		title: "one message to all",
		how: "A server that sends each message to all clients, as a chat does. One client sends 64 bytes, and again when every client has " +
			"them. Go's net has two goroutines for each client, one that reads and one that writes what comes to it over a channel.",
		run: func(b *bench) {
			conns := b.pick(1000, 100)
			b.interleave(fmt.Sprintf("%d connections", conns), peers, func(peer string) (values, error) {
				return b.withProgram([]int{b.serverCPU}, func(port int) []string {
					return []string{b.program(find(peer).worker), "broadcast", strconv.Itoa(port)}
				}, func(s *server) (values, error) {
					return b.load(s, "broadcast", "-conns", conns,
						"-warm", b.span(150*time.Millisecond, 20*time.Millisecond), "-time", b.span(time.Second, 50*time.Millisecond))
				})
			})
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each delivery", unit: "µs", peers: peers, plot: "broadcast"},
			{metric: "rate", title: "deliveries each second", unit: "1/s", peers: peers, more: true},
			{metric: "server", title: "how busy the server was", unit: "% of its core", peers: peers},
			{metric: "client", title: "how busy the client was", unit: "% of its core", peers: peers},
		},
	}
}
