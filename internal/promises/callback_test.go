package promises_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// callbackPromises: a callback may do anything to the loop.
// pitfalls 15 and 17: redis#6964, libevent b557b175, netpoll#238
var callbackPromises = []promise{
	{"DeletesItsOwnWritable", "a readable proc that deletes Writable of its own descriptor keeps the writable proc from running", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		aetest.Create(t, el, a, ae.Writable, aetest.Forbid(t, "deleted by the readable proc"))
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Delete(t, el, a, ae.Writable) })
		if n := aetest.Poll(t, el); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	}},
	{"DeletesAnotherInTheBatch", "of two ready descriptors that delete each other, one is called", func(t *testing.T) {
		el := aetest.Loop(t)
		var fds [2]int
		calls := 0
		for i := range fds {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			fds[i] = a
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				calls++
				aetest.Delete(t, el, fds[1-i], ae.Readable)
			})
		}
		aetest.Poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"RegistersAHighDescriptor", "registering a descriptor that makes the tables grow is safe in a callback", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		aetest.Send(t, b, "x")
		high := 900
		wrote := false
		aetest.Create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
			if mask == ae.Writable {
				wrote = true
				return
			}
			if err := testutil.DupTo(b, high); err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, high)
			aetest.Create(t, el, high, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {})
		})
		if n := aetest.Poll(t, el); n != 2 || !wrote {
			t.Errorf("%d calls, writable proc ran: %v", n, wrote)
		}
	}},
	{"ShrinksBelowAReadyDescriptor", "Resize in a callback cannot make a later event of the batch fail", func(t *testing.T) {
		el := aetest.Loop(t)
		var fds [2]int
		calls := 0
		for i := range fds {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			fds[i] = a
			aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
				calls++
				other := fds[1-i]
				aetest.Delete(t, el, fd, ae.Readable)
				aetest.Delete(t, el, other, ae.Readable)
				if err := el.Resize(min(fd, other)); err != nil {
					t.Error(err)
				}
			})
		}
		aetest.Poll(t, el)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	}},
	{"RegisteringAgainDoesNotStarve", "an event that a callback registers again in each iteration, while it is registered, is still delivered", func(t *testing.T) {
		el := aetest.Loop(t)
		source, _ := aetest.SocketPair(t)
		sink, _ := aetest.SocketPair(t)
		reads, writes := 0, 0
		register := func() {
			aetest.Create(t, el, sink, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { writes++ })
		}
		register()
		aetest.Create(t, el, source, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { reads++; register() })
		el.AddAfterSleep(func(*ae.EventLoop) { register() })
		for range 100 {
			aetest.Step(t, el, ae.AllEvents|ae.CallAfterSleep)
		}
		if reads != 100 || writes != 100 {
			t.Errorf("in 100 iterations: %d calls of the one that registers, %d of the one registered", reads, writes)
		}
	}},
	{"NestedIterationReplacesTheBatch", "a nested ProcessEvents polls anew; what the outer batch had left comes again, and nothing is called twice for one poll", func(t *testing.T) {
		el := aetest.Loop(t)
		calls := map[int]int{}
		depth := 0
		for range 3 {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			aetest.Create(t, el, a, ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
				calls[fd]++
				aetest.Receive(fd)
				if depth++; depth == 1 {
					aetest.Poll(t, el)
				}
			})
		}
		aetest.Poll(t, el)
		for fd, n := range calls {
			if n != 1 {
				t.Errorf("descriptor %d: %d calls for one byte", fd, n)
			}
		}
		if len(calls) != 3 {
			t.Errorf("%d of 3 descriptors were called", len(calls))
		}
	}},
	{"ClosesTheLoop", "Close in any callback ends the iteration there, and Main with ErrClosed", func(t *testing.T) {
		for name, arm := range map[string]func(el *ae.EventLoop){
			"file": func(el *ae.EventLoop) {
				for range 2 {
					a, b := aetest.SocketPair(t)
					aetest.Send(t, b, "x")
					aetest.Create(t, el, a, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) { closeOnce(t, el) })
				}
			},
			"time": func(el *ae.EventLoop) {
				for range 2 {
					el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { closeOnce(t, el); return 0 })
				}
			},
			"post":        func(el *ae.EventLoop) { el.Post(func(*ae.EventLoop) { closeOnce(t, el) }) },
			"beforeSleep": func(el *ae.EventLoop) { el.AddBeforeSleep(func(*ae.EventLoop) { closeOnce(t, el) }) },
			"afterSleep": func(el *ae.EventLoop) {
				el.AddAfterSleep(func(*ae.EventLoop) { closeOnce(t, el) })
				el.SetDontWait(true)
			},
		} {
			el := aetest.Loop(t)
			arm(el)
			if err := el.Main(); !errors.Is(err, ae.ErrClosed) {
				t.Errorf("%s: Main returned %v, want ErrClosed", name, err)
			}
		}
	}},
	{"PanicLeavesTheLoopConsistent", "a panic in any callback reaches the caller of ProcessEvents, and the loop goes on", func(t *testing.T) {
		leaveAndGoOn(t, func(t *testing.T, el *ae.EventLoop) {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			el.ProcessEvents(ae.AllEvents | ae.DontWait | ae.CallBeforeSleep | ae.CallAfterSleep)
		}, func() { panic("callback") })
	}},
	{"MainGoesOnAfterAPanic", "a panic that goes up through Main or Run can be recovered, and both can be called again", func(t *testing.T) {
		for name, run := range map[string]func(*ae.EventLoop) error{
			"Main": (*ae.EventLoop).Main,
			"Run":  func(el *ae.EventLoop) error { return el.Run(t.Context()) },
		} {
			t.Run(name, func(t *testing.T) {
				leaveAndGoOn(t, func(t *testing.T, el *ae.EventLoop) {
					func() {
						defer func() {
							if recover() == nil {
								t.Error("the panic did not reach the caller")
							}
						}()
						run(el)
					}()
					for _, again := range []func() error{el.Main, func() error { return el.Run(t.Context()) }} {
						el.Stop()
						if err := again(); err != nil {
							t.Errorf("after the panic: %v", err)
						}
					}
				}, func() { panic("callback") })
			})
		}
	}},
	{"GoexitLeavesTheLoopConsistent", "the same for runtime.Goexit: another goroutine can go on with the loop", func(t *testing.T) {
		leaveAndGoOn(t, func(t *testing.T, el *ae.EventLoop) {
			var wg sync.WaitGroup
			wg.Go(func() {
				el.ProcessEvents(ae.AllEvents | ae.DontWait | ae.CallBeforeSleep | ae.CallAfterSleep)
				t.Error("ProcessEvents returned after Goexit")
			})
			wg.Wait()
		}, runtime.Goexit)
	}},
}

