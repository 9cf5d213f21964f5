package anet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// readable and writable stand for the event loop in these examples: they return
// when fd is ready.
func readable(fd int) { wait(unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) }
func writable(fd int) { wait(unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}) }

func wait(pfd unix.PollFd) {
	for {
		n, err := unix.Poll([]unix.PollFd{pfd}, 10_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			log.Fatal("not ready: ", err)
		}
		return
	}
}

// The steps of a server and a client, with readable and writable in the place
// of a loop.
func Example() {
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)

	client, err := anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(client)
	writable(client)
	if err := anet.SocketError(client); err != nil {
		log.Fatal(err)
	}

	readable(ln)
	server, peer, err := anet.Accept(ln)
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(server)
	fmt.Println("accepted from", peer.Addr())

	if _, err := anet.Write(client, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	readable(server)
	buf := make([]byte, 64)
	n, err := anet.Read(server, buf)
	fmt.Printf("read %q, %v\n", buf[:n], err)

	_, err = anet.Read(server, buf)
	fmt.Println("then would block:", err == anet.ErrWouldBlock)

	anet.CloseWrite(client)
	readable(server)
	_, err = anet.Read(server, buf)
	fmt.Println("then the end:", err == io.EOF)

	// Output:
	// accepted from 127.0.0.1
	// read "hello", <nil>
	// then would block: true
	// then the end: true
}

// A server tells the errors of Accept apart without a list of errnos.
func ExampleAccept() {
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)

	onReadable := func() {
		for {
			fd, _, err := anet.Accept(ln)
			switch {
			case err == nil:
				fmt.Println("accepted")
				anet.Close(fd)
			case errors.Is(err, anet.ErrWouldBlock):
				fmt.Println("no more for now")
				return
			case errors.Is(err, anet.ErrAborted):
				continue
			case errors.Is(err, anet.ErrExhausted):
				fmt.Println("pause the listener for a while")
				return
			default:
				log.Fatal(err)
			}
		}
	}

	for range 2 {
		fd, err := anet.Connect("tcp", anet.LocalString(ln))
		if err != nil {
			log.Fatal(err)
		}
		defer anet.Close(fd)
		writable(fd)
	}
	onReadable()

	// Output:
	// accepted
	// accepted
	// no more for now
}

// A Unix socket that only this user may connect to, in the place of one that a
// crashed server left behind.
func ExampleListenConfig() {
	dir, err := os.MkdirTemp("", "anet")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	lc := anet.ListenConfig{Perm: 0o600, Replace: true}
	ln, err := lc.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)

	_, err = lc.Listen("unix", filepath.Join(dir, "sock"))
	fmt.Println("a living server is not replaced:", errors.Is(err, unix.EADDRINUSE))

	// Output:
	// a living server is not replaced: true
}

// A socket whose connection is refused becomes writable too: SO_ERROR says
// which.
func ExampleSocketError() {
	// An address that nobody listens on any more.
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address := anet.LocalString(ln)
	anet.Close(ln)

	fd, err := anet.Connect("tcp", address) // the BSDs may say it here
	if err == nil {
		defer anet.Close(fd)
		writable(fd)
		err = anet.SocketError(fd)
	}
	fmt.Println("refused:", errors.Is(err, unix.ECONNREFUSED))

	// Output:
	// refused: true
}

// A name is looked up beside the loop, which must not wait.
func ExampleResolve() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	addrs := make(chan string, 1) // the loop's Post would stand here
	go func() {
		list, err := anet.Resolve(ctx, "tcp4", "localhost:6379", 0)
		if err != nil {
			log.Fatal(err)
		}
		addrs <- list[0].String()
	}()
	fmt.Println(<-addrs)

	// Output:
	// 127.0.0.1:6379
}

func ExampleSetKeepAlive() {
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)

	fmt.Println(anet.SetKeepAlive(ln, 5*time.Minute))

	// Output:
	// <nil>
}

