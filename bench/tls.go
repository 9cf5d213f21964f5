package main

import (
	"fmt"
	"strconv"
	"time"
)

func tlsRow() row {
	peers := []string{onStream, goNet, nbio}
	return row{
		name:  "tls",
		title: "TLS",
		how: "An echo server with TLS 1.3 as package tls has it by default, and a certificate on P-256; on package stream with tlsstream, and " +
			"with a goroutine for each connection on net. nbio has its own fork of crypto/tls. The client is package tls on net. A handshake is a whole one, with its " +
			"connection, and nothing else is sent on that. Memory is as in idle.",
		run: func(b *bench) {
			type load struct{ size, conns int }
			for _, l := range []load{{64, 1}, {64, 50}, {16 << 10, 50}, {64, 1000}}[:b.pick(4, 2)] {
				b.interleave(fmt.Sprintf("%d B, %d connections", l.size, l.conns), peers, func(peer string) (values, error) {
					return b.withTLS(peer, func(s *server) (values, error) {
						return b.tlsLoad(s, "closed", "-conns", l.conns, "-size", l.size)
					})
				})
			}
			b.interleave("handshakes", peers, func(peer string) (values, error) {
				return b.withTLS(peer, func(s *server) (values, error) { return b.tlsLoad(s, "handshakes", "-conns", 8) })
			})
			n := b.pick(2000, 50)
			b.interleave(fmt.Sprintf("%d idle connections", n), peers, func(peer string) (values, error) {
				return b.withTLS(peer, func(s *server) (values, error) { return b.tlsIdle(s, n) })
			})
		},
		tables: []table{
			{metric: "cpu", title: "CPU time of the server for each request, or each handshake", unit: "µs", peers: peers, plot: "tls"},
			{metric: "rate", title: "requests or handshakes each second", unit: "1/s", peers: peers, more: true},
			{metric: "bytes", title: "resident memory", unit: "bytes for each connection", peers: peers},
		},
	}
}

func (b *bench) withTLS(peer string, f func(s *server) (values, error)) (values, error) {
	return b.withProgram([]int{b.serverCPU}, func(port int) []string {
		return []string{b.program(find(peer).worker), "tls", strconv.Itoa(port)}
	}, f)
}

func (b *bench) tlsLoad(s *server, args ...any) (values, error) {
	args = append(args, "-port", s.port, "-pid", s.pid(),
		"-warm", b.span(200*time.Millisecond, 20*time.Millisecond), "-time", b.span(time.Second, 50*time.Millisecond))
	return b.work([]int{b.clientCPU}, "tlsload", args...)
}

// tlsIdle measures what n connections add to the server's memory.
func (b *bench) tlsIdle(s *server, n int) (values, error) {
	if _, err := b.tlsLoad(s, "closed", "-conns", 1); err != nil { // code that runs is resident
		return nil, err
	}
	return b.memoryOf(s, n, "tlsload", "idle", "-port", s.port, "-conns", n)
}
