package ae

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"github.com/google/go-cmp/cmp"
)

// sleeper is a backend without descriptors. It sleeps by the clock of package
// time, which is virtual in a synctest bubble.
type sleeper struct{ polls int }

func (*sleeper) add(int, Mask, Mask) error { return nil }
func (*sleeper) del(int, Mask, Mask)       {}
func (*sleeper) close() error              { return nil }

func (s *sleeper) poll(_ []firedEvent, d time.Duration) (int, error) {
	if d < 0 {
		panic("ae: a sleep without end in virtual time")
	}
	if d > 0 {
		s.polls++
		time.Sleep(d)
	}
	return 0, nil
}

// virtually runs test with a loop whose time passes only while it sleeps.
func virtually(t *testing.T, test func(t *testing.T, el *EventLoop, s *sleeper)) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{}
		el := &EventLoop{setSize: 1, backend: s, fired: make([]firedEvent, 1), epoch: time.Now()}
		el.door.readFD = -1
		test(t, el, s)
	})
}

func iterate(t *testing.T, el *EventLoop) {
	t.Helper()
	if _, err := el.ProcessEvents(AllEvents); err != nil {
		t.Fatal(err)
	}
}

func TestTimeEventsKeepTheirPeriodForDays(t *testing.T) {
	virtually(t, func(t *testing.T, el *EventLoop, s *sleeper) {
		const period, end = 800 * time.Millisecond, 100 * time.Hour
		start, runs := time.Now(), 0
		el.CreateTimeEvent(period, func(*EventLoop, TimeEventID) time.Duration {
			runs++
			if got := time.Since(start); got != time.Duration(runs)*period {
				t.Fatalf("run %d after %v", runs, got)
			}
			return period
		})
		for time.Since(start) < end {
			iterate(t, el)
		}
		if want := int(end / period); runs != want || s.polls != want {
			t.Errorf("%d runs and %d sleeps in %v, want %d of each", runs, s.polls, end, want)
		}
	})
}

