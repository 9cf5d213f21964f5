package watch_test

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"runtime/trace"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/watch"
)

// A server that is watched: its page is on http://127.0.0.1:8000/, and what holds
// it up is logged.
func ExampleServe() {
	el, err := ae.New(10_000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()

	w := watch.New(el, watch.Options{Name: "main", Logger: slog.Default()})
	url, stop, err := watch.Serve("127.0.0.1:8000", w)
	if err != nil {
		log.Fatal(err)
	}
	defer stop() // before the loop is closed
	fmt.Println("watch it on", url)

	// ... listen, register ...
	el.Main()
}

// A program that serves HTTP already mounts the page there, and says what its
// connections do.
func ExampleNewPage() {
	el, err := ae.New(10_000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	conns := stream.On(el)
	closed := map[string]uint64{} // Handler.Close counts here

	w := watch.New(el, watch.Options{Name: "main", Conns: func() watch.Conns {
		return watch.ConnsOf(conns.All(), closed)
	}})
	defer w.Close()

	mux := http.NewServeMux()
	mux.Handle("/debug/loop", watch.NewPage(w))
	// ... http.ListenAndServe("127.0.0.1:8000", mux), el.Main ...
}

// What the whole process did before a callback was slow: an execution trace, for
// `go tool trace`. The recorder is the program's, which starts and stops it.
func ExampleOptions_flightRecorder() {
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 2 * time.Second})
	report := func(s watch.Stall) {
		if !s.Ended || s.Duration < 100*time.Millisecond {
			return
		}
		f, err := os.Create("slow.trace")
		if err != nil {
			log.Print(err)
			return
		}
		defer f.Close()
		if _, err := recorder.WriteTo(f); err != nil {
			log.Print(err)
		}
	}
	_ = watch.Options{Report: report}
}

// newLoop returns a loop whose callbacks are recorded from the start.
func newLoop() (*ae.EventLoop, *watch.Watcher) {
	el, err := ae.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	return el, watch.New(el, watch.Options{Lanes: true})
}

// One echo with all eight steps: the reply waits for the write callback.
func Example_oneEcho() {
	el, w := newLoop() // 1
	defer el.Close()
	defer w.Close()

	var line []byte
	onWritable := func(el *ae.EventLoop, fd int, _ ae.Mask) {
		anet.Write(fd, line) // 8
		el.DeleteFileEvent(fd, ae.Writable)
		anet.Close(fd)
		el.Stop()
	}
	onReadable := func(el *ae.EventLoop, fd int, _ ae.Mask) { // 7
		buf := make([]byte, 64)
		n, _ := anet.Read(fd, buf)
		line = buf[:n]
		el.DeleteFileEvent(fd, ae.Readable)
		el.CreateFileEvent(fd, ae.Writable, onWritable)
	}
	onAccept := func(el *ae.EventLoop, ln int, _ ae.Mask) { // 5
		fd, _, _ := anet.Accept(ln)
		el.CreateFileEvent(fd, ae.Readable, onReadable) // 6
	}
	ln, err := anet.Listen("tcp", "127.0.0.1:0") // 2, 3
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(ln)
	el.CreateFileEvent(ln, ae.Readable, onAccept) // 4

	client, err := anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		log.Fatal(err)
	}
	defer anet.Close(client)
	ae.Wait(client, ae.Writable, time.Second)
	anet.Write(client, []byte("hello, loop\n"))

	el.Main()
	for _, s := range tidy(w.Lanes(0)) {
		fmt.Println(s.Kind)
	}
	// Output:
	// poll
	// accept
	// poll
	// readable
	// poll
	// writable
}

// Of a descriptor that is ready for both, Barrier has the writable proc called first.
func Example_barrier() {
	nothing := func(*ae.EventLoop, int, ae.Mask) {}
	for _, mask := range []ae.Mask{ae.Writable, ae.Writable | ae.Barrier} {
		el, w := newLoop()
		a, b, err := anet.SocketPair()
		if err != nil {
			log.Fatal(err)
		}
		el.CreateFileEvent(a, ae.Readable, nothing)
		el.CreateFileEvent(a, mask, nothing)
		anet.Write(b, []byte("x"))

		el.ProcessEvents(ae.FileEvents)
		fmt.Println(lanes(w.Lanes(0)))
		w.Close()
		el.Close()
		anet.Close(a)
		anet.Close(b)
	}
	// Output:
	// poll readable writable
	// poll writable readable
}

// While a callback sleeps for 100 ms, ten time events are due, one after the other.
// All come at once, the first of them the latest.
func Example_slowCallback() {
	el, w := newLoop()
	defer el.Close()
	defer w.Close()

	called := 0
	for i := range 10 {
		el.CreateTimeEvent(time.Duration(i)*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			called++
			return ae.NoMore
		})
	}
	el.Post(func(*ae.EventLoop) { time.Sleep(100 * time.Millisecond) })
	el.ProcessEvents(ae.AllEvents)

	s := w.Snapshot()
	fmt.Println(called, "were called in the iteration of the slow one")
	fmt.Println("the latest came more than 90 ms late:", time.Duration(s.Late.Max) > 90*time.Millisecond)
	fmt.Println("it was counted as slow:", s.SlowCallbacks > 0)
	// Output:
	// 10 were called in the iteration of the slow one
	// the latest came more than 90 ms late: true
	// it was counted as slow: true
}
