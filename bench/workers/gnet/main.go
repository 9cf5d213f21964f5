// Gnet is the worker on gnet (github.com/panjf2000/gnet), with one event loop, as
// its README's echo server.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/panjf2000/gnet/v2"
)

type echo struct{ gnet.BuiltinEventEngine }

func (*echo) OnTraffic(c gnet.Conn) gnet.Action {
	buf, _ := c.Next(-1)
	c.Write(buf)
	return gnet.None
}

func main() {
	switch work.Mode() {
	case "echo":
		work.Check(gnet.Run(&echo{}, fmt.Sprintf("tcp://127.0.0.1:%d", work.Int(2))))
	case "version":
		info, _ := debug.ReadBuildInfo()
		for _, m := range info.Deps {
			if m.Path == "github.com/panjf2000/gnet/v2" {
				fmt.Println("gnet", m.Version)
			}
		}
	default:
		os.Exit(2)
	}
}
