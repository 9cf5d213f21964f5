package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/bench/internal/work"
	"github.com/aeloop/ae/stream"
)

// newGroup returns loops that listen, each with its own socket or all behind one.
func newGroup(addr string, loops int, reuseport bool, h func() *stream.Handler) (*stream.Group, *stream.Listener) {
	g, err := stream.NewGroup(loops)
	work.Check(err)
	cfg := stream.ListenConfig{ListenConfig: anet.ListenConfig{ReusePort: reuseport}}
	ln, err := g.Listen("tcp", addr, cfg, func(*stream.Loop) *stream.Handler { return h() })
	work.Check(err)
	return g, ln
}

// group is an echo server that computes for a while for each request.
func group(port int, busy time.Duration, loops int, reuseport bool) {
	g, _ := newGroup(fmt.Sprintf("127.0.0.1:%d", port), loops, reuseport, func() *stream.Handler {
		return &stream.Handler{Data: func(c *stream.Conn, p []byte) int {
			work.Compute(busy)
			c.Write(p)
			return len(p)
		}}
	})
	work.Check(g.Run(context.Background(), 0))
}

// skew prints how many more of 1000 connections than the mean the loop has that
// has the most.
func skew(loops int, reuseport bool) {
	const conns = 1000
	opened := make(chan bool, conns)
	g, ln := newGroup("127.0.0.1:0", loops, reuseport, func() *stream.Handler {
		return &stream.Handler{Open: func(*stream.Conn) { opened <- true }}
	})
	addr := ln.Addr()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, 0) }()
	for range conns {
		c, err := net.Dial("tcp", addr)
		work.Check(err)
		defer c.Close()
		<-opened
	}
	most := 0
	for _, l := range g.Loops() {
		most = max(most, l.Len())
	}
	work.Print("skew", (float64(most)*float64(loops)/conns-1)*100, "%")
	stop()
	work.Check(<-ended)
}
