package stream

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/testutil"
)

// The wheel against a list: nobody is lost, or found early, or later than a slot of
// the first ring after it was due and the wheel was looked at, and the alarm rings
// for the first. AE_LONG=1 makes it ten times as many.
func TestTheWheelAgreesWithAList(t *testing.T) {
	t.Parallel()
	seeds := uint64(40)
	if testutil.Long() {
		seeds *= 10
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 7))
		// Few, over any time, or many, over those that the rings begin and end with.
		conns, steps, begin := make([]*Conn, 60), 2000, int64(time.Hour)
		spans := []time.Duration{0, 20 * time.Millisecond, time.Second, 2 * time.Second, time.Minute, 70 * time.Second, 3 * time.Hour}
		span := func() int64 { return int64(spans[rng.IntN(len(spans))]) }
		if seed%2 == 1 {
			conns, steps, begin = conns[:20], 1500, 1<<40
			span = func() int64 { return 1 << (10 + rng.IntN(33)) }
		}
		for i := range conns {
			conns[i] = &Conn{slot: unplaced}
		}
		var w wheel
		now := rng.Int64N(begin)
		w.now = now
		due := map[*Conn]int64{}
		known := map[*Conn]int64{} // when it was due, or placed if that was later
		for range steps {
			c := conns[rng.IntN(len(conns))]
			looked := false
			switch rng.IntN(4) {
			case 0, 1:
				due[c] = now + rng.Int64N(span()+1) - 1000*rng.Int64N(2)
				known[c] = max(due[c], now)
				w.place(c, due[c])
			case 2:
				w.remove(c)
				delete(due, c)
			default:
				at, ok := w.next()
				if ok != (len(due) > 0) {
					t.Fatalf("seed %d: next says %v with %d in the wheel", seed, ok, len(due))
				}
				// The alarm rings at its time, or late, or another looks before it.
				if ok && rng.IntN(3) > 0 {
					now = max(now, at)
				}
				if !ok || rng.IntN(2) == 0 {
					now += rng.Int64N(span() + 1)
				}
				looked = true
				w.advance(now, func(c *Conn) {
					at, ok := due[c]
					switch {
					case !ok:
						t.Fatalf("seed %d: a look at one that is not in the wheel", seed)
					case at > now:
						w.place(c, at) // put off
					default:
						delete(due, c)
					}
				})
			}
			first := int64(math.MaxInt64)
			for c, d := range due {
				first = min(first, known[c])
				if now-d > 1<<fine {
					t.Fatalf("seed %d: one is not found though it was due %v ago", seed, time.Duration(now-d))
				}
				if c.slot == unplaced {
					t.Fatalf("seed %d: one is lost", seed)
				}
			}
			if len(due) == 0 {
				continue
			}
			if !looked {
				first = max(first, now)
			}
			if at, ok := w.next(); !ok || at > first+1<<fine {
				t.Fatalf("seed %d: the alarm is %v late (%v)", seed, time.Duration(at-first), ok)
			}
		}
	}
}

// Idle of a minute on 100,000 connections that are active each second costs fewer
// than 2,000 looks a second.
func TestWheelLooks(t *testing.T) {
	t.Parallel()
	const n, idle = 100_000, int64(time.Minute)
	rng := rand.New(rand.NewPCG(1, 1))
	var w wheel
	conns := make([]Conn, n)
	for i := range conns {
		conns[i].slot = unplaced
		w.place(&conns[i], rng.Int64N(idle))
	}
	looks, from := 0, int64(0)
	for now := int64(0); now < 5*idle; {
		at, ok := w.next()
		if !ok {
			t.Fatal("the wheel is empty")
		}
		now = at
		w.advance(now, func(c *Conn) {
			looks++
			w.place(c, now-rng.Int64N(int64(time.Second))+idle) // active within the last second
		})
		if from == 0 && now > idle {
			from, looks = now, 0
		}
	}
	perSecond := float64(looks) / (float64(5*idle-from) / float64(time.Second))
	t.Logf("%.0f looks a second", perSecond)
	if perSecond > 2000 {
		t.Errorf("%.0f looks a second", perSecond)
	}
}

func BenchmarkTouch(b *testing.B) {
	el, err := ae.New(100)
	if err != nil {
		b.Fatal(err)
	}
	defer el.Close()
	l := On(el)
	c := l.newConn(&Handler{Idle: time.Minute})
	for b.Loop() {
		c.touch()
	}
}
