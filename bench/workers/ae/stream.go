package main

import (
	"fmt"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/bench/internal/work"
	"github.com/aeloop/ae/stream"
)

// echoOnStream is an echo server on package stream.
func echoOnStream(el *ae.EventLoop, port int) {
	_, err := stream.On(el).Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port), stream.ListenConfig{}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			c.Write(p)
			return len(p)
		},
	})
	work.Check(err)
	work.Check(el.Main())
}
