package main

import "fmt"

func postRow() row {
	return row{
		name:  "post",
		title: "handing a function to the loop",
		how: "Functions posted from so many goroutines to the loop that calls them, against a channel without a buffer and with one of " +
			"1024, and against libuv with what its users write: a queue under a lock, and uv_async_send. On all cores. Waking is from the " +
			"call to the function's beginning, on a loop that sleeps, every 0.3 ms. A goroutine that waits for a channel does not sleep in " +
			"the kernel, and is woken without it.",
		run: func(b *bench) {
			for _, posters := range []int{1, 2, 8} {
				count := b.pick(1_000_000, 50_000)
				b.interleave(fmt.Sprintf("%d posting", posters), []string{ours, channel, buffered, libuv}, func(peer string) (values, error) {
					return b.runAs(peer, b.allCores(), "post", posters, count)
				})
			}
			b.interleave("waking", []string{ours, channel, libuv}, func(peer string) (values, error) {
				return b.runAs(peer, b.allCores(), "wake", b.pick(1000, 100))
			})
		},
		tables: []table{
			{metric: "post", title: "time for each", unit: "ns", peers: []string{ours, channel, buffered, libuv}, plot: "post",
				goals: []goal{{against: []string{channel}, factor: 0.5}}},
			{metric: "p50", title: "from the call to a sleeping loop, p50", unit: "µs", peers: []string{ours, channel, libuv},
				goals: []goal{{against: []string{libuv}, factor: 0.35}, {against: []string{channel}, factor: 3}}},
			{metric: "p99", title: "from the call to a sleeping loop, p99", unit: "µs", peers: []string{ours, channel, libuv}},
		},
	}
}