func TestAWaitIsCountedFromTheReturnOfTheProc(t *testing.T) {
	virtually(t, func(t *testing.T, el *EventLoop, _ *sleeper) {
		var at []time.Duration
		start := time.Now()
		el.CreateTimeEvent(time.Second, func(*EventLoop, TimeEventID) time.Duration {
			at = append(at, time.Since(start))
			time.Sleep(300 * time.Millisecond) // a slow proc
			return time.Second
		})
		for len(at) < 3 {
			iterate(t, el)
		}
		want := []time.Duration{time.Second, 2300 * time.Millisecond, 3600 * time.Millisecond}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestFarDeadlinesAreReachedByClampedSleeps(t *testing.T) {
	virtually(t, func(t *testing.T, el *EventLoop, s *sleeper) {
		const far = 40*24*time.Hour + time.Millisecond // beyond the 24.8 days of a 32-bit count of ms
		start := time.Now()
		var took time.Duration
		el.CreateTimeEvent(far, func(*EventLoop, TimeEventID) time.Duration { took = time.Since(start); return NoMore })
		never := el.CreateTimeEvent(math.MaxInt64, func(*EventLoop, TimeEventID) time.Duration {
			t.Error("the end of time came")
			return NoMore
		})
		for took == 0 {
			iterate(t, el)
		}
		if took != far || s.polls != 41 {
			t.Errorf("took %v, %d sleeps; want %v and 41", took, s.polls, far)
		}
		if !el.DeleteTimeEvent(never) {
			t.Error("the far event is gone")
		}
	})
}

func TestEqualDeadlinesRunInOrderOfCreation(t *testing.T) {
	virtually(t, func(t *testing.T, el *EventLoop, _ *sleeper) {
		const n = 1000
		var got []int
		for i := range n {
			el.CreateTimeEvent(time.Second, func(*EventLoop, TimeEventID) time.Duration {
				got = append(got, i)
				return time.Second
			})
		}
		for len(got) < 3*n {
			iterate(t, el)
		}
		for i, v := range got {
			if v != i%n {
				t.Fatalf("call %d is of event %d", i, v)
			}
		}
	})
}

// TestTimersAgreeWithAModel runs random programs against a sorted slice.
// pitfall 7: libevent 8b7a3b36, libuv e002340e5
func TestTimersAgreeWithAModel(t *testing.T) {
	for seed := range uint64(300) {
		seq := uint32(0)
		if seed%3 == 0 {
			seq = math.MaxUint32 - uint32(seed) // so that renumber runs too
		}
		checkTimers(t, rand.New(rand.NewPCG(seed, 1)), seq, func() bool { return false })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzTimers is the same with programs that a fuzzer makes.
func FuzzTimers(f *testing.F) {
	f.Add([]byte("0123456789 create, delete and run some of them"), false)
	f.Add([]byte("\x00\x03\x05\x00\x02\x09\x07\x07\x04\x01\x00\x02\x07\x00\x00\x00\x00\x00\x00\x09\x02\x02\x01\x01\x05"), true)
	f.Fuzz(func(t *testing.T, code []byte, wrap bool) {
		p, seq := testutil.NewProgram(code[:min(len(code), 2000)]), uint32(0)
		if wrap {
			seq = math.MaxUint32 - 3
		}
		checkTimers(t, p, seq, p.Ended)
	})
}

// checkTimers runs a program of at most 200 steps. seq is where the numbers that
// keep equal deadlines in order begin.
func checkTimers(t *testing.T, choices chooser, seq uint32, ended func() bool) {
	virtually(t, func(t *testing.T, el *EventLoop, _ *sleeper) {
		m := &timerModel{t: t, el: el, rng: choices, live: map[TimeEventID]*modelEvent{}}
		el.timers.seq = seq
		for n := 0; n < 200 && !ended(); n++ {
			m.step()
			checkHeap(t, &el.timers)
		}
		m.drain()
	})
}

// chooser is what a random program draws from.
type chooser interface{ IntN(n int) int }

type modelEvent struct {
	when time.Duration
	seq  int
	runs int // how often it still re-arms itself
}

// timerModel mirrors each operation on the loop in a map, and knows of each call
// whether it was due and whether it was its turn.
type timerModel struct {
	t     *testing.T
	el    *EventLoop
	rng   chooser
	live  map[TimeEventID]*modelEvent
	dead  []TimeEventID
	seq   int
	pass  time.Duration // the clock when the pass under way began
	inRun bool
}

func (m *timerModel) step() {
	switch m.rng.IntN(10) {
	case 0, 1, 2, 3:
		m.create()
	case 4, 5:
		m.delete()
	case 6:
		m.deleteDead()
	default:
		if len(m.live) > 0 {
			m.iterate()
		}
	}
}

func (m *timerModel) iterate() {
	m.inRun = true
	iterate(m.t, m.el)
	m.inRun = false
	for id, e := range m.live {
		if e.when <= m.pass {
			m.t.Errorf("event %#x was due at %v and did not run in the pass at %v", uint64(id), e.when, m.pass)
		}
	}
}

func (m *timerModel) arm(e *modelEvent, d time.Duration) {
	e.when = max(m.el.now()+max(d, 0), m.el.timers.floor)
	m.seq++
	e.seq = m.seq
}

func (m *timerModel) create() {
	e := &modelEvent{runs: m.rng.IntN(4)}
	d := time.Duration(m.rng.IntN(20)-2) * time.Millisecond
	m.arm(e, d)
	id := m.el.CreateTimeEvent(d, m.proc)
	if m.live[id] != nil || id == 0 {
		m.t.Errorf("id %#x given twice", uint64(id))
	}
	m.live[id] = e
}

func (m *timerModel) delete() {
	ids := make([]TimeEventID, 0, len(m.live))
	for id := range m.live {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	id := ids[m.rng.IntN(len(ids))]
	if !m.el.DeleteTimeEvent(id) {
		m.t.Errorf("live event %#x could not be deleted", uint64(id))
	}
	m.kill(id)
}

func (m *timerModel) kill(id TimeEventID) {
	delete(m.live, id)
	m.dead = append(m.dead, id)
}

func (m *timerModel) deleteDead() {
	if len(m.dead) > 0 && m.el.DeleteTimeEvent(m.dead[m.rng.IntN(len(m.dead))]) {
		m.t.Error("an event was deleted twice")
	}
}

func (m *timerModel) proc(el *EventLoop, id TimeEventID) time.Duration {
	e := m.live[id]
	if e == nil {
		m.t.Errorf("dead event %#x ran", uint64(id))
		return NoMore
	}
	m.pass = el.timers.floor - 1
	if e.when > m.pass {
		m.t.Errorf("event %#x, due at %v, ran in the pass at %v", uint64(id), e.when, m.pass)
	}
	for other, o := range m.live {
		if o.when < e.when || o.when == e.when && o.seq < e.seq {
			m.t.Errorf("event %#x ran before %#x", uint64(id), uint64(other))
		}
	}

	e.when, e.seq = math.MaxInt64, math.MaxInt // it is running: nobody comes after it
	for range m.rng.IntN(3) {
		switch m.rng.IntN(4) {
		case 0:
			m.create()
		case 1, 2:
			m.delete()
		case 3:
			time.Sleep(time.Duration(m.rng.IntN(3)) * time.Millisecond)
		}
		checkHeap(m.t, &el.timers)
	}
	if m.live[id] == nil {
		return 0 // it deleted itself: what it returns must not matter
	}
	if e.runs--; e.runs < 0 {
		m.kill(id)
		return NoMore
	}
	d := time.Duration(m.rng.IntN(5)) * time.Millisecond
	m.arm(e, d)
	return d
}

func (m *timerModel) drain() {
	for len(m.live) > 0 {
		m.iterate()
	}
	if n := len(m.el.timers.heap); n != 0 {
		m.t.Errorf("%d entries left in the heap", n)
	}
}

// checkHeap checks the heap's order and that slots and entries point to each other.
func checkHeap(t *testing.T, tm *timers) {
	t.Helper()
	for i, e := range tm.heap {
		if i > 0 && e.before(tm.heap[(i-1)/4]) {
			t.Fatalf("entry %d comes before its parent", i)
		}
		if tm.slots[e.slot].pos != int32(i) || tm.slots[e.slot].proc == nil {
			t.Fatalf("entry %d is in slot %d, which says %d", i, e.slot, tm.slots[e.slot].pos)
		}
	}
}

func TestASlotRetiresWithItsLastGeneration(t *testing.T) {
	virtually(t, func(t *testing.T, el *EventLoop, _ *sleeper) {
		nop := func(*EventLoop, TimeEventID) time.Duration { return NoMore }
		el.DeleteTimeEvent(el.CreateTimeEvent(0, nop))
		el.timers.slots[0].gen = math.MaxUint32
		last := el.CreateTimeEvent(0, nop)
		if !el.DeleteTimeEvent(last) || el.DeleteTimeEvent(last) {
			t.Error("the last generation is deleted exactly once")
		}
		if next := el.CreateTimeEvent(0, nop); uint32(next) == uint32(last) {
			t.Errorf("slot %d is used again after id %#x: the next id would be an old one", uint32(last), uint64(last))
		}
	})
}
