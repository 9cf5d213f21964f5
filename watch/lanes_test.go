package watch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/watch"
)

// tidy leaves out polls that nothing follows but another one: signals end some.
func tidy(l watch.Lanes) (spans []watch.Span) {
	for i, s := range l.Spans {
		if i+1 == len(l.Spans) || s.Kind != "poll" || l.Spans[i+1].Kind != "poll" || s.Depth != l.Spans[i+1].Depth {
			spans = append(spans, s)
		}
	}
	return spans
}

// lanes writes what is recorded in one line: the kind of each span.
func lanes(l watch.Lanes) string {
	var kinds []string
	for _, s := range tidy(l) {
		kinds = append(kinds, strings.ReplaceAll(s.Kind, " ", "-"))
	}
	return strings.Join(kinds, " ")
}

// This is the walk of the package comment: what one echo looks like.
func TestLanesShowOneEchoInOrder(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{Lanes: true})
	ln := aetest.Listen(t)
	conn, step := 0, 5
	onWritable := func(el *ae.EventLoop, fd int, _ ae.Mask) {
		anet.Write(fd, []byte("hello"))
		el.DeleteFileEvent(fd, ae.Writable)
		step = 9
	}
	onReadable := func(el *ae.EventLoop, fd int, _ ae.Mask) {
		aetest.Receive(fd)
		el.CreateFileEvent(fd, ae.Writable, onWritable)
		step = 8
	}
	onAccept := func(el *ae.EventLoop, ln int, _ ae.Mask) {
		conn, _, _ = anet.Accept(ln)
		el.CreateFileEvent(conn, ae.Readable, onReadable)
		step = 7
	}
	aetest.Create(t, el, ln, ae.Readable, onAccept)

	client, err := anet.Connect("tcp", anet.LocalString(ln))
	if err != nil {
		t.Fatal(err)
	}
	defer anet.Close(client)
	await := func(n int) { aetest.Await(t, el, aetest.Iteration, "a step", func() bool { return step == n }) }
	await(7)
	defer func() { anet.Close(conn) }()
	aetest.Arrives(t, client, ae.Writable)
	aetest.Send(t, client, "hello")
	await(9)
	el.Post(func(*ae.EventLoop) {})
	el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore })
	aetest.Poll(t, el)

	l := w.Lanes(0)
	if got, want := lanes(l), "poll accept poll readable poll writable poll posted time-event"; got != want {
		t.Fatalf("lanes: %s\n want: %s", got, want)
	}
	for i, s := range l.Spans {
		if s.Number != uint64(i) || s.Took < 0 || i > 0 && s.Start < l.Spans[i-1].Start+l.Spans[i-1].Took {
			t.Errorf("span %d: %+v", i, s)
		}
	}
	spans := tidy(l)
	accept, read := spans[1], spans[3]
	if accept.FD != ln || read.FD != conn || !strings.Contains(l.Funcs[accept.Func], "TestLanesShowOneEcho") {
		t.Errorf("accept %+v, read %+v, funcs %v", accept, read, l.Funcs)
	}
	if spans[0].Ready != 1 || spans[6].Ready != 0 {
		t.Errorf("polls found %d and %d descriptors", spans[0].Ready, spans[6].Ready)
	}
	if rest := w.Lanes(l.Next - 2); lanes(rest) != "posted time-event" || rest.Next != l.Next {
		t.Errorf("those from number %d on: %s", l.Next-2, lanes(rest))
	}
}

// With Barrier, of two that are ready at once the writable one is first.
func TestLanesShowWhatBarrierChanges(t *testing.T) {
	for _, barrier := range []ae.Mask{ae.None, ae.Barrier} {
		el := aetest.Loop(t)
		w := start(t, el, watch.Options{Lanes: true})
		a, b := aetest.SocketPair(t)
		nothing := func(*ae.EventLoop, int, ae.Mask) {}
		aetest.Create(t, el, a, ae.Readable, nothing)
		aetest.Create(t, el, a, ae.Writable|barrier, nothing)
		aetest.Send(t, b, "x")
		aetest.Poll(t, el)
		want := "poll readable writable"
		if barrier != ae.None {
			want = "poll writable readable"
		}
		if got := lanes(w.Lanes(0)); got != want {
			t.Errorf("with barrier %d: %s, want %s", barrier, got, want)
		}
	}
}

func TestLanesKeepTheLastOnesAndNestTheirs(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{})
	el.Post(func(*ae.EventLoop) {})
	aetest.Poll(t, el)
	if l := w.Lanes(0); len(l.Spans) != 0 {
		t.Errorf("recorded with nobody looking: %s", lanes(l))
	}
	for range 10_000 { // somebody has looked: they are recorded for five seconds
		el.Post(func(*ae.EventLoop) {})
	}
	aetest.Poll(t, el)
	l := w.Lanes(0)
	if n := len(l.Spans); n < 4096 || l.Spans[n-1].Number != l.Next-1 || l.Next < uint64(n) {
		t.Errorf("%d spans, the next is %d", n, l.Next)
	}
	el.Post(func(el *ae.EventLoop) {
		el.Post(func(*ae.EventLoop) {})
		el.ProcessEvents(ae.AllEvents | ae.DontWait)
	})
	aetest.Poll(t, el)
	l = w.Lanes(l.Next)
	depths := []int{}
	for _, s := range l.Spans {
		depths = append(depths, s.Depth)
	}
	if got := lanes(l); got != "poll poll posted posted" || depths[0] != 0 || depths[1] != 1 || depths[2] != 1 || depths[3] != 0 {
		t.Errorf("nested: %s, depths %v", got, depths)
	}
}
