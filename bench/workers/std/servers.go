package main

import (
	"io"
	"iter"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
)

// accepted is every connection that comes.
func accepted(port int) iter.Seq[*net.TCPConn] {
	return func(yield func(*net.TCPConn) bool) {
		ln, err := net.Listen("tcp", local(port))
		work.Check(err)
		for {
			c, err := ln.Accept()
			work.Check(err)
			if !yield(c.(*net.TCPConn)) {
				return
			}
		}
	}
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// echo is the server everybody writes: a goroutine and a buffer for each connection.
func echo(c net.Conn, size int, busy time.Duration) {
	defer c.Close()
	buf := make([]byte, size)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		work.Compute(busy)
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// proxy passes on what comes, each way by io.Copy.
func proxy(port, behind int) {
	for c := range accepted(port) {
		go func() {
			defer c.Close()
			server, err := net.Dial("tcp", local(behind))
			if err != nil {
				return
			}
			defer server.Close()
			go pass(server.(*net.TCPConn), c)
			pass(c, server.(*net.TCPConn))
		}()
	}
}

func pass(to, from *net.TCPConn) {
	io.Copy(to, from)
	to.CloseWrite()
}

// hub is a number of clients, and what each is still to be sent.
type hub struct {
	mu      sync.Mutex
	clients map[chan []byte]bool
}

// broadcast sends what one client says to all.
func broadcast(port int) {
	h := &hub{clients: map[chan []byte]bool{}}
	for c := range accepted(port) {
		out := make(chan []byte, 16)
		h.join(out)
		go send(c, out)
		go h.receive(c, out)
	}
}

func (h *hub) join(out chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[out] = true
}

func (h *hub) leave(out chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(out)
}

func (h *hub) drop(out chan []byte) {
	if h.clients[out] {
		delete(h.clients, out)
		close(out)
	}
}

// tell gives up a client that is too far behind.
func (h *hub) tell(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for out := range h.clients {
		select {
		case out <- p:
		default:
			h.drop(out)
		}
	}
}

func (h *hub) receive(c *net.TCPConn, out chan []byte) {
	defer h.leave(out)
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		h.tell(append([]byte(nil), buf[:n]...))
	}
}

func send(c *net.TCPConn, out chan []byte) {
	defer c.Close()
	for p := range out {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}
