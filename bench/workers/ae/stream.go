package main

import (
	"fmt"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/bench/internal/work"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
	"github.com/aeloop/ae/watch"
)

// echo is an echo server on package stream, watched if that is asked for.
func echo(el *ae.EventLoop, port int, watching string) {
	if watching != "" {
		defer watch.New(el, watch.Options{Lanes: watching == "lanes"}).Close()
	}
	serve(el, port, stream.ListenConfig{}, echoes)
}

// echoTLS is the same with TLS.
func echoTLS(el *ae.EventLoop, port int) {
	endpoint, err := tlsstream.Server(work.Server(), tlsstream.Limits{})
	work.Check(err)
	serve(el, port, stream.ListenConfig{Layer: endpoint.Layer}, echoes)
}

var echoes = &stream.Handler{Data: func(c *stream.Conn, p []byte) int {
	c.Write(p)
	return len(p)
}}

// broadcast sends what one client says to all.
func broadcast(el *ae.EventLoop, port int) {
	clients := map[*stream.Conn]bool{}
	serve(el, port, stream.ListenConfig{}, &stream.Handler{
		Open:  func(c *stream.Conn) { clients[c] = true },
		Close: func(c *stream.Conn, _ error) { delete(clients, c) },
		Data: func(_ *stream.Conn, p []byte) int {
			for c := range clients {
				c.Write(p)
			}
			return len(p)
		},
	})
}

func serve(el *ae.EventLoop, port int, cfg stream.ListenConfig, h *stream.Handler) {
	_, err := stream.On(el).Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port), cfg, h)
	work.Check(err)
	work.Check(el.Main())
}
