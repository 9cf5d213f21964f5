package ae_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
)

// A time event runs once, or again and again: its proc says how long to wait.
func ExampleEventLoop_CreateTimeEvent() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	ticks := 0
	el.CreateTimeEvent(time.Millisecond, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		ticks++
		fmt.Println("tick", ticks)
		if ticks == 3 {
			el.Stop()
			return ae.NoMore
		}
		return 2 * time.Millisecond
	})
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// tick 1
	// tick 2
	// tick 3
}

// Slow work goes to a goroutine, which hands its result to the loop with Post.
// The loop goes on meanwhile.
func ExampleEventLoop_Post() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	go func() {
		sum := 0
		for i := range 10_000 {
			sum += i
		}
		err := el.Post(func(el *ae.EventLoop) {
			// On the loop's goroutine again: no lock is needed to use sum.
			fmt.Println("sum", sum)
			el.Stop()
		})
		if err != nil {
			log.Print(err) // ae.ErrClosed: nobody wants the sum any more
		}
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output: sum 49995000
}

// While a callback runs, nothing else does. Two hooks measure it: the time from
// AfterSleep to the next BeforeSleep is what one iteration's callbacks took, and
// by so much every other client may have been delayed.
func ExampleEventLoop_AddAfterSleep() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	var awake time.Time
	var longest time.Duration
	removeAfter := el.AddAfterSleep(func(el *ae.EventLoop) { awake = el.Now() })
	removeBefore := el.AddBeforeSleep(func(*ae.EventLoop) {
		if !awake.IsZero() { // it comes first, before anything was awake
			longest = max(longest, time.Since(awake))
		}
	})

	el.CreateTimeEvent(0, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
			// a callback must not do this
		}
		el.CreateTimeEvent(0, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
			fmt.Println("the clients have waited 20ms:", longest >= 20*time.Millisecond)
			removeAfter() // enough measured
			removeBefore()
			el.Stop()
			return ae.NoMore
		})
		return ae.NoMore
	})
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output: the clients have waited 20ms: true
}

// Long work can also be cut into pieces. A time event with a wait of 0 does one
// piece in each iteration; clients are served in between.
func Example_slices() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	keys := make([]int, 2500)
	el.CreateTimeEvent(0, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		n := min(1000, len(keys))
		keys = keys[n:]
		fmt.Println("freed", n)
		if len(keys) == 0 {
			el.Stop()
			return ae.NoMore
		}
		return 0
	})
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// freed 1000
	// freed 1000
	// freed 500
}

// Run is Main for programs that end by a context, as signal.NotifyContext makes.
func ExampleEventLoop_Run() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(el.Run(ctx))
	// Output: context deadline exceeded
}

// Whoever calls Main may recover the panic of a callback, and call it again. Here
// it costs one connection, the one whose callback it was.
func Example_recover() {
	el, err := ae.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	current := -1
	read := func(el *ae.EventLoop, fd int, _ ae.Mask) {
		current = fd
		var buf [64]byte
		n, err := anet.Read(fd, buf[:])
		if err != nil {
			log.Fatal(err)
		}
		if string(buf[:n]) != "PING" {
			panic(fmt.Sprintf("parser met %q", buf[:n]))
		}
		fmt.Println("PONG")
		el.Stop()
	}
	run := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				el.DeleteFileEvent(current, ae.Readable|ae.Writable)
				anet.Close(current)
				err = fmt.Errorf("a callback panicked: %v", r)
			}
		}()
		return el.Main()
	}

	for _, request := range []string{"GNIP", "PING"} {
		client, server, err := anet.SocketPair()
		if err != nil {
			log.Fatal(err)
		}
		defer anet.Close(client)
		if err := el.CreateFileEvent(server, ae.Readable, read); err != nil {
			log.Fatal(err)
		}
		anet.Write(client, []byte(request))
		fmt.Println(run())
	}
	// Output:
	// a callback panicked: parser met "GNIP"
	// PONG
	// <nil>
}

// A server that ends well takes nobody new, lets those who are there finish, and
// stops when the last has gone or its patience has.
func Example_drain() {
	el, err := ae.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}

	clients, draining := 0, false
	read := func(el *ae.EventLoop, fd int, _ ae.Mask) {
		var buf [64]byte
		n, err := anet.Read(fd, buf[:])
		if err == anet.ErrWouldBlock {
			return
		}
		if err == nil {
			anet.Write(fd, buf[:n]) // short, for the example's sake: it fits
			return
		}
		el.DeleteFileEvent(fd, ae.Readable)
		anet.Close(fd)
		if clients--; draining && clients == 0 {
			el.Stop()
		}
	}
	accept := func(el *ae.EventLoop, ln int, _ ae.Mask) {
		for {
			fd, _, err := anet.Accept(ln)
			if err != nil {
				return
			}
			if el.CreateFileEvent(fd, ae.Readable, read) != nil {
				anet.Close(fd)
				continue
			}
			clients++
		}
	}
	if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil {
		log.Fatal(err)
	}

	drain := func(el *ae.EventLoop) {
		accept(el, ln, ae.Readable) // closing the listener resets those who wait
		el.DeleteFileEvent(ln, ae.Readable)
		anet.Close(ln)
		if draining = true; clients == 0 {
			el.Stop()
		}
		el.CreateTimeEvent(time.Minute, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
			el.Stop() // whoever is left has had a minute
			return ae.NoMore
		})
	}

	go func() { // a client, and what a signal would do
		addr := anet.LocalString(ln)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close() // the last one goes
		fmt.Println(ask(conn, "one"))
		began := make(chan bool)
		el.Post(func(el *ae.EventLoop) {
			drain(el)
			close(began)
		})
		<-began
		fmt.Println(ask(conn, "two"))
		_, err = net.Dial("tcp", addr)
		fmt.Println("refused:", errors.Is(err, syscall.ECONNREFUSED))
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// one
	// two
	// refused: true
}

