package main

import "fmt"

func latenessRow() row {
	peers := []string{ours, libev, libevent, libuv, goTimer}
	others := []string{libuv, libevent, goTimer}
	return row{
		name:  "lateness",
		title: "how late a timer is",
		how: "One timer, set again each time it fires; its lateness counts from the wait that was asked for. Idle: nothing else happens. Busy: " +
			"bytes that never stop travel round a ring of 100 socket pairs in the same loop (for time.Timer: through 100 goroutines). libuv " +
			"counts in milliseconds: 0.1 is asked for as 1, and 3.1 as 4. A negative figure is early.",
		run: func(b *bench) {
			for _, state := range []string{"idle", "busy"} {
				for _, wait := range []int{100, 1000, 3100} {
					count := b.pick(200, 30)
					b.interleave(fmt.Sprintf("%g ms, %s", float64(wait)/1000, state), peers, func(peer string) (values, error) {
						return b.runAs(peer, []int{b.serverCPU}, "lateness", wait, count, state)
					})
				}
			}
		},
		tables: []table{
			{metric: "p99", title: "lateness, p99", unit: "µs", peers: peers, plot: "lateness", log: true,
				goals: []goal{{against: others, factor: 1, strict: true}}},
			{metric: "p50", title: "lateness, p50", unit: "µs", peers: peers},
			{metric: "early", title: "fired before they were due", unit: "%", peers: peers, goals: []goal{{factor: 0}}},
		},
	}
}
