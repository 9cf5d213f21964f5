// Command proxy passes TCP connections on to another server. Either side waits for
// the other: what one does not read the other cannot send, so nothing grows. The
// end of one side's sending is passed on, and so is a reset.
//
// A client whose server cannot be reached, be it refused or not answered within
// -connect-timeout, is closed. A client takes two descriptors, and where there are
// none left it waits in the backlog. On SIGINT and SIGTERM that is taken, as far as
// descriptors go, and then nobody listens any more; connections go on until they
// end, or are reset when -grace has ended. A second signal does not wait.
//
// With -cert and -key clients speak TLS to it, with -to-tls it does so to the server.
// -alpn is for clients that are to agree on a protocol in the handshake; the server is
// asked for the same one, if it is spoken to with TLS.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/watch"
)

type config struct {
	listen, to           string
	connect, idle, grace time.Duration
	loops                int
	cert, key, toCA      string
	toTLS                bool
	alpn, watch          string
}

func main() {
	var cfg config
	flag.StringVar(&cfg.listen, "listen", "127.0.0.1:7002", "accept clients on `host:port`")
	flag.StringVar(&cfg.to, "to", "127.0.0.1:7000", "pass them on to the server at `host:port`")
	flag.DurationVar(&cfg.connect, "connect-timeout", 5*time.Second, "how long the server has to accept; 0 is as long as the system waits")
	flag.DurationVar(&cfg.idle, "idle", 0, "end a connection on which nothing moves for so long; 0 is never")
	flag.DurationVar(&cfg.grace, "grace", 30*time.Second, "how long connections may go on after SIGTERM")
	flag.IntVar(&cfg.loops, "loops", 1, "how many event loops share the connections")
	flag.StringVar(&cfg.cert, "cert", "", "speak TLS to clients, with the certificate in this PEM `file`")
	flag.StringVar(&cfg.key, "key", "", "and the key in this `file`")
	flag.BoolVar(&cfg.toTLS, "to-tls", false, "speak TLS to the server")
	flag.StringVar(&cfg.toCA, "to-ca", "", "trust the authorities in this PEM `file`, and not the system's, to name the server")
	flag.StringVar(&cfg.alpn, "alpn", "", "agree on one of these `protocols` with clients: h2,http/1.1")
	flag.StringVar(&cfg.watch, "watch", "", "show the loops at work on a page on `host:port`, if any")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "proxy: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal kills

	if err := serve(ctx, cfg, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

// serve runs the proxy until ctx is done and the connections are, or the grace is.
func serve(ctx context.Context, cfg config, log io.Writer) error {
	if _, err := anet.Resolve(ctx, "tcp", cfg.to, 0); err != nil { // before a client finds out
		return err
	}
	layer, err := cfg.front()
	if err != nil {
		return err
	}
	dial, err := cfg.back()
	if err != nil {
		return err
	}
	g, err := stream.NewGroup(cfg.loops)
	if err != nil {
		return err
	}

	ln, err := g.Listen("tcp", cfg.listen, stream.ListenConfig{PerConn: 2, Layer: layer}, func(*stream.Loop) *stream.Handler {
		return &stream.Handler{Idle: cfg.idle, Open: func(client *stream.Conn) { stream.Join(client, dial(client)) }}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(log, "listening on", ln.Addr())
	if cfg.watch != "" {
		var ws []*watch.Watcher
		for i, l := range g.Loops() {
			ws = append(ws, watch.New(l.EventLoop(), watch.Options{
				Name:  fmt.Sprint("proxy ", i+1),
				Conns: func() watch.Conns { return watch.ConnsOf(l.All(), nil) },
			}))
		}
		url, stop, err := watch.Serve(cfg.watch, ws...)
		if err != nil {
			return err
		}
		defer stop()
		fmt.Fprintln(log, "watch them on", url)
	}
	return g.Run(ctx, cfg.grace)
}
