// Command minikv is a key-value server for redis-cli and any other client of Redis.
// It shows what a protocol, and data that change when nobody asks, add to a server on
// package stream: commands that come in pieces or many at once, and keys that expire.
//
//	go run ./examples/minikv
//	redis-cli -p 6379
//
//	PING           DEL key [key ...]       EXPIRE key seconds
//	GET key        EXISTS key [key ...]    TTL key
//	SET key value  INCR key
//
// The replies are those of Redis, but for the words of some errors. SIGINT and SIGTERM end the server: what it has read
// is answered, and clients have 5 s to take it. A second signal does not wait.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/stream"
)

const (
	high       = 64 << 10 // bytes of replies that wait before commands wait too
	maxCommand = 16 << 20 // bytes of a command
	sweepPause = 100 * time.Millisecond
	grace      = 5 * time.Second
)

func main() {
	listen := flag.String("listen", "127.0.0.1:6379", "accept clients on `host:port`")
	flag.Parse()
	log.SetFlags(0)
	if flag.NArg() > 0 {
		log.Fatalf("minikv: unexpected argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal kills
	if err := serve(ctx, *listen, os.Stderr); err != nil {
		log.Fatalln("minikv:", err)
	}
}

// server belongs to the loop's goroutine, so nothing in it needs a lock.
type server struct {
	el       *ae.EventLoop
	data     data
	sweeping bool        // the time event is set
	out      resp.Writer // one reply
}

// serve runs the server until ctx is done and the clients have gone.
func serve(ctx context.Context, listen string, out io.Writer) error {
	el, err := ae.New(1 << 20)
	if err != nil {
		return err
	}
	defer el.Close()
	loop := stream.On(el)
	defer loop.Close()

	s := &server{el: el, data: data{values: map[string][]byte{}, expires: map[string]time.Time{}}}
	ln, err := loop.Listen("tcp", listen, stream.ListenConfig{}, &stream.Handler{
		Open:     func(c *stream.Conn) { c.Data = new(resp.Parser) },
		Data:     s.onData,
		Shutdown: (*stream.Conn).Close,
		High:     high,
		Linger:   grace,
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", ln.Addr())

	context.AfterFunc(ctx, func() {
		el.Post(func(*ae.EventLoop) { loop.Shutdown(grace, el.Stop) })
	})
	return el.Main()
}

// onData executes the commands that are complete in p; their replies leave together.
// What is left of p comes again: with more of its command, or once a client has taken
// the replies that it did not read.
func (s *server) onData(c *stream.Conn, p []byte) (used int) {
	s.data.now = s.el.Now()
	req := c.Data.(*resp.Parser)
	for used < len(p) && c.Open() && c.Queued() < high {
		n, complete, err := req.Parse(p[used:])
		used += n
		s.out.Buf = s.out.Buf[:0]
		if err == nil && req.Size() > maxCommand {
			err = resp.Error("too big a command")
		}
		if err != nil {
			s.out.Error("ERR " + err.Error())
			c.Write(s.out.Buf)
			c.Close()
		}
		if !complete {
			break
		}
		s.call(req.Args)
		c.Write(s.out.Buf) // an error has ended the connection
		req.Reset()
	}
	return used
}
