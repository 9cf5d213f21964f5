// Package watch shows an event loop of package ae at work, and catches the callback
// that holds it up.
//
//	w := watch.New(el, watch.Options{Name: "main", Logger: slog.Default()})
//	defer w.Close()
//	url, stop, err := watch.Serve("127.0.0.1:8000", w) // a page for the browser; ?text for curl
//
// A Watcher counts and adds up on the loop's goroutine, some 0.1 µs for each
// callback and without allocation, and looks from a goroutine of its own whether a
// callback runs for too long. Then it takes the stack, out of the goroutine
// profile: a [Stall] names the function, while it still runs. It neither wakes a
// loop that sleeps nor waits for one that is blocked, so the page of a blocked loop
// works, and says for how long the loop has not answered. [Watcher.Snapshot] is all
// of it as numbers, which subtract; [Snapshot.Verdicts] what they mean in words.
// Package watch/prom gives them to Prometheus.
//
// # Slow
//
// Slow is what takes [Options.Slow], 25 ms, or longer: a callback, or all those of
// one iteration together, since ten of 10 ms block as much as one of 100. It is
// reported at that time, at twice, four times and so on, and when it has ended,
// with its true duration. Stacks are taken five times a minute at most. A look that
// itself comes late is discarded and counted: then the whole process stood still.
//
// # One echo, callback by callback
//
// To see a loop work is worth more than to read about it. This is a watched server,
// and a client:
//
//	go run ./examples/echo -watch 127.0.0.1:8000
//	nc 127.0.0.1 7000
//
// Open http://127.0.0.1:8000/ before the client connects, press Record, and type a
// line into nc. Time goes from left to right, and each kind of callback has a lane.
// What comes first is what package ae's documentation calls the eight steps; 1 to 4
// were over before anybody could look:
//
//	poll, sleep     ▒▒▒▒▒▒▒▒▒▒▒▒       ▒▒▒▒▒▒▒▒▒▒▒       ▒▒▒▒▒▒▒▒▒▒▒▒▒▒
//	accept                      █ 5, 6
//	read                                         █ 7, 8
//
// Nearly all of it is sleep: with nothing to do the loop waits in the poll, and
// costs nothing. A client connects, the listener is ready, the poll returns, and the
// accept callback is called (5). It accepts, and registers the read callback on the
// new descriptor (6). It has returned: the loop polls again, finds nothing, and
// sleeps. Between any two callbacks of one connection the loop has been back at the
// poll, and whoever else was ready had their turn. The line arrives, the read
// callback is called (7), and sends its reply at once (8), as the socket has room.
//
// Had it none, the rest would wait for a write callback, which is called when the
// poll says that there is room again. Here each reply goes that way, so that all
// eight steps can be seen:
//
//	go test -v -run Example_oneEcho ./watch
//
// # What Barrier changes
//
// A descriptor that is ready for both gets two calls, the readable one first; with
// ae.Barrier the writable one comes first, and a reply to what was just read cannot
// go out before the next iteration, behind whatever a BeforeSleep hook makes
// durable in between:
//
//	go test -v -run Example_barrier ./watch
//
// # What a slow callback does to the others
//
// There is one goroutine, so while one callback runs the lanes of all others are
// empty. What was due meanwhile comes late, all at once, when it has returned. On
// the page the callback is red, and the time events behind it say by how much they
// were late:
//
//	go test -v -run Example_slowCallback ./watch
//
// # What it costs
//
// Compare the lines of
//
//	go test -run '^$' -bench 'Callback|Echo|Idle' ./watch
//
// off: not watched; on: watched; lanes: callbacks are recorded besides, as while
// somebody looks at them.
package watch
