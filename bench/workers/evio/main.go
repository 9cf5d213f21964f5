// Evio is the worker on evio (github.com/tidwall/evio), as in its README: one loop,
// which also accepts. ReuseInputBuffer saves the copy of all input that is made by
// default; an echo does not need it.
package main

import (
	"fmt"
	"os"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/tidwall/evio"
)

func main() {
	if work.Mode() != "echo" {
		os.Exit(2)
	}
	events := evio.Events{
		Opened: func(evio.Conn) (out []byte, opts evio.Options, action evio.Action) {
			return nil, evio.Options{ReuseInputBuffer: true}, evio.None
		},
		Data: func(_ evio.Conn, in []byte) (out []byte, action evio.Action) { return in, evio.None },
	}
	work.Check(evio.Serve(events, fmt.Sprintf("tcp://127.0.0.1:%d", work.Int(2))))
}