func closeOnce(t *testing.T, el *ae.EventLoop) {
	if err := el.Close(); err != nil {
		t.Errorf("a callback ran after Close: %v", err)
	}
}

// leaveAndGoOn has one callback of each kind leave by leave instead of
// returning, within iterate, and then checks that the loop still does everything.
func leaveAndGoOn(t *testing.T, iterate func(*testing.T, *ae.EventLoop), leave func()) {
	for name, arm := range map[string]func(t *testing.T, el *ae.EventLoop, once func()){
		"file": func(t *testing.T, el *ae.EventLoop, once func()) {
			a, b := aetest.SocketPair(t)
			aetest.Send(t, b, "x")
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(a); once() })
		},
		"time": func(t *testing.T, el *ae.EventLoop, once func()) {
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { once(); return ae.NoMore })
		},
		"post":        func(t *testing.T, el *ae.EventLoop, once func()) { el.Post(func(*ae.EventLoop) { once() }) },
		"beforeSleep": func(t *testing.T, el *ae.EventLoop, once func()) { el.AddBeforeSleep(func(*ae.EventLoop) { once() }) },
		"afterSleep":  func(t *testing.T, el *ae.EventLoop, once func()) { el.AddAfterSleep(func(*ae.EventLoop) { once() }) },
	} {
		t.Run(name, func(t *testing.T) {
			el := aetest.Loop(t)
			left := false
			arm(t, el, func() {
				if !left {
					left = true
					leave()
				}
			})
			posted := 0
			for range 3 {
				el.Post(func(*ae.EventLoop) { posted++ })
			}
			iterate(t, el)

			timer, file := 0, false
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { timer++; return ae.NoMore })
			a, b := aetest.SocketPair(t)
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(a); file = true })
			aetest.Send(t, b, "x")
			aetest.Until(t, el, func() bool { return posted == 3 && timer == 1 && file })
			if n := aetest.Poll(t, el); n != 0 {
				t.Errorf("%d calls afterwards, want none", n)
			}
		})
	}
}
