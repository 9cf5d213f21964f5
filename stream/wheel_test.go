package stream

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aeloop/ae"
)

// The wheel against a sorted list: nobody is found early, or later than a slot of
// the first ring after it was due and the wheel was looked at.
func TestWheelAgainstAList(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var w wheel
		now := rng.Int64N(int64(time.Hour))
		w.now = now
		due := map[*Conn]int64{}
		conns := make([]*Conn, 60)
		for i := range conns {
			conns[i] = &Conn{slot: unplaced}
		}
		spans := []time.Duration{0, 20 * time.Millisecond, time.Second, 2 * time.Second, time.Minute, 70 * time.Second, 3 * time.Hour}
		for range 3000 {
			c := conns[rng.IntN(len(conns))]
			switch rng.IntN(4) {
			case 0, 1:
				span := spans[rng.IntN(len(spans))]
				due[c] = now + rng.Int64N(int64(span)+1) - 1000
				w.place(c, due[c])
			case 2:
				w.remove(c)
				delete(due, c)
			default:
				// The alarm rings at its time, or late.
				at, ok := w.next()
				if ok != (len(due) > 0) {
					t.Fatalf("seed %d: next says %v with %d in the wheel", seed, ok, len(due))
				}
				if !ok {
					now += rng.Int64N(int64(time.Minute))
					w.advance(now, nil)
					continue
				}
				now = max(now, at)
				if rng.IntN(3) == 0 {
					now += rng.Int64N(int64(spans[rng.IntN(len(spans))]) + 1)
				}
				w.advance(now, func(c *Conn) {
					if due[c] > now {
						w.place(c, due[c]) // put off
						return
					}
					delete(due, c)
				})
			}
			for c, d := range due {
				if now-d > 1<<fine {
					t.Fatalf("seed %d: one is not found though it was due %v ago", seed, time.Duration(now-d))
				}
				if c.slot == unplaced {
					t.Fatalf("seed %d: one is lost", seed)
				}
			}
			if at, ok := w.next(); ok && len(due) > 0 {
				first := slices.Min(slices.Collect(values(due)))
				if at > max(first, now)+1<<fine {
					t.Fatalf("seed %d: the alarm is %v late", seed, time.Duration(at-first))
				}
			}
		}
	}
}

func values(m map[*Conn]int64) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// Idle of a minute on 100,000 connections that are active each second costs fewer
// than 2,000 looks a second.
func TestWheelLooks(t *testing.T) {
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
