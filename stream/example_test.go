package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/stream"
)

// talk is a client: it sends s, finishes sending, and returns all that comes back.
func talk(addr, s string) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	io.WriteString(c, s)
	c.(*net.TCPConn).CloseWrite()
	reply, _ := io.ReadAll(c)
	return string(reply)
}

// A server that answers each line in capitals. A client that does not read its
// answers is not read from either, so that nothing grows; one that says nothing for
// a minute gets a last word.
func ExampleHandler() {
	el, err := ae.New(10_000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)

	lines := &stream.Handler{
		Idle:     time.Minute,
		MaxInput: 1024, // a line
		Data: func(c *stream.Conn, p []byte) int {
			used := 0
			for c.Open() {
				line, _, found := bytes.Cut(p[used:], []byte("\n"))
				if !found {
					break
				}
				used += len(line) + 1
				if string(line) == "quit" {
					c.Close()
				}
				c.Write(append(bytes.ToUpper(line), '\n'))
			}
			return used
		},
		Idled: func(c *stream.Conn) {
			c.Write([]byte("idle for too long\n"))
			c.Close()
		},
		Close: func(c *stream.Conn, err error) {
			if err != nil {
				log.Print(c.Peer(), ": ", err)
			}
		},
	}
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, lines)
	if err != nil {
		log.Fatal(err)
	}

	go func() {
		fmt.Print(talk(ln.Addr(), "hello\nworld\n"))
		el.Stop()
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	l.Close()
	// Output:
	// HELLO
	// WORLD
}

// A proxy: all that a client sends goes to another server, and back.
func ExampleJoin() {
	el, err := ae.New(10_000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)

	// The server behind the proxy.
	to, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			fmt.Fprintf(c, "you said %s", p)
			return len(p)
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	server := &stream.Handler{
		Close: func(_ *stream.Conn, err error) { fmt.Println("server side:", err) },
	}
	client := &stream.Handler{
		Open: func(c *stream.Conn) {
			stream.Join(c, c.Loop().Dial("tcp", to.Addr(), 5*time.Second, server))
		},
		Close: func(_ *stream.Conn, err error) { fmt.Println("client side:", err) },
	}
	// Each client takes two descriptors.
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{PerConn: 2}, client)
	if err != nil {
		log.Fatal(err)
	}

	go func() {
		reply := talk(ln.Addr(), "hello")
		el.Post(func(*ae.EventLoop) { fmt.Println(reply) })
		el.Post(func(*ae.EventLoop) { l.Shutdown(time.Second, el.Stop) })
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// you said hello
	// server side: <nil>
	// client side: <nil>
}

// A client that sends a request before it is connected.
func ExampleLoop_Dial() {
	el, err := ae.New(100)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, echoHandler)
	if err != nil {
		log.Fatal(err)
	}

	c := l.Dial("tcp", ln.Addr(), 5*time.Second, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			fmt.Printf("received %q\n", p)
			c.Close()
			return len(p)
		},
		Close: func(_ *stream.Conn, err error) { // also when nobody has answered
			switch {
			case errors.Is(err, stream.ErrTimeout):
				fmt.Println("nobody there")
			case err != nil:
				fmt.Println(err)
			}
			el.Stop()
		},
	})
	c.Write([]byte("request"))
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	l.Close()
	// Output: received "request"
}

// Four loops that share a listener, each with a counter of its own.
func ExampleGroup() {
	g, err := stream.NewGroup(4)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := g.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, func(*stream.Loop) *stream.Handler {
		requests := 0 // of this loop: no lock
		return &stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				requests++
				fmt.Fprintf(c, "request %d of this loop", requests)
				return len(p)
			},
		}
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	go func() {
		fmt.Println(talk(ln.Addr(), "hello"))
		stop() // in a server: signal.NotifyContext
	}()
	if err := g.Run(ctx, 10*time.Second); err != nil {
		log.Fatal(err)
	}
	// Output: request 1 of this loop
}

// Clients are told that the server goes away, and have until the grace ends.
func ExampleLoop_Shutdown() {
	el, err := ae.New(100)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, &stream.Handler{
		Open: func(c *stream.Conn) {
			c.Write([]byte("welcome\n"))
			l.Shutdown(10*time.Second, el.Stop) // a server does it after SIGTERM
		},
		EOF: func(*stream.Conn) {},
		Shutdown: func(c *stream.Conn) {
			c.Write([]byte("the server is closing\n"))
			c.Close()
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	said := make(chan string)
	go func() { said <- talk(ln.Addr(), "") }()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	fmt.Print(<-said)
	// Output:
	// welcome
	// the server is closing
}

// rot13 is a Layer that encrypts as well as one can without a key.
type rot13 struct{ w *stream.Wire }

func (y *rot13) Start(w *stream.Wire) {
	y.w = w
	w.Ready(nil) // there is nothing to agree on first
}

func (y *rot13) Decode(dst, src []byte, eof bool) (nDst, nSrc int, err error) {
	if eof && len(src) == 0 {
		return 0, 0, io.EOF
	}
	n := copy(dst, rotate(src))
	return n, n, nil
}

func (y *rot13) Encode(p []byte) error { y.w.Write(rotate(p)); return nil }
func (y *rot13) CloseWrite()           {}
func (y *rot13) Close()                {}

func rotate(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return 'a' + (r-'a'+13)%26
		}
		return r
	}, p)
}

// A Layer changes what passes between the socket and the Handler, and neither of them
// notices.
func ExampleLayer() {
	el, err := ae.New(100)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{
		Layer: func(*stream.Conn) stream.Layer { return &rot13{} },
	}, &stream.Handler{
		Data:  func(c *stream.Conn, p []byte) int { c.Write(append([]byte("you said: "), p...)); return len(p) },
		Close: func(*stream.Conn, error) { el.Stop() },
	})
	if err != nil {
		log.Fatal(err)
	}

	said := make(chan string)
	go func() { said <- talk(ln.Addr(), "uryyb") }()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-said)
	// Output: lbh fnvq: uryyb
}
