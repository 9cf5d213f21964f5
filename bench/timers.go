package main

import "fmt"

const (
	afterFunc = "time.AfterFunc"
	goHeap    = "container/heap"
)

func timersRow() row {
	others := []string{libev, libevent, libuv, afterFunc, goHeap}
	peers := append([]string{ours}, others...)
	r := row{
		name:  "timers",
		title: "adding, cancelling and firing",
		how: "So many timers of an hour or two are added, and cancelled in another order; then as many are added and fire, all due at once. " +
			"libev and libuv set a timer by the loop's cached time, and so a little early; the others read the clock for each, which is most " +
			"of what adding costs them. CPU time of the process. libuv counts in milliseconds. time.AfterFunc starts a goroutine for each timer that fires.",
		run: func(b *bench) {
			sizes := []int{1000, 100_000, 1_000_000}
			for _, n := range sizes[:b.pick(3, 2)] {
				b.interleave(fmt.Sprint(n), peers, func(peer string) (values, error) {
					switch peer {
					case afterFunc:
						return b.work([]int{b.serverCPU}, "std", "timers-afterfunc", n)
					case goHeap:
						return b.work([]int{b.serverCPU}, "std", "timers-heap", n)
					}
					return b.work([]int{b.serverCPU}, worker[peer], "timers", n)
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
			t.goals = []goal{{against: others, best: true, factor: 1}}
			t.plot, t.log = "timers", true
		}
		r.tables = append(r.tables, t)
	}
	return r
}
