package main

import "fmt"

func timersRow() row {
	others := []string{libev, libevent, libuv, afterFunc, goHeap}
	peers := append([]string{ours}, others...)
	r := row{
		name:  "timers",
		title: "adding, cancelling and firing",
		how: "So many timers of an hour or two are added, and cancelled in another order; then as many are added and fire, all due at once. " +
			"libev and libuv set a timer by the loop's cached time, and so a little early; the others read the clock for each, which is most " +
			"of what adding costs them. CPU time of the process. libuv counts in milliseconds. time.AfterFunc starts a goroutine for each timer that fires. Of less than " +
			"a thousand timers, only the last table: reading the clock would be most of the others.",
		run: func(b *bench) {
			for _, n := range []int{10, 100, 1000, 10_000, 100_000, 1_000_000}[b.pick(0, 1):b.pick(6, 3)] {
				b.interleave(fmt.Sprint(n), peers, func(peer string) (values, error) {
					return b.runAs(peer, []int{b.serverCPU}, "timers", n)
				})
			}
		},
	}
	for _, m := range [][2]string{
		{"total", "add, cancel and fire together"}, {"add", "add"}, {"cancel", "cancel"}, {"fire", "fire"},
		{"churn", "cancel one and add another, with so many in place"},
	} {
		t := table{metric: m[0], title: m[1], unit: "ns each", peers: peers}
		if m[0] == "total" {
			t.goals = []goal{
				{against: []string{libev}, factor: 1.5, on: func(subject string) bool { return subject == "1000" }},
				{against: others, best: true, factor: 1},
			}
			t.plot, t.log = "timers", true
		}
		if m[0] == "churn" {
			t.plot, t.log, t.lines = "growth-timers", true, true
		}
		r.tables = append(r.tables, t)
	}
	return r
}
