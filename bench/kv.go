package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"
)

const valueSize = 64

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
			"connections, whatever the server does. While the keys are set a thousand requests are under way at any time, so the longest " +
			"time without a reply is what the slowest SET took: a table that grows, a page fault, the garbage collector, or the machine.",
		run: func(b *bench) {
			keys := b.pick(5_000_000, 100_000)
			const rate = 40_000
			b.interleave(fmt.Sprintf("%d keys, %d/s", keys, rate), kvServers, func(peer string) (values, error) {
				return b.with(peer, func(s *server) (values, error) { return b.large(s, peer, keys, rate) })
			})
		},
		tables: []table{
			{metric: "key", title: "resident memory", unit: "bytes for each key", peers: kvServers, plot: "kv-memory",
				goals: []goal{{against: []string{redis}, factor: 1.2}}},
			{metric: "p50", title: "latency, p50", unit: "µs", peers: kvServers[:2]},
			{metric: "p99", title: "latency, p99", unit: "µs", peers: kvServers[:2]},
			{metric: "p99.9", title: "latency, p99.9", unit: "µs", peers: kvServers[:2], plot: "kv-latency",
				goals: []goal{{against: []string{redis}, factor: 1.5}}},
			{metric: "p99.99", title: "latency, p99.99", unit: "µs", peers: kvServers[:2]},
			{metric: "fill", title: "setting all keys, 100 at once", unit: "keys each second", peers: kvServers, more: true},
			{metric: "silence", title: "the longest time without a reply meanwhile", unit: "µs", peers: kvServers,
				goals: []goal{{against: []string{redis}, factor: 1}}},
			{metric: "gc", title: "garbage collection, from the start to the end", unit: "% of the server's CPU time", peers: kvServers[:1]},
			{metric: "pause", title: "the longest time for which it stopped the server", unit: "µs", peers: kvServers[:1]},
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
	maps.Copy(all, v)
	if err == nil && peer == oursKV {
		err = s.collector(all)
	}
	return all, err
}

// collector asks examples/kv what its garbage collector did.
func (s *server) collector(v values) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("INFO memory cpu\r\nQUIT\r\n")); err != nil {
		return err
	}
	info, err := io.ReadAll(conn)
	if err != nil {
		return err
	}

	get := func(name string) float64 {
		_, rest, _ := strings.Cut(string(info), name+":")
		number, _, _ := strings.Cut(rest, "\r")
		x, numberErr := strconv.ParseFloat(number, 64)
		err = cmp.Or(err, numberErr)
		return x
	}
	v["gc"] = 100 * get("gc_cpu_usec") / 1e6 / (get("used_cpu_user") + get("used_cpu_sys"))
	v["pause"] = get("gc_pause_max_usec")
	return err
}
