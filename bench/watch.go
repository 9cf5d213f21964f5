package main

func watchRow() row {
	peers := []string{onStream, watched, lanes}
	return row{
		name:  "watch",
		title: "what it costs to watch the loop",
		how: "As echo, on package stream, with 64 bytes on 50 connections: without package watch, with a watch.Watcher, and with one that " +
			"records every callback for its page.",
		run: func(b *bench) {
			b.interleave("50 connections", peers, func(peer string) (values, error) {
				return b.with(peer, func(s *server) (values, error) { return b.closed(s) })
			})
		},
		tables: []table{{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: peers}},
	}
}
