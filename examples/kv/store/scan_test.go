package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func key(i int) []byte { return fmt.Appendf(nil, "key:%d", i) }

// A scan returns what is there from its beginning to its end exactly once, while
// the table grows and shrinks by any number of buckets between two calls.
func TestAScanReturnsEachKeyOnceWhateverHappensToTheTable(t *testing.T) {
	const stay = 1000
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d := New()
		for i := range stay {
			d.Set(key(i), Copy(nil), 0)
		}
		others, sizes := 0, []int{0, 1, 30, 100, 3000, 20_000}
		resize := func() {
			for target := sizes[rnd.IntN(len(sizes))] + rnd.IntN(50); others != target; {
				if others < target {
					d.Set(key(stay+others), Copy(nil), 0)
					others++
				} else {
					others--
					d.Delete(key(stay + others))
				}
			}
		}

		resize()
		seen := make(map[string]int)
		calls := 0
		for cursor := uint64(0); ; {
			next, refs := d.Scan(cursor, 1+rnd.IntN(200))
			for _, at := range refs {
				seen[string(d.Key(at))]++
			}
			if cursor = next; cursor == 0 {
				break
			}
			if calls++; rnd.IntN(3) == 0 && calls < 100 {
				resize()
			}
		}
		for i := range stay {
			if n := seen[string(key(i))]; n != 1 {
				t.Fatalf("seed %d: %s was returned %d times", seed, key(i), n)
			}
		}
	}
}

func TestAScanVisitsEveryBucketOfATableOfAnySize(t *testing.T) {
	d := New()
	for n := range 1000 {
		d.Set(key(n), Copy(nil), 0)
		seen := 0
		for cursor := uint64(0); ; {
			next, refs := d.Scan(cursor, 7)
			seen += len(refs)
			if cursor = next; cursor == 0 {
				break
			}
		}
		if seen != n+1 || len(d.All()) != n+1 {
			t.Fatalf("%d of %d keys were seen, and %d of all", seen, n+1, len(d.All()))
		}
	}
}

func TestRandomKeyReturnsEveryKeySometime(t *testing.T) {
	const n = 100
	d := New()
	for i := range n {
		d.Set(key(i), Copy(nil), 0)
	}
	seen := make(map[string]bool)
	for tries := 0; len(seen) < n; tries++ {
		if tries > 1000*n {
			t.Fatalf("only %d of %d keys in %d tries", len(seen), n, tries)
		}
		got, _ := d.Random()
		seen[string(got)] = true
	}
}
