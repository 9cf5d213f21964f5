package ae_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
)

// The smallest complete server: it echoes. Every step of the callback chain
// accept -> read -> write is a function of its own.
func Example_echo() {
	el, err := ae.New(10_000) // 1: create the loop
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	ln, err := anet.Listen("tcp", "127.0.0.1:0") // 2, 3: listen, non-blocking
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)
	if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil { // 4: the accept callback
		log.Fatal(err)
	}

	go talk(el, anet.LocalString(ln))
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output: hello, loop
}

// accept is called when a client connects (5).
func accept(el *ae.EventLoop, ln int, _ ae.Mask) {
	fd, _, err := anet.Accept(ln)
	if err != nil {
		return // without descriptors this spins; examples/echo does better
	}
	if err := el.CreateFileEvent(fd, ae.Readable, read); err != nil { // 6: the read callback
		anet.Close(fd)
	}
}

// read is called when data arrives (7). It has the reply sent before it takes
// the next request.
func read(el *ae.EventLoop, fd int, _ ae.Mask) {
	reply := make([]byte, 4096)
	n, err := anet.Read(fd, reply)
	if err == anet.ErrWouldBlock {
		return
	}
	if err != nil { // io.EOF, or the connection was reset
		hangUp(el, fd)
		return
	}

	reply = reply[:n]
	write := func(el *ae.EventLoop, fd int, _ ae.Mask) { // 8: the write callback
		n, err := anet.Write(fd, reply)
		if err != nil && err != anet.ErrWouldBlock {
			hangUp(el, fd)
			return
		}
		if reply = reply[n:]; len(reply) == 0 {
			exchange(el, fd, ae.Writable, ae.Readable, read)
		}
	}
	exchange(el, fd, ae.Readable, ae.Writable, write)
}

// exchange watches fd for the event on, and no longer for off.
func exchange(el *ae.EventLoop, fd int, off, on ae.Mask, proc ae.FileProc) {
	el.DeleteFileEvent(fd, off)
	if err := el.CreateFileEvent(fd, on, proc); err != nil {
		anet.Close(fd)
	}
}

func hangUp(el *ae.EventLoop, fd int) {
	el.DeleteFileEvent(fd, ae.Readable|ae.Writable)
	anet.Close(fd)
}

// talk is a client on another goroutine, with package net.
func talk(el *ae.EventLoop, addr string) {
	defer el.Stop()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello, loop")
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(string(answer[:n]))
}

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
		el.Post(func(el *ae.EventLoop) {
			// On the loop's goroutine again: no lock is needed to use sum.
			fmt.Println("sum", sum)
			el.Stop()
		})
	}()
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output: sum 49995000
}

// While a callback runs, nothing else does. The hooks measure it: the time from
// AfterSleep to the next BeforeSleep is what one iteration's callbacks took, and
// by so much every other client may have been delayed.
func ExampleEventLoop_AddAfterSleep() {
	el, err := ae.New(64)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	const limit = 20 * time.Millisecond
	awake := time.Now()
	el.AddAfterSleep(func(*ae.EventLoop) { awake = time.Now() })
	el.AddBeforeSleep(func(*ae.EventLoop) {
		if time.Since(awake) > limit {
			fmt.Println("the callbacks of one iteration took more than", limit)
		}
	})

	el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
		time.Sleep(2 * limit) // a callback must not do this
		return ae.NoMore
	})
	el.CreateTimeEvent(limit/2, func(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
		fmt.Println("a time event was late for it")
		el.Post(func(el *ae.EventLoop) { el.Stop() })
		return ae.NoMore
	})
	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the callbacks of one iteration took more than 20ms
	// a time event was late for it
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
