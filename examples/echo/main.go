// Command echo sends back whatever its clients send: the bare callback chain
// accept -> read -> write, every step by hand and every case treated. Read it from
// main down, after examples/hello, which is the same chain at its smallest.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/watch"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:7000", "listen on `host:port`, or unix:path")
	watchAddr := flag.String("watch", "", "show the loop at work on a page on `host:port`, if any")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "echo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // messages that nobody takes any more must not end the server

	if err := serve(ctx, *addr, *watchAddr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

const (
	maxClients    = 100_000                // a client with a higher descriptor is closed: tables are by descriptor
	acceptsAtOnce = 1000                   // then the clients that are there get their turn
	acceptPause   = 100 * time.Millisecond // how long to wait when the system has no descriptor left
)

// server is everything that the callbacks share. Only the loop's goroutine
// touches it, so nothing here needs a lock.
type server struct {
	el       *ae.EventLoop
	listener int
	clients  []*client      // by descriptor: the kernel hands out the lowest free number
	starved  bool           // accepting failed and has not worked again yet
	buf      [16 << 10]byte // what one read takes; all clients take turns with it

	// Evaluating s.onReadable allocates, so it is done once.
	readable, writable ae.FileProc
}

// client is one connection. It owns no buffer while its peer keeps up.
type client struct {
	fd   int
	rest []byte // what has been read and not yet written back
}

// serve runs the server until ctx is done.
func serve(ctx context.Context, addr, watchAddr string, out io.Writer) error {
	el, err := ae.New(maxClients) // 1: create the loop
	if err != nil {
		return err
	}
	defer el.Close()

	network, address := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return errors.New("unix: needs a path")
		}
		network, address = "unix", path
	}
	ln, err := anet.ListenConfig{Replace: true}.Listen(network, address) // 2, 3: listen, non-blocking
	if err != nil {
		return err
	}
	s := &server{el: el, listener: ln}
	s.readable, s.writable = s.onReadable, s.onWritable
	defer s.close()
	if network == "unix" && address[0] != '@' { // an abstract name is no file
		defer os.Remove(address)
	}

	if err := el.CreateFileEvent(ln, ae.Readable, s.onAccept); err != nil { // 4: the accept callback
		return err
	}
	at := anet.LocalString(ln)
	if network == "unix" {
		at = "unix:" + at
	}
	fmt.Fprintln(out, "echo: listening on", at)
	if watchAddr != "" {
		url, stop, err := watch.Serve(watchAddr, watch.New(el, watch.Options{Name: "echo"}))
		if err != nil {
			return err
		}
		defer stop()
		fmt.Fprintln(out, "echo: watch it on", url)
	}
	if err := el.Run(ctx); !errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return nil
}

// close closes what the loop, by design, leaves open. It does not wait: a rest is
// lost, and a client whose last request was not read sees a reset. Example_drain
// of package ae ends more gently.
func (s *server) close() {
	for _, c := range s.clients {
		if c != nil {
			s.drop(c)
		}
	}
	anet.Close(s.listener)
}

// onAccept takes the connections that wait (5), and registers the read callback
// for each (6).
func (s *server) onAccept(el *ae.EventLoop, ln int, _ ae.Mask) {
	for range acceptsAtOnce {
		fd, _, err := anet.Accept(ln)
		switch {
		case err == anet.ErrWouldBlock:
			return
		case errors.Is(err, anet.ErrAborted):
			continue // that peer gave up while it waited
		case err != nil: // anet.ErrExhausted as a rule; whatever it is, it must not make the loop spin
			s.pauseAccepting(err)
			return
		}
		s.starved = false
		s.addClient(fd)
	}
}

// pauseAccepting stops watching the listener for a while. Out of descriptors, it
// would be reported ready at once, over and over, and starve the clients.
func (s *server) pauseAccepting(err error) {
	if !s.starved {
		fmt.Fprintf(os.Stderr, "echo: trying again every %v: %v\n", acceptPause, err)
	}
	s.starved = true
	s.el.DeleteFileEvent(s.listener, ae.Readable)
	s.el.CreateTimeEvent(acceptPause, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		if el.CreateFileEvent(s.listener, ae.Readable, s.onAccept) != nil {
			return acceptPause
		}
		return ae.NoMore
	})
}

func (s *server) addClient(fd int) {
	c := &client{fd: fd}
	for fd >= len(s.clients) {
		s.clients = append(s.clients, nil)
	}
	s.clients[fd] = c
	if s.el.CreateFileEvent(fd, ae.Readable, s.readable) != nil {
		s.drop(c)
		return
	}
	anet.SetNoDelay(fd, true) // an error on a unix socket, which has no such delay
}

// onReadable reads what has come (7) and writes it back (8). What the peer has
// no room for waits for the write callback.
func (s *server) onReadable(el *ae.EventLoop, fd int, _ ae.Mask) {
	n, err := anet.Read(fd, s.buf[:])
	if err == anet.ErrWouldBlock {
		return
	}
	if err != nil { // io.EOF, or the connection was reset
		s.drop(s.clients[fd])
		return
	}
	s.write(s.clients[fd], s.buf[:n])
}

// onWritable goes on with the rest (8).
func (s *server) onWritable(el *ae.EventLoop, fd int, _ ae.Mask) {
	c := s.clients[fd]
	s.write(c, c.rest)
}

// write writes p to c. While a rest remains, Writable is watched instead of
// Readable: a peer that sends and never reads costs this server one buffer.
func (s *server) write(c *client, p []byte) {
	n, err := anet.Write(c.fd, p)
	if err != nil && err != anet.ErrWouldBlock {
		s.drop(c)
		return
	}

	paused := c.rest != nil
	switch {
	case n == len(p) && paused:
		c.rest = nil
		s.watch(c, ae.Readable, s.readable, ae.Writable)
	case n < len(p) && paused:
		c.rest = p[n:]
	case n < len(p):
		c.rest = bytes.Clone(p[n:])
		s.watch(c, ae.Writable, s.writable, ae.Readable)
	}
}

// watch has the loop watch c for the event on, and no longer for off.
func (s *server) watch(c *client, on ae.Mask, proc ae.FileProc, off ae.Mask) {
	if s.el.CreateFileEvent(c.fd, on, proc) != nil {
		s.drop(c)
		return
	}
	s.el.DeleteFileEvent(c.fd, off)
}

// drop takes the descriptor out of the loop before it closes it: the number may
// come back with the next accept.
func (s *server) drop(c *client) {
	s.el.DeleteFileEvent(c.fd, ae.Readable|ae.Writable)
	s.clients[c.fd] = nil
	anet.Close(c.fd)
}
