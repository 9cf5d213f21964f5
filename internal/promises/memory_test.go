package promises_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
)

// What a user gives to the loop must not live longer than the loop has a use for
// it. pitfall 16: gnet#546, gnet#660, netpoll#143

// burden is what a proc refers to: large enough to have an allocation of its own.
type burden struct{ p [64]byte }

// ballast returns a burden and a way to see whether it has been collected.
func ballast() (*burden, weak.Pointer[burden]) {
	b := &burden{}
	return b, weak.Make(b)
}

// collected fails the test if what w points to outlives a few collections.
func collected(t *testing.T, what string, w weak.Pointer[burden]) {
	t.Helper()
	for range 5 {
		runtime.GC()
		if w.Value() == nil {
			return
		}
	}
	t.Errorf("%s is still reachable", what)
}

func TestDeletedProcsAreCollected(t *testing.T) {
	el := aetest.Loop(t)
	a, _ := aetest.SocketPair(t)
	for _, c := range []struct {
		name string
		drop func(fd int)
	}{
		{"a deleted file proc", func(fd int) { aetest.Delete(t, el, fd, ae.Readable|ae.Writable) }},
		{"a replaced file proc", func(fd int) {
			aetest.Create(t, el, fd, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		}},
	} {
		w := func() weak.Pointer[burden] {
			b, w := ballast()
			aetest.Create(t, el, a, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) { b.p[0]++ })
			return w
		}()
		aetest.Poll(t, el)
		c.drop(a)
		collected(t, c.name, w)
	}
	runtime.KeepAlive(el)
}

func TestEndedTimeProcsAreCollected(t *testing.T) {
	el := aetest.Loop(t)
	add := func(d time.Duration) (ae.TimeEventID, weak.Pointer[burden]) {
		b, w := ballast()
		id := el.CreateTimeEvent(d, func(*ae.EventLoop, ae.TimeEventID) time.Duration { b.p[0]++; return ae.NoMore })
		return id, w
	}
	far, deleted := add(time.Hour)
	el.DeleteTimeEvent(far)
	collected(t, "a deleted time proc", deleted)

	_, ended := add(0)
	aetest.Poll(t, el)
	collected(t, "a time proc that returned NoMore", ended)

	_, panicked := func() (ae.TimeEventID, weak.Pointer[burden]) {
		b, w := ballast()
		return el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { b.p[0]++; panic("callback") }), w
	}()
	func() {
		defer func() { recover() }()
		aetest.Poll(t, el)
	}()
	collected(t, "a time proc that panicked", panicked)
	runtime.KeepAlive(el)
}

func TestPostedFunctionsAreCollectedOnceTheyRan(t *testing.T) {
	el := aetest.Loop(t)
	post := func() weak.Pointer[burden] {
		b, w := ballast()
		el.Post(func(*ae.EventLoop) { b.p[0]++ })
		return w
	}
	var all []weak.Pointer[burden]
	for range 100 {
		all = append(all, post())
	}
	aetest.Poll(t, el)
	for _, w := range all {
		collected(t, "a posted function that ran", w)
	}

	// With an iteration inside, the queue is appended to instead of swapped.
	var inner weak.Pointer[burden]
	el.Post(func(el *ae.EventLoop) {
		inner = post()
		aetest.Poll(t, el)
	})
	last := post()
	aetest.Poll(t, el)
	aetest.Poll(t, el)
	collected(t, "a function that was posted by another", inner)
	collected(t, "the function behind it", last)
	runtime.KeepAlive(el)
}

func TestAClosedLoopHoldsNothing(t *testing.T) {
	el := aetest.Loop(t)
	a, _ := aetest.SocketPair(t)
	refer := func(register func(touch func())) weak.Pointer[burden] {
		b, w := ballast()
		register(func() { b.p[0]++ })
		return w
	}
	held := map[string]weak.Pointer[burden]{
		"a file proc": refer(func(touch func()) {
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { touch() })
		}),
		"a time proc": refer(func(touch func()) {
			el.CreateTimeEvent(time.Hour, func(*ae.EventLoop, ae.TimeEventID) time.Duration { touch(); return 0 })
		}),
		"the BeforeSleep hook": refer(func(touch func()) { el.AddBeforeSleep(func(*ae.EventLoop) { touch() }) }),
		"the AfterSleep hook":  refer(func(touch func()) { el.AddAfterSleep(func(*ae.EventLoop) { touch() }) }),
		"a posted function":    refer(func(touch func()) { el.Post(func(*ae.EventLoop) { touch() }) }),
	}
	if err := el.Close(); err != nil {
		t.Fatal(err)
	}
	for what, w := range held {
		collected(t, what, w)
	}
	runtime.KeepAlive(el)
}

// A library that adds a hook for each of its objects must not make the loop's list
// longer for ever.
func TestRemovedHooksLeaveNothing(t *testing.T) {
	const hooks = 100_000
	for name, add := range map[string]func(*ae.EventLoop) func(func(*ae.EventLoop)) func(){
		"BeforeSleep": func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddBeforeSleep },
		"AfterSleep":  func(el *ae.EventLoop) func(func(*ae.EventLoop)) func() { return el.AddAfterSleep },
	} {
		el := aetest.Loop(t)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range hooks {
			add(el)(func(*ae.EventLoop) {})()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8*hooks {
			t.Errorf("%s: %d bytes are held after %d hooks were removed", name, grown, hooks)
		}
		runtime.KeepAlive(el)
	}
}
