package promises_test

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// iterationPromises are about one call of ProcessEvents.
var iterationPromises = []promise{
	{"StepsComeInOrder", "BeforeSleep, poll, AfterSleep, file events, posted functions, time events", func(t *testing.T) {
		el := aetest.Loop(t)
		var order string
		el.AddBeforeSleep(func(*ae.EventLoop) { order += "before " })
		el.AddAfterSleep(func(*ae.EventLoop) { order += "after " })
		a, _ := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { order += "file " })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { order += "time"; return ae.NoMore })
		el.Post(func(*ae.EventLoop) { order += "post " })
		n := aetest.Step(t, el, ae.AllEvents|ae.CallBeforeSleep|ae.CallAfterSleep)
		if want := "before after file post time"; order != want || n != 3 {
			t.Errorf("order %q, want %q; counted %d, want 3", order, want, n)
		}
	}},
	{"WithoutEventsNothingHappens", "without FileEvents and TimeEvents the call returns 0 at once", func(t *testing.T) {
		el := aetest.Loop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { t.Error("BeforeSleep ran") })
		if n := aetest.Step(t, el, ae.CallBeforeSleep|ae.CallAfterSleep); n != 0 {
			t.Errorf("%d calls", n)
		}
	}},
	{"HooksRunOnlyWhenAskedFor", "the hooks need their flag, and can be removed", func(t *testing.T) {
		el := aetest.Loop(t)
		hooks := 0
		count := func(*ae.EventLoop) { hooks++ }
		removeBefore, removeAfter := el.AddBeforeSleep(count), el.AddAfterSleep(count)
		aetest.Poll(t, el)
		if hooks != 0 {
			t.Errorf("%d hooks ran without their flags", hooks)
		}
		aetest.Step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
		removeBefore()
		removeBefore()
		removeAfter()
		aetest.Step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
		if hooks != 2 {
			t.Errorf("%d hooks ran, want 2", hooks)
		}
	}},
	{"HooksAddUp", "hooks run in the order of their addition, each until it is removed, whatever becomes of the others", func(t *testing.T) {
		for name, add := range map[string]func(*ae.EventLoop) func(func(*ae.EventLoop)) func(){
			"BeforeSleep": func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddBeforeSleep },
			"AfterSleep":  func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddAfterSleep },
		} {
			el := aetest.Loop(t)
			var order string
			hook := func(name string) func(*ae.EventLoop) { return func(*ae.EventLoop) { order += name } }
			ran := func(want string) {
				t.Helper()
				order = ""
				aetest.Step(t, el, ae.AllEvents|ae.DontWait|ae.CallBeforeSleep|ae.CallAfterSleep)
				if order != want {
					t.Errorf("%s: hooks %q ran, want %q", name, order, want)
				}
			}

			add(el)(hook("a"))
			removeB := add(el)(hook("b"))
			add(el)(hook("c"))
			ran("abc")
			removeB()
			ran("ac")

			var removeE, removeSelf func()
			removeSelf = add(el)(func(*ae.EventLoop) {
				order += "d"
				removeSelf()
				removeE()
				add(el)(hook("f"))
			})
			removeE = add(el)(hook("e"))
			ran("acd")
			ran("acf")
		}
	}},
	{"NoHookRunsAfterClose", "a hook that closes the loop is the last one", func(t *testing.T) {
		el := aetest.Loop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { closeOnce(t, el) })
		el.AddBeforeSleep(func(*ae.EventLoop) { t.Error("a hook ran after Close") })
		if _, err := el.ProcessEvents(ae.AllEvents | ae.CallBeforeSleep); !errors.Is(err, ae.ErrClosed) {
			t.Errorf("ProcessEvents: %v", err)
		}
		remove := el.AddBeforeSleep(func(*ae.EventLoop) {})
		remove()
	}},
	{"NowIsReadOnceAnIteration", "Now is the same for all callbacks of an iteration, and later in the next one", func(t *testing.T) {
		el := aetest.Loop(t)
		var seen []time.Time
		note := func(*ae.EventLoop) { seen = append(seen, el.Now()) }
		el.AddAfterSleep(note)
		el.AddBeforeSleep(note)
		start := time.Now()
		for range 2 {
			busyFor(time.Millisecond)
			el.Post(func(*ae.EventLoop) { note(el); busyFor(time.Millisecond) })
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { note(el); return ae.NoMore })
			aetest.Step(t, el, whole)
		}
		// BeforeSleep still has the time of the poll before it.
		want := []int{0, 1, 1, 1, 1, 2, 2, 2}
		for i := 1; i < len(seen); i++ {
			if same := want[i] == want[i-1]; same != seen[i].Equal(seen[i-1]) || seen[i].Before(seen[i-1]) {
				t.Errorf("call %d: %v after %v", i, seen[i].Sub(start), seen[i-1].Sub(start))
			}
		}
		if len(seen) != len(want) || seen[0].Before(start) || seen[len(seen)-1].After(time.Now()) {
			t.Errorf("%d calls, from %v to %v after the start", len(seen), seen[0].Sub(start), seen[len(seen)-1].Sub(start))
		}
	}},
	{"DontWaitIsReadAfterBeforeSleep", "SetDontWait(true) in BeforeSleep keeps that very iteration from sleeping", func(t *testing.T) {
		el := aetest.Loop(t)
		el.AddBeforeSleep(func(*ae.EventLoop) { el.SetDontWait(true) })
		testutil.Within(t, func() { aetest.Step(t, el, ae.AllEvents|ae.CallBeforeSleep) }) // would sleep without end
	}},
	{"FileEventsAloneLeaveTimeEvents", "without TimeEvents, time events neither run nor end the sleep", func(t *testing.T) {
		el := aetest.Loop(t)
		ran := false
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran = true; return ae.NoMore })
		a, b := aetest.SocketPair(t)
		got := false
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got = true })
		go unix.Write(b, []byte("x"))
		testutil.Within(t, func() { aetest.Step(t, el, ae.FileEvents) })
		if ran || !got {
			t.Errorf("time event ran: %v, file event ran: %v", ran, got)
		}
	}},
	{"TimeEventsAloneSleepThroughReadiness", "without FileEvents, a ready descriptor neither runs nor ends the sleep, and Post does", func(t *testing.T) {
		el := aetest.Loop(t)
		a, _ := aetest.SocketPair(t)
		aetest.Create(t, el, a, ae.Writable, aetest.Forbid(t, "no FileEvents"))
		ran := false
		el.CreateTimeEvent(2*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { ran = true; return ae.NoMore })
		iterations := 0
		for ; !ran && iterations < 10; iterations++ {
			aetest.Step(t, el, ae.TimeEvents)
		}
		if iterations > 2 {
			t.Errorf("%d iterations for one time event", iterations)
		}
		posted := false
		go el.Post(func(*ae.EventLoop) { posted = true })
		testutil.Within(t, func() {
			for !posted {
				aetest.Step(t, el, ae.TimeEvents)
			}
		})
	}},
	{"AWakeUpEndsOneSleep", "what Post woke a loop with does not wake it again, with file events or without", func(t *testing.T) {
		for _, flags := range []ae.Flags{ae.TimeEvents, ae.AllEvents} {
			el := aetest.Loop(t)
			posted := false
			go el.Post(func(*ae.EventLoop) { posted = true })
			for !posted {
				aetest.Step(t, el, flags)
			}
			over, n := false, 0
			el.CreateTimeEvent(20*time.Millisecond, func(*ae.EventLoop, ae.TimeEventID) time.Duration { over = true; return ae.NoMore })
			for ; !over; n++ {
				aetest.Step(t, el, flags)
			}
			if n > 4 {
				t.Errorf("%d iterations in 20 ms with nothing to do", n)
			}
		}
	}},
	{"EventsAreNotStarvedByTimers", "a time event without a wait beside a ready descriptor: both get on in each iteration", func(t *testing.T) {
		el := aetest.Loop(t)
		a, _ := aetest.SocketPair(t)
		files, times := 0, 0
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { files++ })
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { times++; return 0 })
		for range 100 {
			aetest.Step(t, el, ae.AllEvents)
		}
		if files != 100 || times > 100 || times < 10 {
			t.Errorf("in 100 iterations: %d file events, %d time events", files, times)
		}
	}},
	// pitfall 6: golang/go#36281
	{"SignalsDoNotCutAWaitShort", "signals during a wait are no error, and make no time event early", func(t *testing.T) {
		el := aetest.Loop(t)
		const wait = 30 * time.Millisecond
		start := time.Now()
		var took time.Duration
		id := el.CreateTimeEvent(wait, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
			took = time.Since(start)
			return ae.NoMore
		})
		stop := stormOfSignals()
		defer stop()
		aetest.Until(t, el, func() bool { return took != 0 })
		if took < wait {
			t.Errorf("time event %d after %v, want %v or more", id, took, wait)
		}
	}},
	{"WaitNeedsNoLoop", "Wait reports one descriptor's readiness, times out with None, and has EBADF for a closed descriptor", func(t *testing.T) {
		a, b := aetest.SocketPair(t)
		if m, err := ae.Wait(a, ae.Readable, 0); m != ae.None || err != nil {
			t.Errorf("idle: %d, %v", m, err)
		}
		start := time.Now()
		if m, err := ae.Wait(a, ae.Readable, 1500*time.Microsecond); m != ae.None || err != nil || time.Since(start) < 1500*time.Microsecond {
			t.Errorf("timeout: %d, %v after %v", m, err, time.Since(start))
		}
		if m, err := ae.Wait(a, ae.Readable|ae.Writable, -1); m != ae.Writable || err != nil {
			t.Errorf("writable: %d, %v", m, err)
		}
		aetest.Send(t, b, "x")
		if m, err := ae.Wait(a, ae.Readable|ae.Writable, -1); m != ae.Readable|ae.Writable || err != nil {
			t.Errorf("both: %d, %v", m, err)
		}
		testutil.CloseNow(t, b)
		if m, err := ae.Wait(a, ae.Writable, -1); m != ae.Writable || err != nil {
			t.Errorf("hung up: %d, %v", m, err)
		}
		testutil.CloseNow(t, a)
		if _, err := ae.Wait(a, ae.Readable, -1); !errors.Is(err, unix.EBADF) {
			t.Errorf("closed: %v", err)
		}
		for _, fd := range []int{-1, math.MinInt, math.MaxInt, math.MaxInt32} {
			if _, err := ae.Wait(fd, ae.Readable, -1); !errors.Is(err, unix.EBADF) {
				t.Errorf("descriptor %d: %v", fd, err)
			}
		}
		if _, err := ae.Wait(0, ae.None, -1); !errors.Is(err, unix.EINVAL) {
			t.Errorf("no event: %v", err)
		}
	}},
	{"SteadyStateAllocatesNothing", "dispatch, a re-arming time event and Post of a prepared func allocate nothing", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		buf := make([]byte, 1)
		count := 0
		var onWritable, onReadable ae.FileProc
		onReadable = func(el *ae.EventLoop, fd int, _ ae.Mask) {
			anet.Read(fd, buf)
			el.DeleteFileEvent(fd, ae.Readable)
			el.CreateFileEvent(fd, ae.Readable, onReadable)
		}
		onWritable = func(_ *ae.EventLoop, fd int, _ ae.Mask) { anet.Write(fd, buf) }
		aetest.Create(t, el, a, ae.Readable, onReadable)
		aetest.Create(t, el, b, ae.Writable, onWritable)
		el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { count++; return 0 })
		posted := func(*ae.EventLoop) { count++ }
		allocs := testing.AllocsPerRun(1000, func() {
			el.Post(posted)
			el.ProcessEvents(ae.AllEvents | ae.DontWait)
		})
		if allocs != 0 || count < 1000 {
			t.Errorf("%v allocations in an iteration; %d calls", allocs, count)
		}
	}},
}

// busyFor returns once the clock has moved by d.
func busyFor(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// stormOfSignals sends this process SIGURG, which the Go runtime takes for its
// own use and otherwise ignores, as fast as it can.
func stormOfSignals() (stop func()) {
	done := make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				unix.Kill(unix.Getpid(), unix.SIGURG)
				runtime.Gosched()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