// A server leaves descriptors to the rest of its process. At its budget it does
// not watch the listener: whoever comes waits in the backlog until a client has
// gone.
func Example_budget() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Fatal(err)
	}
	const reserve = 64 // the loop's own, log files, connections to others
	budget := int(min(limit.Cur, 1<<20)) - reserve
	budget = min(budget, 2) // for the example, in which three clients come

	el, err := ae.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)

	clients := 0
	var accept, read ae.FileProc
	accept = func(el *ae.EventLoop, ln int, _ ae.Mask) {
		fd, _, err := anet.Accept(ln)
		if err != nil {
			return // see examples/hello
		}
		if el.CreateFileEvent(fd, ae.Readable, read) != nil {
			anet.Close(fd)
			return
		}
		if clients++; clients == budget {
			fmt.Println("the budget is spent")
			el.DeleteFileEvent(ln, ae.Readable)
		}
	}
	read = func(el *ae.EventLoop, fd int, _ ae.Mask) {
		var buf [64]byte
		n, err := anet.Read(fd, buf[:])
		if err == anet.ErrWouldBlock {
			return
		}
		if err == nil {
			anet.Write(fd, buf[:n]) // short, for the example's sake: it fits
			return
		}
		el.DeleteFileEvent(fd, ae.Readable)
		anet.Close(fd)
		if clients--; clients == budget-1 {
			if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil {
				log.Fatal(err)
			}
		}
		if clients == 0 {
			el.Stop() // the example ends
		}
	}
	if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil {
		log.Fatal(err)
	}

	go func() {
		var conns [3]net.Conn
		for i := range conns {
			conn, err := net.Dial("tcp", anet.LocalString(ln))
			if err != nil {
				log.Fatal(err)
			}
			defer conn.Close()
			conns[i] = conn
		}
		fmt.Println(ask(conns[0], "the first"))
		fmt.Println(ask(conns[1], "the second"))
		conns[0].Close() // its descriptor comes back
		fmt.Println(ask(conns[2], "the third"))
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the budget is spent
	// the first
	// the second
	// the budget is spent
	// the third
}

// One loop accepts, and hands the connections to others, each on a goroutine of
// its own.
func Example_manyLoops() {
	var workers []*ae.EventLoop
	var running sync.WaitGroup
	for range 2 {
		el, err := ae.New(1024)
		if err != nil {
			log.Fatal(err)
		}
		workers = append(workers, el)
		running.Go(func() {
			defer el.Close()
			if err := el.Main(); err != nil {
				log.Print(err)
			}
		})
	}

	front, err := ae.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer front.Close()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)
	turn := 0
	accept := func(_ *ae.EventLoop, ln int, _ ae.Mask) {
		fd, _, err := anet.Accept(ln)
		if err != nil {
			return // see examples/hello
		}
		n := turn % len(workers)
		turn++
		handOver(workers[n], fd, func(el *ae.EventLoop, fd int, _ ae.Mask) {
			anet.Write(fd, fmt.Append(nil, "this is loop ", n))
			el.DeleteFileEvent(fd, ae.Writable)
			anet.Close(fd)
		})
	}
	if err := front.CreateFileEvent(ln, ae.Readable, accept); err != nil {
		log.Fatal(err)
	}

	go func() {
		defer front.Stop()
		for range 3 {
			fmt.Println(greeting(anet.LocalString(ln)))
		}
		for _, el := range workers {
			el.Stop()
		}
		running.Wait()
		fmt.Println(greeting(anet.LocalString(ln)))
	}()
	if err := front.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// this is loop 0
	// this is loop 1
	// this is loop 0
	// (closed)
}

// handOver gives fd to another loop. A descriptor must belong to somebody at each
// moment: if that loop is closed, or is closing, fd is closed.
func handOver(to *ae.EventLoop, fd int, proc ae.FileProc) {
	err := to.Post(func(to *ae.EventLoop) {
		if to.CreateFileEvent(fd, ae.Writable, proc) != nil { // ae.ErrClosed while Close runs this
			anet.Close(fd)
		}
	})
	if err != nil { // ae.ErrClosed
		anet.Close(fd)
	}
}

// greeting is a client that reads to the end.
func greeting(addr string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		return err.Error()
	}
	if len(text) == 0 {
		return "(closed)"
	}
	return string(text)
}

// ask is a client that sends a request and reads the reply, of as many bytes.
func ask(conn net.Conn, request string) string {
	fmt.Fprint(conn, request)
	reply := make([]byte, len(request))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err.Error()
	}
	return string(reply)
}

// Wait needs no loop: it serves a program that does one thing after another.
func ExampleWait() {
	r, w, err := anet.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(r)
	defer anet.Close(w)

	ready, err := ae.Wait(r, ae.Readable, 5*time.Millisecond)
	fmt.Println(ready == ae.None, err)
	anet.Write(w, []byte("x"))
	ready, err = ae.Wait(r, ae.Readable, time.Second)
	fmt.Println(ready == ae.Readable, err)
	// Output:
	// true <nil>
	// true <nil>
}