// Closing so that nothing is lost: close(2) with unread input would reset the
// connection, and destroy the reply that is on its way.
func ExampleCloseWrite() {
	server, client, err := anet.SocketPair()
	if err != nil {
		log.Fatal(err)
	}
	anet.Write(client, []byte("a request that nobody reads to its end"))
	anet.Write(server, []byte("414 too long"))

	// The server ends its half, and goes on to read: for a limited time, which
	// a time event of the loop keeps.
	anet.CloseWrite(server)
	buf := make([]byte, 16)
	for {
		readable(server)
		_, err := anet.Read(server, buf) // dropped
		if err != nil && err != anet.ErrWouldBlock {
			break
		}
		if n, _ := anet.Unread(server); n == 0 {
			// What a client does: it reads the reply to the end, and closes.
			readable(client)
			n, _ := anet.Read(client, buf)
			fmt.Printf("the client got %q\n", buf[:n])
			anet.Close(client)
		}
	}
	fmt.Println("closed:", anet.Close(server))

	// Output:
	// the client got "414 too long"
	// closed: <nil>
}

// How much a peer has not acknowledged shows whether a slow one is alive.
func ExampleUnsent() {
	a, b, err := anet.SocketPair()
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(a)
	defer anet.Close(b)

	anet.Write(a, make([]byte, 1000))
	before, err := anet.Unsent(a)
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("progress: true")
		return
	}
	anet.Read(b, make([]byte, 1000))
	after, err := anet.Unsent(a)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("progress:", after <= before)

	// Output:
	// progress: true
}

// Who is at the other end of a Unix socket, as its system says.
func ExamplePeerCredentials() {
	a, b, err := anet.SocketPair()
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(a)
	defer anet.Close(b)

	peer, err := anet.PeerCredentials(a)
	fmt.Println(errors.Is(err, errors.ErrUnsupported) || err == nil && peer.UID == os.Geteuid())

	// Output:
	// true
}

func ExampleSendTo() {
	fd, err := anet.Listen("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(fd)

	self, err := anet.LocalAddr(fd)
	if err != nil {
		log.Fatal(err)
	}
	if err := anet.SendTo(fd, []byte("to myself"), self); err != nil {
		log.Fatal(err)
	}

	readable(fd)
	buf := make([]byte, 1500)
	n, from, err := anet.RecvFrom(fd, buf)
	fmt.Println(string(buf[:n]), from == self, err)

	// Output:
	// to myself true <nil>
}

func ExampleWritev() {
	r, w, err := anet.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(r)
	defer anet.Close(w)

	n, err := anet.Writev(w, [][]byte{[]byte("$5\r\n"), []byte("hello"), []byte("\r\n")})
	fmt.Println(n, err)

	buf := make([]byte, 64)
	n, err = anet.Read(r, buf)
	fmt.Printf("%q, %v\n", buf[:n], err)

	// Output:
	// 11 <nil>
	// "$5\r\nhello\r\n", <nil>
}

// A listener that package net made, with all that it can do, goes to a loop,
// and each connection that the loop is done with goes back to net: to net/http
// here.
func ExampleDescriptor() {
	netListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address := netListener.Addr().String()
	ln, err := anet.Descriptor(netListener)
	if err != nil {
		log.Fatal(err)
	}
	netListener.Close() // the copy goes on listening
	defer anet.Close(ln)

	go http.Get("http://" + address + "/from-the-loop")

	readable(ln)
	fd, _, err := anet.Accept(ln)
	if err != nil {
		log.Fatal(err)
	}

	// Here a loop would watch fd, perhaps for hours. Before NetConn it must
	// forget it.
	readable(fd)
	conn, err := anet.NetConn(fd)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(req.Method, req.URL.Path)
	fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

	// Output:
	// GET /from-the-loop
}

// The sockets of a systemd .socket unit, or one of the server's own where there
// are none.
func ExampleInherited() {
	sockets, err := anet.Inherited()
	if err != nil {
		log.Fatal(err)
	}

	if len(sockets) == 0 {
		ln, err := anet.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		sockets = append(sockets, anet.InheritedSocket{FD: ln, Name: "own"})
	}

	for _, s := range sockets {
		fmt.Println("listening:", s.Name)
		anet.Close(s.FD)
	}

	// Output:
	// listening: own
}
