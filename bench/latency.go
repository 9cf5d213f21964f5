package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

func latencyRow() row {
	peers := slices.Concat([]string{ours, onStream, epoll, libuv, goNet}, goLoops)
	r := row{
		name:  "latency",
		title: "echo at a fixed rate",
		how: "64 bytes on 50 connections. Requests are sent at fixed times, whatever the server does, and the latency of each counts from " +
			"the time at which it was due (an open loop, without coordinated omission). The load is in percent of what the slowest of the " +
			"servers reached at full load, the same rate for all.",
		run: func(b *bench) {
			capacity := b.capacity(peers)
			for _, percent := range []int{30, 60, 80}[:b.pick(3, 1)] {
				rate := int(capacity * float64(percent) / 100)
				b.interleave(fmt.Sprintf("%d%%: %d/s", percent, rate), peers, func(peer string) (values, error) {
					return b.with(peer, func(s *server) (values, error) {
						return b.load(s, "open", "-rate", rate,
							"-warm", b.span(200*time.Millisecond, 20*time.Millisecond),
							"-time", b.span(1500*time.Millisecond, 100*time.Millisecond))
					})
				})
			}
		},
	}
	for _, q := range []string{"p50", "p99", "p99.9", "p99.99"} {
		t := table{metric: q, title: "latency, " + q, unit: "µs", peers: peers}
		if q == "p99.9" {
			t.goals = []goal{{against: []string{libuv}, factor: 1.2}}
			t.plot, t.log = "latency", true
		}
		r.tables = append(r.tables, t)
	}
	r.tables = append(r.tables, table{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: peers})
	return r
}

// capacity is the rate that the slowest of the servers reaches, each at its best.
func (b *bench) capacity(peers []string) float64 {
	best := map[string]float64{}
	for range b.pick(2, 1) {
		for _, peer := range peers {
			if !b.has(peer) {
				continue
			}
			v, err := b.with(peer, func(s *server) (values, error) {
				return b.load(s, "closed", "-warm", "100ms", "-time", b.span(500*time.Millisecond, 50*time.Millisecond))
			})
			if err != nil {
				b.failed("capacity", peer, err)
				continue
			}
			best[peer] = max(best[peer], v["rate"])
		}
	}
	least := math.Inf(1)
	for _, rate := range best {
		least = min(least, rate)
	}
	return least
}
