package promises_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// pitfall 12. AE_LONG asks for a million from each goroutine.
func TestPostsOfEightGoroutinesRunOnceAndInOrder(t *testing.T) {
	const posters = 8
	each := 20_000
	if os.Getenv("AE_LONG") != "" {
		each = 1_000_000
	}
	el := aetest.Loop(t)
	var next [posters]int
	left := posters
	for p := range posters {
		go func() {
			for i := range each {
				err := el.Post(func(el *ae.EventLoop) {
					if next[p] != i {
						t.Errorf("poster %d: function %d ran when %d was due", p, i, next[p])
					}
					if next[p] = i + 1; i == each-1 {
						left--
					}
					if left == 0 {
						el.Stop()
					}
				})
				if err != nil {
					t.Error(err)
				}
				if i%64 == 0 {
					runtime.Gosched() // so that the loop falls asleep at times, and is woken
				}
			}
		}()
	}
	if os.Getenv("AE_LONG") != "" {
		el.Main()
	} else {
		testutil.Within(t, func() { el.Main() })
	}
	for p, n := range next {
		if n != each {
			t.Errorf("poster %d: %d functions ran, want %d", p, n, each)
		}
	}
	if n := aetest.Poll(t, el); n != 0 {
		t.Errorf("%d functions ran after the last one", n)
	}
}

// A goroutine that posts only when the function before has run meets the loop
// asleep, about to sleep, or just awake: each wake-up that is lost would hang. With
// one processor the loop yields before it sleeps.
func TestNoWakeUpIsLost(t *testing.T) {
	rounds := 10_000
	if os.Getenv("AE_LONG") != "" {
		rounds = 60_000
	}
	for _, procs := range []int{1, 2} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			el := aetest.Loop(t)
			ended := make(chan error)
			go func() { ended <- el.Main() }()
			ran := make(chan bool)
			fn := func(*ae.EventLoop) { ran <- true }
			n := rounds
			if procs == 1 {
				n /= 20 // Go's monitor takes a millisecond to take the processor from who sleeps
			}
			testutil.Within(t, func() {
				for i := range n {
					for range i % 100 {
						runtime.Gosched() // meet the loop a little later each time
					}
					if err := el.Post(fn); err != nil {
						t.Fatal(err)
					}
					<-ran
				}
				el.Stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// pitfall 23: golang/go#21014, hanwen/go-fuse. The client is a goroutine on
// package net, the server a loop, and there may be one thread for both.
func TestServerAndClientShareTheProcessors(t *testing.T) {
	for _, procs := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			el := aetest.Loop(t)
			ln := aetest.Listen(t)
			aetest.Create(t, el, ln, ae.Readable, func(el *ae.EventLoop, ln int, _ ae.Mask) {
				fd, _, err := anet.Accept(ln)
				if err != nil {
					return
				}
				testutil.CloseLater(t, fd)
				aetest.Create(t, el, fd, ae.Readable, echoOnce)
			})
			addr := anet.LocalString(ln)
			var wg sync.WaitGroup
			var spinning atomic.Bool
			for range 4 {
				wg.Go(func() {
					if err := roundTrips(addr, 20, func() {}); err != nil {
						t.Error(err)
					}
				})
			}
			spinning.Store(true)
			go func() { // somebody who would like to have the processor, too
				for spinning.Load() {
					runtime.Gosched()
				}
			}()
			go func() { wg.Wait(); spinning.Store(false); el.Stop() }()
			testutil.Within(t, func() {
				if err := el.Main(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// pitfall 12: a wake-up that comes after Close must not be written to a number
// that is somebody else's by then.
func TestManyGoroutinesAgainstClose(t *testing.T) {
	for range 50 {
		el, err := ae.New(1024)
		if err != nil {
			t.Fatal(err)
		}
		var accepted, ran atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for el.Post(func(*ae.EventLoop) { ran.Add(1) }) == nil {
					accepted.Add(1)
				}
				el.Stop()
			})
			wg.Go(func() {
				for range 100 {
					el.Stop()
				}
			})
		}
		for range 20 {
			aetest.Step(t, el, ae.AllEvents|ae.DontWait)
		}
		if err := el.Close(); err != nil {
			t.Error(err)
		}
		untouched(t, wg.Wait)
		if accepted.Load() != ran.Load() {
			t.Fatalf("%d functions accepted, %d ran", accepted.Load(), ran.Load())
		}
	}
}

// A loop may go from one goroutine to the next between two calls.
func TestALoopCanBeHandedOver(t *testing.T) {
	el := aetest.Loop(t)
	a, b := aetest.SocketPair(t)
	got := 0
	aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { aetest.Receive(a); got++ })
	for i := range 20 {
		aetest.Send(t, b, "x")
		var wg sync.WaitGroup
		wg.Go(func() { aetest.Step(t, el, ae.AllEvents) })
		wg.Wait()
		if got != i+1 {
			t.Fatalf("%d calls after %d bytes", got, i+1)
		}
	}
}
