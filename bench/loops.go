package main

import (
	"fmt"
	"strings"
	"time"
)

// The peers of this row are ae itself, on package stream's Group.
var groups = []string{"1 loop", "2 loops", "4 loops", "2 loops, SO_REUSEPORT", "4 loops, SO_REUSEPORT"}

// groupArgs returns how many loops a peer of this row has, and how they get their
// connections.
func groupArgs(peer string) (loops, mode string) {
	loops, _, _ = strings.Cut(peer, " ")
	if strings.HasSuffix(peer, "SO_REUSEPORT") {
		return loops, "reuseport"
	}
	return loops, "acceptor"
}

func loopsRow() row {
	return row{
		name:  "loops",
		title: "one loop and more",
		how: "An echo on 200 connections whose server computes for a while for each request. The server may use all cores, beside the client. " +
			"Skew is how many more connections than the mean the loop with the most has, of 1000.",
		run: func(b *bench) {
			for _, work := range []int{0, 50} {
				b.interleave(fmt.Sprintf("%d µs of work", work), groups, func(peer string) (values, error) {
					loops, mode := groupArgs(peer)
					return b.withProgram(b.allCores(), func(port int) []string {
						return []string{b.program("ae"), "group", fmt.Sprint(port), loops, mode, fmt.Sprint(work)}
					}, func(s *server) (values, error) {
						return b.load(s, "closed", "-conns", 200, "-size", 64, "-pipeline", 1,
							"-warm", b.span(150*time.Millisecond, 20*time.Millisecond),
							"-time", b.span(450*time.Millisecond, 50*time.Millisecond))
					})
				})
			}
			b.interleave("1000 connections", groups, func(peer string) (values, error) {
				loops, mode := groupArgs(peer)
				return b.work(b.allCores(), "ae", "skew", loops, mode)
			})
		},
		tables: []table{
			{metric: "rate", title: "requests each second", unit: "1/s", peers: groups, more: true},
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: groups},
			{metric: "skew", title: "skew", unit: "%", peers: groups},
		},
	}
}
