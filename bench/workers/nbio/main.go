// Nbio is the worker on nbio (github.com/lesismal/nbio), as in its README, with one
// poller beside the goroutine that accepts. The other defaults stand:
// level-triggered, a buffer of 64 KiB for reading. The README copies the input
// before it writes it; Write copies what it has to keep, so this does not.
package main

import (
	"fmt"
	"os"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/lesismal/llib/std/crypto/tls"
	"github.com/lesismal/nbio"
	nbiotls "github.com/lesismal/nbio/extension/tls"
	"github.com/lesismal/nbio/logging"
)

func main() {
	logging.SetLevel(logging.LevelError)
	engine := nbio.NewEngine(nbio.Config{
		Network: "tcp",
		Addrs:   []string{fmt.Sprintf("127.0.0.1:%d", work.Int(2))},
		NPoller: 1,
	})
	switch work.Mode() {
	case "echo":
		engine.OnData(func(c *nbio.Conn, data []byte) { c.Write(data) })
	case "tls": // its own fork of crypto/tls, wrapped as in its examples
		own := work.Server().Certificates[0]
		config := &tls.Config{Certificates: []tls.Certificate{{Certificate: own.Certificate, PrivateKey: own.PrivateKey}}}
		engine.OnOpen(nbiotls.WrapOpen(config, false, func(*nbio.Conn, *tls.Conn) {}))
		engine.OnClose(nbiotls.WrapClose(func(*nbio.Conn, *tls.Conn, error) {}))
		engine.OnData(nbiotls.WrapData(func(_ *nbio.Conn, c *tls.Conn, data []byte) { c.Write(data) }))
	default:
		os.Exit(2)
	}
	work.Check(engine.Start())
	select {}
}
