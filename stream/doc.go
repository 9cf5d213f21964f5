// Package stream is buffered connections on an event loop of package ae: what
// every server on a bare loop writes again, and where its bugs are. The loop stays
// what it is; descriptors and time events of one's own live beside connections.
//
// A Handler says what happens, a Conn is one connection. This serves lines to any
// number of clients, holds none that sends and never reads, and drops who is silent
// for a minute:
//
//	el, err := ae.New(100_000)
//	if err != nil {
//		log.Fatal(err)
//	}
//	l := stream.On(el)
//	_, err = l.Listen("tcp", "127.0.0.1:7000", stream.ListenConfig{}, &stream.Handler{
//		Data: func(c *stream.Conn, p []byte) (used int) {
//			for c.Open() {
//				i := bytes.IndexByte(p[used:], '\n')
//				if i < 0 {
//					break // the rest of the line is still to come
//				}
//				c.Write(bytes.ToUpper(p[used : used+i+1]))
//				used += i + 1
//			}
//			return used
//		},
//		MaxInput: 4096,
//		Idle:     time.Minute,
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(el.Main())
//
// # Rules
//
// Everything belongs to the loop's goroutine, except [Conn.Post], which any other
// may call, and a [Group], which has goroutines of its own. No callback is ever
// called from inside a method: any connection may be written, closed or aborted
// anywhere, in a broadcast, in its own Data. After its Close callback a connection
// does nothing more; its methods may still be called.
//
// # What it takes over
//
// examples/echo does all of this by hand, step by step. In its words, and here:
//
//	a table of clients by descriptor        Conn.Data, Loop.All
//	accept until there is no more, and the  Listener: MaxConns, PerConn, Reserve; it
//	pause when descriptors run out          rests before they do
//	one buffer to read into                 Data, which says how much it has used
//	the rest of a write, and Writable       Conn.Write, which takes all of it
//	reading stops while a rest waits        High, Low
//	delete the events, then close           Close, which loses nothing; Abort
//	-                                       Idle, SetDeadline, Linger, Limit
//	-                                       Dial, Join, Shutdown, Group
//
// # How bytes move
//
// Input is read into one buffer of the loop. Data gets it, after what it has left
// the last time; a connection owns memory only while bytes wait in it. A parser
// that knows how much is missing says so with Need.
//
// Output is copied, and sent when Data returns, or before the loop sleeps if it was
// written anywhere else: one system call for all of it. From 16 KiB on it goes to
// the kernel at once. What the kernel refuses waits, and Writable is watched until
// it has gone. While much waits (High) the connection is not read, so that a peer
// that sends and does not read stops itself; one to which others write without end
// is cut off (Limit), but only after the kernel has refused what it would have to
// take.
//
// # How connections end
//
// The peer has finished sending: EOF is called. It may still read; without an EOF
// func the connection is closed. CloseWrite is the same from this side. Close sends
// what waits, then the end, and drops input until the peer's end has come: close(2)
// on a socket with unread input sends a reset, and a reset destroys what the peer
// has not yet read. Abort is that reset. Each way Handler.Close is called, once.
//
// # Time
//
// Idle costs no timer for each connection: moving a byte stores the iteration's
// time, and a wheel looks at each connection about once in that time. A connection
// to which the peer's window is closed does not count as idle while the peer takes
// something from the kernel's buffer.
package stream
