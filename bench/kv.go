package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	oursKV    = "ae kv"
	valueSize = 64
)

var kvServers = []string{oursKV, redis, memcached}

func kvRow() row {
	return row{
		name:  "kv",
		title: "a key-value server under full load",
		how: "examples/kv against redis-server and memcached with one thread, all without persistence. 50 connections, 100,000 keys of 16 bytes " +
			"with values of 64, chosen at random; -P 16 is 16 requests sent at once. MSET sets ten keys. memcached is asked in its own " +
			"text protocol.",
		run: func(b *bench) {
			for _, what := range []string{"get", "set", "incr", "mset"} {
				for _, pipeline := range []int{1, 16, 64} {
					subject := fmt.Sprintf("%s -P %d", strings.ToUpper(what), pipeline)
					peers := kvServers
					if what == "incr" || what == "mset" {
						peers = kvServers[:2]
					}
					b.interleave(subject, peers, func(peer string) (values, error) {
						return b.with(peer, func(s *server) (values, error) { return b.kv(s, peer, what, pipeline) })
					})
				}
			}
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each request", unit: "µs", peers: kvServers, plot: "kv-cpu", log: true,
				goals: []goal{
					{against: []string{redis}, factor: 1.0, on: suffix("-P 1")},
					{against: []string{redis}, factor: 0.75, on: suffix("-P 16")},
					{against: []string{redis}, factor: 0.6, on: suffix("-P 64")},
				}},
			{metric: "rate", title: "requests each second", unit: "1/s", peers: kvServers, more: true, plot: "kv-rate", log: true},
			{metric: "server", title: "how busy the server was", unit: "% of its core", peers: kvServers},
			{metric: "client", title: "how busy the client was", unit: "% of its core", peers: kvServers},
		},
	}
}

func suffix(s string) func(string) bool {
	return func(subject string) bool { return strings.HasSuffix(subject, s) }
}

// command is how a command is named to the load generator.
func command(peer, what string) string {
	if peer == memcached {
		return "memcache-" + what
	}
	return what
}

func (b *bench) kv(s *server, peer, what string, pipeline int) (values, error) {
	keys := b.pick(100_000, 10_000)
	if what == "get" {
		if _, err := b.load(s, "fill", "-what", command(peer, "set"), "-keys", keys, "-size", valueSize); err != nil {
			return nil, err
		}
	}
	return b.load(s, "closed", "-what", command(peer, what), "-pipeline", pipeline, "-keys", keys, "-size", valueSize,
		"-warm", b.span(150*time.Millisecond, 20*time.Millisecond), "-time", b.span(350*time.Millisecond, 50*time.Millisecond))
}

// largeRow is what happens when there are many keys: where a garbage collector would show.
func largeRow() row {
	return row{
		name:  "large",
		title: "a key-value server with many keys",
		how: "All keys are set once, with values of 64 bytes. Then GET and SET, half of each, of keys at random, arrive at a fixed rate on 50 " +
			"connections, whatever the server does. Two rounds.",
		run: func(b *bench) {
			keys := b.pick(5_000_000, 100_000)
			const rate = 40_000
			defer func(n int) { b.rounds = n }(b.rounds)
			b.rounds = min(b.rounds, 2)
			b.interleave(fmt.Sprintf("%d keys, %d/s", keys, rate), kvServers, func(peer string) (values, error) {
				return b.with(peer, func(s *server) (values, error) { return b.large(s, peer, keys, rate) })
			})
		},
		tables: []table{
			{metric: "key", title: "resident memory", unit: "bytes for each key", peers: kvServers, plot: "kv-memory"},
			{metric: "p50", title: "latency, p50", unit: "µs", peers: kvServers[:2]},
			{metric: "p99", title: "latency, p99", unit: "µs", peers: kvServers[:2]},
			{metric: "p99.9", title: "latency, p99.9", unit: "µs", peers: kvServers[:2], plot: "kv-latency"},
			{metric: "p99.99", title: "latency, p99.99", unit: "µs", peers: kvServers[:2]},
			{metric: "fill", title: "setting all keys, 100 at once", unit: "keys each second", peers: kvServers, more: true},
		},
	}
}

func (b *bench) large(s *server, peer string, keys, rate int) (values, error) {
	before, err := resident(s.pid())
	if err != nil {
		return nil, err
	}
	all, err := b.load(s, "fill", "-what", command(peer, "set"), "-keys", keys, "-size", valueSize)
	if err != nil {
		return nil, err
	}
	after, err := resident(s.pid())
	if err != nil {
		return nil, err
	}
	all["key"] = (after - before) / float64(keys)
	if peer == memcached {
		return all, nil
	}

	v, err := b.load(s, "open", "-what", "mixed", "-keys", keys, "-size", valueSize, "-rate", rate,
		"-time", b.span(3*time.Second, 100*time.Millisecond))
	for metric, x := range v {
		all[metric] = x
	}
	return all, err
}
