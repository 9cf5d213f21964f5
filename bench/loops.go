package main

import (
	"fmt"
	"strconv"
)

// The peers of this row are servers with so many loops; ae's are on package
// stream's Group.
var groups = []struct {
	name, worker string
	loops        int
	mode         string // how ae's loops get their connections
}{
	{"ae, 1 loop", "ae", 1, "acceptor"},
	{"ae, 2 loops", "ae", 2, "acceptor"},
	{"ae, 4 loops", "ae", 4, "acceptor"},
	{"ae, 2 loops, SO_REUSEPORT", "ae", 2, "reuseport"},
	{"ae, 4 loops, SO_REUSEPORT", "ae", 4, "reuseport"},
	{"gnet, 1 loop", "gnet", 1, ""},
	{"gnet, 2 loops", "gnet", 2, ""},
	{goNet, "std", 0, ""},
}

func loopsRow() row {
	var all, aes []string
	number := map[string]int{}
	for i, g := range groups {
		number[g.name] = i
		all = append(all, g.name)
		if g.worker == "ae" {
			aes = append(aes, g.name)
		}
	}

	return row{
		name:  "loops",
		title: "one loop and more",
		how: "An echo on 200 connections whose server computes for a while for each request. The server may use both cores, beside the client. " +
			"Go's net has as many goroutines as connections. Skew is how many more connections than the mean the loop with the most has, of 1000.",
		run: func(b *bench) {
			for _, busy := range []int{0, 50} {
				b.interleave(fmt.Sprintf("%d µs of work", busy), all, func(peer string) (values, error) {
					g := groups[number[peer]]
					return b.withProgram(b.allCores(), func(port int) []string {
						return []string{b.program(g.worker), "group", strconv.Itoa(port), strconv.Itoa(busy), strconv.Itoa(g.loops), g.mode}
					}, func(s *server) (values, error) { return b.closed(s, "-conns", 200) })
				})
			}
			b.interleave("1000 connections", aes, func(peer string) (values, error) {
				g := groups[number[peer]]
				return b.work(b.allCores(), "ae", "skew", g.loops, g.mode)
			})
		},
		tables: []table{
			{metric: "rate", title: "requests each second", unit: "1/s", peers: all, more: true},
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: all},
			{metric: "skew", title: "skew", unit: "%", peers: aes},
		},
	}
}
