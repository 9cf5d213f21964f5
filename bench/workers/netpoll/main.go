// Netpoll is the worker on netpoll (github.com/cloudwego/netpoll), as in its guide,
// with one poller, which also accepts, and without the pool of goroutines made
// for stacks that grow, as it advises for handlers that are simple. Requests
// are handled on goroutines of their own in any case.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aeloop/ae/bench/internal/work"
	"github.com/cloudwego/netpoll"
)

func main() {
	if work.Mode() != "echo" {
		os.Exit(2)
	}
	work.Check(netpoll.Configure(netpoll.Config{
		PollerNum: 1,
		Runner:    func(_ context.Context, handle func()) { go handle() },
	}))
	ln, err := netpoll.CreateListener("tcp", fmt.Sprintf("127.0.0.1:%d", work.Int(2)))
	work.Check(err)
	loop, err := netpoll.NewEventLoop(echo)
	work.Check(err)
	work.Check(loop.Serve(ln))
}

func echo(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	in, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	out, err := w.Malloc(len(in))
	if err != nil {
		return err
	}
	copy(out, in)
	if err := w.Flush(); err != nil {
		return err
	}
	return r.Release()
}
