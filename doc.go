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
// Nearly always the socket has room for the reply at once. So the read callback
// sends it, and registers the write callback only for what is left over.
//
// In code, with steps 2 and 3 in one call:
//
//	el, err := ae.New(10_000)                         // 1
//	ln, err := anet.Listen("tcp", "127.0.0.1:7000")   // 2, 3
//	err = el.CreateFileEvent(ln, ae.Readable, accept) // 4
//	err = el.Main()                                   // accept is called: 5
//
// The program in examples/hello goes on from there, to the last step and with
// every error handled, in a hundred lines. It is there to be copied.
//
// # One iteration, in order
//
// Main calls ProcessEvents over and over. Each call does this:
//
//  1. Without FileEvents and TimeEvents in its flags, it returns 0.
//  2. The BeforeSleep hooks, with CallBeforeSleep, in the order in which they
//     were added.
//  3. How long to wait: not at all with DontWait or SetDontWait, when posted
//     functions wait, when Stop was called or the context of a Run is done; else,
//     with TimeEvents, until the earliest time event; without one, without end.
//  4. The poll. A signal that interrupts it is no error.
//  5. The AfterSleep hooks, with CallAfterSleep.
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
// goroutine call a function.
//
// A call from the wrong goroutine does not fail, it goes wrong: CreateTimeEvent
// returns an id, and the time event may be late or never come, since the loop
// sleeps on, or a table breaks. The race detector reports such calls: run your
// tests with -race.
//
// Callbacks and hooks may call every method but Main and Run, which return
// [ErrRunning] there. They may delete their own event or another's, close
// descriptors, create and delete time events, resize, post, stop, close the loop,
// and call ProcessEvents: what that polls replaces what the iteration around it
// had left, and what is still ready is reported again.
//
// A nil error from Post is a promise that the function runs exactly once. It
// needs somebody to keep it: who runs the loop, or closes it, since Close runs
// what was posted before. So put a defer el.Close() behind New. For functions
// that Close runs the loop is closed already, and CreateFileEvent returns
// [ErrClosed]: whoever hands over a descriptor with Post closes it then, as when
// Post itself returns ErrClosed. The queue has no bound: whoever posts faster
// than the loop can run needs a limit of its own.
//
// A loop can be handed to another goroutine between two calls. A program may
// have many loops, one for each goroutine; they share nothing. Example_manyLoops
// in example_test.go has one that accepts for several others.
//
// # Descriptors
//
// The loop reports readiness; it neither reads nor writes, and it never closes a
// descriptor of yours. Make descriptors non-blocking (what package anet returns
// is), because readiness is a hint: a read may still find nothing. Watching is
// level-triggered: what a callback leaves unread is reported again.
//
// End of file, hang-ups and errors come as Readable or Writable, whichever is
// registered; the next read or write tells. Read until io.EOF: data from before a
// hang-up is still there. A descriptor without a registration is not watched
// for anything, errors included.
//
// Call DeleteFileEvent before closing a descriptor. The loop knows descriptors by
// number, and the number can come back with the next accept. Closing a TCP socket
// while input is unread resets the connection, and the peer may lose what was
// written before: where that matters, read to the end first.
//
// Closing tells the loop nothing. If a close got ahead of the delete, FileEvents
// still reports the registration, and the loop finds out as far as the system
// lets it:
//
//   - With epoll and select, registering the number again starts anew.
//   - epoll drops a file that nobody has open any more, and nothing says so. One
//     that lives on, because a child process or a duplicate holds it, never reaches
//     a new registration, and the loop drops it when it is next ready.
//   - select fails in the next poll: the proc is called once more, to meet the
//     error, and the registration is forgotten. It knows a file by device and
//     inode, which Linux's anonymous files have in common: an eventfd that got the
//     number of an eventfd counts as the one that was registered.
//   - kqueue drops a registration with the descriptor, and nothing says so:
//     FileEvents reports it until DeleteFileEvent, and the new file is watched only
//     for what is registered anew.
//
// # How many descriptors, and what they cost
//
// A server that takes all descriptors of its process leaves none to open a file,
// start a program or look up a name. So it needs a budget: RLIMIT_NOFILE, whose
// soft limit Go raises to the hard one at the start, less a reserve for all the
// rest. A loop takes three itself (two with select), and epoll a fourth for a
// moment where it has to drop a file that was closed without a delete. At the
// budget, stop watching the listener: Example_budget. If descriptors run out all
// the same, a listener stays ready and accepts nobody: pause it, as examples/hello
// does.
//
// Tables are by descriptor and go up to the highest number that the loop has
// watched, whoever in the process has the numbers below. On 64-bit systems a
// number costs 40 bytes: 32 in the loop and, with epoll or kqueue, 8 in the
// poller. Tables grow by doubling and do not shrink. With a million descriptors
// that is 42 MB for one loop, but 2.7 GB for 64 loops that share them, as each
// sees numbers from the whole range.
//
// # One slow callback delays all the others
//
// This is the price of the model. While a callback runs, nothing else does: no
// other client is served, and time events are late. So callbacks must not block,
// and long work goes elsewhere: cut it into pieces that a time event with a wait
// of 0 does one at a time, or give it to a goroutine, which comes back with Post.
// Two hooks measure the delay: from AfterSleep to the next BeforeSleep is how
// long the callbacks of one iteration took. Example_slices,
// ExampleEventLoop_Post and ExampleEventLoop_AddAfterSleep in example_test.go
// show all three.
//
// To see which callback it was, observe the loop: [EventLoop.AddTrace] has
// functions called around each poll, each sleep and each callback, and
// [EventLoop.Stats] counts them. Package watch makes of both a page that shows the
// loop at work, and names the callback that holds it up.
//
// With GOMAXPROCS=1 the loop lets other goroutines run before each sleep. One
// that becomes ready during a sleep waits until the scheduler's monitor takes the
// processor from the sleeping thread, which in a quiet process can take 10 ms;
// one that computes keeps the loop waiting as long. Give a program that also uses
// package net two.
//
// # Panics
//
// A panic in a callback goes up to the caller of Main or ProcessEvents, who may
// recover it. The loop is consistent and can go on: a time event or a posted
// function that panicked has ended, a descriptor is watched as before, and what
// else was ready is reported again. Whether the program's own data is consistent
// is for the program to know: Example_recover closes the connection whose
// callback it was.
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
//   - Hooks add up; Redis has one of each kind.
//   - Main inside a callback is an error, and nothing can be registered once
//     Close has begun. ProcessEvents may be nested, as in Redis.
//   - Stop before Main is remembered; aeMain forgets it.
//   - Post is new, and so are Run, Now, Stats and AddTrace.
//   - Errors are returned. Redis's loop panics when polling fails.
//
// # Backends
//
// Linux uses epoll(7), macOS and the BSDs kqueue(2), every other Unix select(2).
// The build tag ae_select takes select anywhere. With select, descriptors must be
// below FD_SETSIZE (1024 on most systems), and each poll takes time in proportion
// to the highest one.
//
// With epoll, a poll that does not wait is made without telling the Go scheduler,
// while all descriptors are sockets and pipes. Other kinds, such as files on FUSE,
// may make the kernel wait: one of those, and every poll is announced.
package ae
