package main

import (
	"fmt"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/bench/internal/work"
	"github.com/aeloop/ae/stream"
)

// echo is an echo server on package stream.
func echo(el *ae.EventLoop, port int) {
	serve(el, port, &stream.Handler{Data: func(c *stream.Conn, p []byte) int {
		c.Write(p)
		return len(p)
	}})
}

// broadcast sends what one client says to all.
func broadcast(el *ae.EventLoop, port int) {
	clients := map[*stream.Conn]bool{}
	serve(el, port, &stream.Handler{
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

func serve(el *ae.EventLoop, port int, h *stream.Handler) {
	_, err := stream.On(el).Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port), stream.ListenConfig{}, h)
	work.Check(err)
	work.Check(el.Main())
}
