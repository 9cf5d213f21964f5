// Nbio is the worker on nbio (github.com/lesismal/nbio), as in its README, with one
// poller beside the goroutine that accepts. The other defaults stand:
// level-triggered, a buffer of 64 KiB for reading. The README copies the input
// before it writes it; Write copies what it has to keep, so this does not.
package main

import (
	"fmt"
	"os"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
)

func main() {
	if work.Mode() != "echo" {
		os.Exit(2)
	}
	logging.SetLevel(logging.LevelError)
	engine := nbio.NewEngine(nbio.Config{
		Network: "tcp",
		Addrs:   []string{fmt.Sprintf("127.0.0.1:%d", work.Int(2))},
		NPoller: 1,
	})
	engine.OnData(func(c *nbio.Conn, data []byte) { c.Write(data) })
	work.Check(engine.Start())
	select {}
}
