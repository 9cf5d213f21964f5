// Package ae is the event loop at the heart of Redis (ae.c), for Go: one
// goroutine that watches descriptors and time events and calls back when
// something happens. Package anet beside it has the socket calls (anet.c).
//
// # How a server works
//
// These eight steps are all there is to a server. Main runs the loop around
// them until Stop is called.
//
//  1. Create the loop.
//  2. Listen.
//  3. Make the listener non-blocking.
//  4. Register the accept callback on it.
//  5. A client connects: the accept callback is called.
//  6. Accept, and register the read callback on the new descriptor.
//  7. Data arrives: the read callback is called, prepares a reply and registers
//     the write callback.
//  8. The socket has room: the write callback is called and sends the reply.
//
// A complete echo server; anet.Listen does steps 2 and 3:
//
//	package main
//
//	import (
//		"log"
//
//		"github.com/aeloop/ae"
//		"github.com/aeloop/ae/anet"
//	)
//
//	func main() {
//		el, err := ae.New(10_000) // 1: create the loop
//		if err != nil {
//			log.Fatal(err)
//		}
//		ln, err := anet.Listen("tcp", "127.0.0.1:7000") // 2, 3: listen, non-blocking
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := el.CreateFileEvent(ln, ae.Readable, accept); err != nil { // 4: the accept callback
//			log.Fatal(err)
//		}
//		log.Fatal(el.Main())
//	}
//
//	// accept is called when a client connects (5).
//	func accept(el *ae.EventLoop, ln int, _ ae.Mask) {
//		fd, _, err := anet.Accept(ln)
//		if err != nil {
//			return // without descriptors this spins; examples/echo does better
//		}
//		if err := el.CreateFileEvent(fd, ae.Readable, read); err != nil { // 6: the read callback
//			anet.Close(fd)
//		}
//	}
//
//	// read is called when data arrives (7). It has the reply sent before it takes
//	// the next request.
//	func read(el *ae.EventLoop, fd int, _ ae.Mask) {
//		reply := make([]byte, 4096)
//		n, err := anet.Read(fd, reply)
//		if err == anet.ErrWouldBlock {
//			return
//		}
//		if err != nil { // io.EOF, or the connection was reset
//			hangUp(el, fd)
//			return
//		}
//
//		reply = reply[:n]
//		write := func(el *ae.EventLoop, fd int, _ ae.Mask) { // 8: the write callback
//			n, err := anet.Write(fd, reply)
//			if err != nil && err != anet.ErrWouldBlock {
//				hangUp(el, fd)
//				return
//			}
//			if reply = reply[n:]; len(reply) == 0 {
//				exchange(el, fd, ae.Writable, ae.Readable, read)
//			}
//		}
//		exchange(el, fd, ae.Readable, ae.Writable, write)
//	}
//
//	// exchange watches fd for the event on, and no longer for off.
//	func exchange(el *ae.EventLoop, fd int, off, on ae.Mask, proc ae.FileProc) {
//		el.DeleteFileEvent(fd, off)
//		if err := el.CreateFileEvent(fd, on, proc); err != nil {
//			anet.Close(fd)
//		}
//	}
//
//	func hangUp(el *ae.EventLoop, fd int) {
//		el.DeleteFileEvent(fd, ae.Readable|ae.Writable)
//		anet.Close(fd)
//	}
//
// # One iteration, in order
//
// Main calls ProcessEvents over and over. Each call does this:
//
//  1. Without FileEvents and TimeEvents in its flags, it returns 0.
//  2. The BeforeSleep hook, with CallBeforeSleep.
//  3. How long to wait: not at all with DontWait or SetDontWait, when posted
//     functions wait, when Stop was called or the context of a Run is done; else,
//     with TimeEvents, until the earliest time event; without one, without end.
//  4. The poll. A signal that interrupts it is no error.
//  5. The AfterSleep hook, with CallAfterSleep.
//  6. With FileEvents, the procs of each ready descriptor: Readable, then
//     Writable; with Barrier the other way round. What is registered is looked
//     up before each call.
//  7. The posted functions, those that were queued when this step began.
//  8. With TimeEvents, the time events that were due when this step began, by
//     deadline, equal deadlines in the order in which they were set.
//
// # Who may call what
//
// A loop belongs to the goroutine that runs it. There is no lock in it, so no
// other goroutine may call its methods, except two: [EventLoop.Stop] and
// [EventLoop.Post]. Post is the way in for everything else: it has the loop's
// goroutine call a function. Callbacks may call every method: they may delete
// their own event or another's, close descriptors, create and delete time
// events, resize, post, stop, close the loop, and call ProcessEvents or Main.
//
// A loop can be handed to another goroutine between two calls. A program may
// have many loops, one for each goroutine; they share nothing.
//
// # Descriptors
//
// The loop reports readiness; it neither reads nor writes, and it never closes a
// descriptor of yours. Make descriptors non-blocking (what package anet returns
// is), because readiness is a hint: a read may still find nothing. Watching is
// level-triggered: what a callback leaves unread is reported again.
//
// Call DeleteFileEvent before closing a descriptor. Its number can come back
// with the next accept, and the loop knows descriptors by number. If a close got
// ahead of the delete, the loop notices as soon as the system lets it: with epoll
// and select a registration of the number starts anew, and with epoll an old file
// that a child process keeps alive does not reach it.
//
// End of file, hang-ups and errors come as Readable or Writable, whichever is
// registered; the next read or write tells. Read until io.EOF: data from before a
// hang-up is still there. A descriptor without a registration is not watched
// for anything, errors included.
//
// # One slow callback delays all the others
//
// This is the price of the model. While a callback runs, nothing else does: no
// other client is served, and time events are late. So callbacks must not block,
// and long work goes elsewhere: cut it into pieces that a time event with a wait
// of 0 does one at a time, or give it to a goroutine, which comes back with Post.
// The two hooks measure the delay: from AfterSleep to the next BeforeSleep is how
// long the callbacks of one iteration took. Example_slices,
// ExampleEventLoop_Post and ExampleEventLoop_SetAfterSleep in example_test.go
// show all three.
//
// With GOMAXPROCS=1 a sleeping loop holds the one thread that runs Go code until
// the scheduler's monitor takes it away, so the other goroutines of the process
// have to wait for that. Give a program that also uses package net two.
//
// # Departures from Redis
//
//   - Closures replace clientData and finalizers.
//   - Redis calls a proc once if it is registered for both events. Go cannot
//     compare funcs, so each call is for one event, which mask tells.
//   - Times are time.Duration, and waits are not rounded to milliseconds where
//     the kernel can do better.
//   - Time events are in a heap, removed for real when deleted, and their ids are
//     not reused. The wait that a proc returns counts from its return.
//   - An event never reaches a registration that is younger than the poll.
//   - A new registration for Writable decides on Barrier; in Redis it stays set.
//   - Stop before Main is remembered; aeMain forgets it.
//   - Post is new, and so is Run.
//   - Errors are returned. Redis's loop panics when polling fails.
//
// # Backends
//
// Linux uses epoll(7), macOS and the BSDs kqueue(2), every other Unix select(2).
// The build tag ae_select takes select anywhere. With select, descriptors must be
// below FD_SETSIZE (1024 on most systems), and each poll takes time in proportion
// to the highest one.
package ae
