// Command hello is the smallest server on the loop: it sends back what it is
// sent. The numbers are those of the steps in package ae's documentation.
package main

import (
	"bytes"
	"errors"
	"log"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
)

func main() {
	el, err := ae.New(10_000) // 1: create the loop
	if err != nil {
		log.Fatal(err)
	}
	ln, err := anet.Listen("tcp", "127.0.0.1:7000") // 2, 3: listen, non-blocking
	if err != nil {
		log.Fatal(err)
	}
	if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil { // 4: the accept callback
		log.Fatal(err)
	}
	log.Fatal(el.Main())
}

// accept is called when a client connects (5).
func accept(el *ae.EventLoop, ln int, _ ae.Mask) {
	fd, _, err := anet.Accept(ln)
	if err == anet.ErrWouldBlock || errors.Is(err, anet.ErrAborted) {
		return // that client has gone again
	}
	if err != nil {
		pause(el, ln)
		return
	}
	c := &client{}
	if el.CreateFileEvent(fd, ae.Readable, c.read) != nil { // 6: the read callback
		anet.Close(fd)
	}
}

// pause accepts nobody for a while. When descriptors have run out, whoever waits
// to be accepted keeps ln readable, and the loop would call accept without end.
func pause(el *ae.EventLoop, ln int) {
	const while = 100 * time.Millisecond
	el.DeleteFileEvent(ln, ae.Readable)
	el.CreateTimeEvent(while, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		if el.CreateFileEvent(ln, ae.Readable, accept) != nil {
			return while
		}
		return ae.NoMore
	})
}

// client is one connection: what its socket has had no room for yet.
type client struct{ rest []byte }

// buf is what one read takes. All callbacks run on one goroutine and share it.
var buf [16 << 10]byte

// read is called when data arrives (7). There is room for the reply as a rule, so
// it is sent at once, and no write callback is needed.
func (c *client) read(el *ae.EventLoop, fd int, _ ae.Mask) {
	n, err := anet.Read(fd, buf[:])
	if err == anet.ErrWouldBlock {
		return
	}
	if err != nil { // io.EOF, or the connection was reset
		hangUp(el, fd)
		return
	}
	reply := buf[:n]
	n, err = anet.Write(fd, reply)
	if err != nil && err != anet.ErrWouldBlock {
		hangUp(el, fd)
		return
	}
	if n < len(reply) { // the write callback sends the rest; no request is read before
		c.rest = bytes.Clone(reply[n:])
		exchange(el, fd, ae.Readable, ae.Writable, c.write)
	}
}

// write is called when the socket has room again (8).
func (c *client) write(el *ae.EventLoop, fd int, _ ae.Mask) {
	n, err := anet.Write(fd, c.rest)
	if err != nil && err != anet.ErrWouldBlock {
		hangUp(el, fd)
		return
	}
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
		exchange(el, fd, ae.Writable, ae.Readable, c.read)
	}
}

// exchange has fd watched for on instead of off.
func exchange(el *ae.EventLoop, fd int, off, on ae.Mask, proc ae.FileProc) {
	if el.CreateFileEvent(fd, on, proc) != nil {
		hangUp(el, fd)
		return
	}
	el.DeleteFileEvent(fd, off)
}

// hangUp takes fd off the loop first: the next client may get its number.
func hangUp(el *ae.EventLoop, fd int) {
	el.DeleteFileEvent(fd, ae.Readable|ae.Writable)
	anet.Close(fd)
}
