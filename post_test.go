package ae

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae/anet"
)

// A pipe that is full has woken the loop already: a wake-up must neither fail
// nor wait then. pitfall 12: libevent#1727
func TestAFullWakePipeIsAWakeUp(t *testing.T) {
	el, err := New(16)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	junk := make([]byte, 4096)
	for err == nil {
		_, err = anet.Write(el.door.writeFD, junk)
	}
	for err = nil; err == nil; { // to the last byte
		_, err = anet.Write(el.door.writeFD, junk[:1])
	}

	// The loop is about to sleep, as those who post must believe.
	if !el.door.sleep(el) {
		t.Fatal("the loop may not sleep")
	}
	ran := false
	if err := el.Post(func(*EventLoop) { ran = true }); err != nil {
		t.Fatal(err)
	}
	el.door.awake()
	if _, err := el.ProcessEvents(AllEvents); err != nil || !ran {
		t.Errorf("%v; the posted function ran: %v", err, ran)
	}
	if m, err := Wait(el.door.readFD, Readable, 0); m != None || err != nil {
		t.Errorf("the pipe is still readable after an iteration: %d, %v", m, err)
	}
}

// Only who finds the loop asleep writes, and only the first of them.
func TestOneByteWakesTheLoop(t *testing.T) {
	el, err := New(16)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	nop := func(*EventLoop) {}
	written := func() int {
		var buf [64]byte
		n, _ := anet.Read(el.door.readFD, buf[:])
		return n
	}

	for range 10 {
		el.Post(nop)
		el.Stop()
	}
	if n := written(); n != 0 {
		t.Errorf("%d bytes for a loop that is awake", n)
	}
	if el.door.sleep(el) {
		t.Error("the loop may sleep on posted functions")
	}
	el.runPosted()
	if !el.door.sleep(el) {
		t.Fatal("the loop may not sleep with nothing to do")
	}
	for range 10 {
		el.Post(nop)
		el.Stop()
	}
	if n := written(); n != 1 {
		t.Errorf("%d bytes for a loop that sleeps, want 1", n)
	}
}

// What comes between the look at the queue and the sleep ends the sleep.
func TestAnInterruptionBeforeTheSleepIsNotLost(t *testing.T) {
	el, err := New(16)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	el.door.interrupt()
	if el.door.sleep(el) {
		t.Error("the loop sleeps after an interruption")
	}
	if !el.door.sleep(el) {
		t.Error("one interruption keeps the loop from sleeping twice")
	}
	el.door.interrupt()
	m, err := Wait(el.door.readFD, Readable, time.Minute)
	if m != Readable || err != nil {
		t.Errorf("an interruption of a sleeping loop wrote nothing: %d, %v", m, err)
	}
	el.door.drain()
	el.door.awake()
}

func TestALoopThatIsAwakeNeedsNoByte(t *testing.T) {
	el, err := New(16)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	el.door.sleep(el)
	el.door.awake()
	el.door.interrupt()
	if m, err := Wait(el.door.readFD, Readable, 0); m != None || err != nil {
		t.Errorf("an interruption of a loop that is awake wrote to the pipe: %d, %v", m, err)
	}
}

// Close must not release the pipe while somebody who woke the loop still writes.
// What happens otherwise shows under the race detector only.
func TestCloseWaitsForThoseWhoWake(t *testing.T) {
	for range 100 {
		el, err := New(16)
		if err != nil {
			t.Fatal(err)
		}
		el.door.sleep(el)
		posted := make(chan bool)
		go func() {
			el.Post(func(*EventLoop) {})
			close(posted)
		}()
		for !el.door.pending.Load() {
			runtime.Gosched()
		}
		el.door.awake()
		if err := el.Close(); err != nil {
			t.Error(err)
		}
		<-posted
	}
}

func TestMillisecondsAreRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]int{
		0: 0, 1: 1, time.Millisecond - 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, maxWait: 86_400_000,
	} {
		if got := millis(d); got != want {
			t.Errorf("%v is %d ms, want %d", d, got, want)
		}
	}
}

// With one processor a loop that goes to sleep holds it until the scheduler's
// monitor looks: whoever is ready has to run before.
func TestOneProcessorIsYieldedBeforeASleep(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds = 50
	var d door
	var ran atomic.Int32
	first := 0
	for i := range int32(rounds) {
		go ran.Add(1)
		d.yield()
		if ran.Load() > i {
			first++
		}
		for ran.Load() <= i {
			runtime.Gosched()
		}
	}
	if first < rounds/2 { // now and then the scheduler takes the loop itself first
		t.Errorf("another goroutine ran first %d of %d times", first, rounds)
	}
}
