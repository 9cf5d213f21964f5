// Gnet is the worker on gnet (github.com/panjf2000/gnet), as in its README. The
// defaults stand: one event loop beside the goroutine that accepts, a buffer of
// 64 KiB for reading, TCP_NODELAY.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/panjf2000/gnet/v2"
)

func main() {
	addr := fmt.Sprintf("tcp://127.0.0.1:%d", work.Int(2))
	switch work.Mode() {
	case "echo":
		work.Check(gnet.Run(&echo{}, addr))
	case "group":
		busy := time.Duration(work.Int(3)) * time.Microsecond
		work.Check(gnet.Run(&echo{busy: busy}, addr, gnet.WithNumEventLoop(work.Int(4))))
	case "broadcast":
		work.Check(gnet.Run(&broadcast{clients: map[gnet.Conn]bool{}}, addr))
	default:
		os.Exit(2)
	}
}

type echo struct {
	gnet.BuiltinEventEngine
	busy time.Duration // with each request
}

func (e *echo) OnTraffic(c gnet.Conn) gnet.Action {
	work.Compute(e.busy)
	buf, _ := c.Next(-1)
	c.Write(buf)
	return gnet.None
}

// broadcast needs no lock: there is one loop.
type broadcast struct {
	gnet.BuiltinEventEngine
	clients map[gnet.Conn]bool
}

func (b *broadcast) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	b.clients[c] = true
	return nil, gnet.None
}

func (b *broadcast) OnClose(c gnet.Conn, _ error) gnet.Action {
	delete(b.clients, c)
	return gnet.None
}

func (b *broadcast) OnTraffic(c gnet.Conn) gnet.Action {
	buf, _ := c.Next(-1)
	for client := range b.clients {
		client.Write(buf)
	}
	return gnet.None
}
