// Kv is a small server that speaks the protocol of Redis: a hash table behind a
// socket, on one goroutine and one event loop.
//
//	go run ./examples/kv
//	redis-cli -p 6380
//
// The chain from a connection to its replies is in server.go: package stream accepts,
// reads, and calls onData, which executes every complete command in what was read and
// appends the replies to the client's output; before the loop sleeps, flushAll hands
// the outputs over to the connections, and stream sends them.
//
// This file has how the server starts and ends. The others: commands.go is the
// table of commands and their execution, strings.go, keys.go, clients.go and
// pubsub.go what they do, persist.go how replies wait for the file, config.go the
// settings, tls.go TLS, info.go, slowlog.go and messages.go what the server says about
// itself, glob.go the patterns. The data is package store, its copy on disk package aof.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/watch"
)

// How the server starts and ends.

// shutdownGrace is how long clients have to take the last of their replies.
const shutdownGrace = 5 * time.Second

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(stderr, "kv:", err)
	}
	stderr.close(time.Second)
	if err != nil {
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("kv", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its errors are returned, and then need no second mention
	addr := flags.String("addr", "127.0.0.1:6380", "listen on `host:port`, or unix:path")
	watchAddr := flags.String("watch", "", "show the loop at work on a page on `host:port`, if any")
	var tlsCfg tlsConfig
	tlsCfg.addFlags(flags)
	cfg := defaultConfig()
	cfg.addFlags(flags)
	err = flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(stdout)
		flags.Usage()
		return nil
	}
	if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	// There are few pointers to follow, so collecting often is cheap, and the
	// garbage there is (large values that were replaced) does not pile up.
	debug.SetGCPercent(25)

	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.close()) }()
	if err := s.listen(*addr); err != nil {
		return err
	}
	tlsAddr := ""
	if tlsCfg.addr != "" {
		if tlsAddr, err = s.listenTLS(tlsCfg); err != nil {
			return err
		}
	}
	if cfg.appendOnly {
		// After listen, or a second server would cut and compact the file of the
		// first before it found its address taken. Who connects meanwhile waits.
		if err := s.openAOF(cfg.appendFile); err != nil {
			return err
		}
	}

	signal.Ignore(syscall.SIGPIPE) // messages that nobody takes any more must not end the server
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go s.awaitSignals(signals)
	if *watchAddr != "" {
		url, stop, err := watch.Serve(*watchAddr, watch.New(s.el, watch.Options{
			Name:  "kv",
			Conns: func() watch.Conns { return watch.ConnsOf(s.loop.All(), nil) },
		}))
		if err != nil {
			return err
		}
		defer stop()
		fmt.Fprintln(stdout, "kv: watch it on", url)
	}
	if tlsAddr != "" {
		fmt.Fprintln(stdout, "kv: listening for TLS on", tlsAddr)
	}
	fmt.Fprintln(stdout, "kv: listening on", s.address)
	return s.el.Main()
}

// awaitSignals ends the server when a signal asks for it. It runs on a goroutine of
// its own, from where only Post and Stop may be called.
func (s *server) awaitSignals(signals <-chan os.Signal) {
	for n := 0; ; n++ {
		<-signals
		if n == 0 {
			close(s.interrupted)
		}
		if s.el.Post(s.shutDown) != nil {
			return // the loop is closed
		}
	}
}

var listenConfig = anet.ListenConfig{Backlog: 511, Replace: true}

// listen binds the address, host:port or unix:path, and begins to accept.
func (s *server) listen(addr string) (err error) {
	s.network = "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return errors.New("unix: needs a path")
		}
		s.network, addr = "unix", path
	}
	s.address, err = s.accept(s.network, addr, nil)
	if s.network == "unix" {
		s.address = "unix:" + s.address
	}
	return err
}

// accept begins to accept, with what makes TLS of a connection, if any, and returns where.
func (s *server) accept(network, addr string, layer func(*stream.Conn) stream.Layer) (string, error) {
	cfg := stream.ListenConfig{ListenConfig: listenConfig, Layer: layer}
	ln, err := s.loop.Listen(network, addr, cfg, s.handlers[normalClass])
	if err != nil {
		return "", err
	}
	return ln.Addr(), nil
}

// close writes what can still be written, and closes everything. The error is that
// of the append-only file.
func (s *server) close() (err error) {
	if s.aof != nil {
		err = s.aof.Close()
		s.settle()
	}
	s.flushAll()
	for len(s.clients) > 0 {
		s.clients[0].drop()
	}
	s.loop.Close()
	s.el.Close()
	return err
}

// shutDown ends the server: nobody new is accepted, nothing more is read, and as
// soon as all replies are written the loop stops. Called again, it stops at once.
func (s *server) shutDown(el *ae.EventLoop) {
	if s.ending {
		el.Stop()
		return
	}
	s.ending = true
	s.log.Info("shutting down")
	if s.loop.Shutdown(shutdownGrace, el.Stop) != nil {
		el.Stop()
	}
	el.CreateTimeEvent(0, s.dismiss)
}

// shutdownCommand has no reply: the connection ends. The options are about saving
// and about replicas, of which there is nothing to choose here.
func shutdownCommand(c *client, args [][]byte) {
	for _, arg := range args[1:] {
		switch {
		case resp.Is(arg, "ABORT") && len(args) == 2:
			c.out.Error("ERR No shutdown in progress.")
			return
		case !resp.Is(arg, "NOSAVE") && !resp.Is(arg, "SAVE") && !resp.Is(arg, "NOW") && !resp.Is(arg, "FORCE"):
			c.out.Error(errSyntax)
			return
		}
	}
	c.closing = true
	if c.srv.el.Post(c.srv.shutDown) != nil {
		c.srv.el.Stop()
	}
}
