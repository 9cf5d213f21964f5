package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// check fails if the parts of the db contradict each other.
func (d *DB) check(t testing.TB) {
	t.Helper()
	inUse := make(map[Ref]bool)
	d.checkIndex(t, inUse)

	live, total, bigBytes := 0, 0, 0
	for number, c := range d.chunks {
		total += len(c.mem)
		live += c.live
		sum := 0
		for at := 0; at < c.used; {
			r := d.record(Ref(number)<<32 | Ref(at))
			if r.tag() != freed {
				sum += r.size()
				if !inUse[Ref(number)<<32|Ref(at)] {
					t.Fatalf("record %q is not in the index", r.key())
				}
			}
			at += r.size()
		}
		if sum != c.live {
			t.Fatalf("chunk %d: %d bytes live, want %d", number, c.live, sum)
		}
	}
	for _, value := range d.big {
		bigBytes += cap(value)
	}
	if live != d.live || total != d.total || bigBytes != d.bigBytes {
		t.Fatalf("live %d, total %d, big %d; want %d, %d, %d", d.live, d.total, d.bigBytes, live, total, bigBytes)
	}

	for i := range d.expiring {
		if got := d.record(d.expiryAt(uint32(i) + 1).at).expiry(); got != uint32(i)+1 {
			t.Fatalf("expiry entry %d: its record has %d", i+1, got)
		}
	}
}

func (d *DB) checkIndex(t testing.TB, inUse map[Ref]bool) {
	t.Helper()
	expiring := 0
	for b := range d.buckets {
		for at := *d.slot(b); at != 0; {
			r := d.record(at)
			if r.tag() == freed {
				t.Fatalf("bucket %d leads to a freed record", b)
			}
			if got := d.bucket(d.hash(r.key())); got != b {
				t.Fatalf("%q is in bucket %d, want %d", r.key(), b, got)
			}
			if r.expiry() != 0 {
				expiring++
			}
			inUse[at] = true
			at = r.next()
		}
	}
	for _, page := range d.pages {
		for i := range page {
			if page[i] != 0 && inUse[page[i]] == false {
				t.Fatal("a slot behind the last bucket is in use")
			}
		}
	}
	if len(inUse) != d.count || expiring != d.expiring {
		t.Fatalf("%d keys, %d of them expiring; want %d, %d", len(inUse), expiring, d.count, d.expiring)
	}
	if d.buckets > d.mask+1 || d.buckets <= d.mask>>1 {
		t.Fatalf("mask %d does not go with %d buckets", d.mask, d.buckets)
	}
}

// A model does what db does, in the plainest way.
type model struct {
	values map[string][]byte
	times  map[string]int64
}

func (m *model) expireAll(now int64) {
	for key, when := range m.times {
		if now > when {
			delete(m.times, key)
			delete(m.values, key)
		}
	}
}

func (m *model) set(key string, value []byte, when int64) {
	m.values[key] = bytes.Clone(value)
	if when > 0 {
		m.times[key] = when
	} else if when == 0 {
		delete(m.times, key)
	}
}

func TestDBDoesWhatAMapDoes(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { compareWithModel(t, seed) })
	}
}

func compareWithModel(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	d := New()
	d.Now = 1000
	m := model{make(map[string][]byte), make(map[string]int64)}
	keys := 100 << (seed % 5)
	lengths := []int{0, 1, 5, 30, 100, 1000, 10_000, big - 1, big, 50_000}

	for step := range 20_000 {
		key := "key:" + strconv.Itoa(rnd.IntN(keys))
		switch op := rnd.IntN(100); {
		case op < 8:
			to := "key:" + strconv.Itoa(rnd.IntN(keys))
			value, want := m.values[key]
			if got := d.Rename([]byte(key), []byte(to)); got != want {
				t.Fatalf("step %d: Rename = %v, want %v", step, got, want)
			}
			if want && key != to {
				m.set(to, value, m.times[key])
				delete(m.values, key)
				delete(m.times, key)
			}
			compareKey(t, d, &m, to)
		case op < 16:
			value := bytes.Clone(m.values[key])
			offset, part := rnd.IntN(1+2*len(value)), bytes.Repeat([]byte{byte(rnd.IntN(256))}, lengths[rnd.IntN(len(lengths))])
			value = append(value, make([]byte, max(0, offset+len(part)-len(value)))...)
			copy(value[offset:], part)
			m.set(key, value, KeepTTL)
			if n := d.Patch([]byte(key), offset, part); n != len(value) {
				t.Fatalf("step %d: Patch = %d, want %d", step, n, len(value))
			}
		case op < 50:
			value := bytes.Repeat([]byte{byte(rnd.IntN(256))}, lengths[rnd.IntN(len(lengths))])
			when := []int64{0, KeepTTL, d.Now + rnd.Int64N(500)}[rnd.IntN(3)]
			m.set(key, value, when)
			if rnd.IntN(2) == 0 {
				d.Set([]byte(key), Own(value), when)
			} else {
				d.Set([]byte(key), Copy(value), when)
				clear(value)
			}
		case op < 75:
			_, want := m.values[key]
			if got := d.Delete([]byte(key)); got != want {
				t.Fatalf("step %d: del = %v, want %v", step, got, want)
			}
			delete(m.values, key)
			delete(m.times, key)
		case op < 85:
			when := d.Now + rnd.Int64N(500)
			if rnd.IntN(3) == 0 {
				when = 0
			}
			_, want := m.values[key]
			if got := d.Expire([]byte(key), when); got != want {
				t.Fatalf("step %d: expire = %v, want %v", step, got, want)
			}
			if want && when > 0 {
				m.times[key] = when
			} else {
				delete(m.times, key)
			}
		case op < 95:
			d.Now += rnd.Int64N(20)
			m.expireAll(d.Now)
		case op == 95 && rnd.IntN(50) == 0:
			d.Flush()
			clear(m.values)
			clear(m.times)
		default:
			for before := int64(-1); before != d.Expired; {
				before = d.Expired
				d.Sweep()
			}
			if d.count != len(m.values) {
				t.Fatalf("step %d: %d keys after a sweep, want %d", step, d.count, len(m.values))
			}
		}
		compareKey(t, d, &m, key)
		if step%1000 == 0 {
			d.check(t)
		}
	}

	for i := range keys {
		compareKey(t, d, &m, "key:"+strconv.Itoa(i))
	}
	d.check(t)
}

func compareKey(t *testing.T, d *DB, m *model, key string) {
	t.Helper()
	want, exists := m.values[key]
	got, ok := d.Get([]byte(key))
	if ok != exists || !bytes.Equal(got, want) {
		t.Fatalf("%s: got %d bytes, %v; want %d, %v", key, len(got), ok, len(want), exists)
	}
	if when, ok := d.Expiry([]byte(key)); ok != exists || when != m.times[key] {
		t.Fatalf("%s expires at %d, want %d", key, when, m.times[key])
	}
}

func TestTheIndexGrowsAndShrinksOneBucketAtATime(t *testing.T) {
	const n = 100_000
	d := New()
	for i := range n {
		before := d.buckets
		d.Set(fmt.Appendf(nil, "key:%d", i), Copy([]byte("v")), 0)
		if d.buckets > before+1 {
			t.Fatalf("%d buckets were added at once", d.buckets-before)
		}
	}
	if d.buckets != n {
		t.Errorf("%d buckets for %d keys", d.buckets, n)
	}
	d.check(t)

	for i := range n {
		d.Delete(fmt.Appendf(nil, "key:%d", i))
		if i%10_000 == 0 {
			d.check(t)
		}
	}
	if d.buckets != minBuckets || d.live != 0 || d.total > 3*chunkSize {
		t.Errorf("the empty db has %d buckets, %d bytes live, %d in all", d.buckets, d.live, d.total)
	}
	d.check(t)
}

func TestCompactionBoundsTheHoles(t *testing.T) {
	const n = 50_000
	rnd := rand.New(rand.NewPCG(3, 4))
	d := New()
	value := bytes.Repeat([]byte{'v'}, 500)
	for i := range 20 * n {
		d.Set(fmt.Appendf(nil, "key:%d", rnd.IntN(n)), Copy(value[:1+rnd.IntN(500)]), 0)
		if allowed := d.live*3/2 + 5*chunkSize; d.total > allowed {
			t.Fatalf("after %d changes %d bytes are held for %d live ones", i, d.total, d.live)
		}
	}
	d.check(t)
}

func TestAValueThatFitsStaysInItsPlace(t *testing.T) {
	d := New()
	key := []byte("key")
	d.Set(key, Copy([]byte("0123456789")), 0)
	used := d.live
	for _, value := range []string{"9876543210", "short", "", "0123456789"} {
		d.Set(key, Copy([]byte(value)), 0)
		if d.live != used || d.chunks[d.current].used != used {
			t.Errorf("%q went to another place", value)
		}
	}
}

func TestABigValueIsKeptIfItIsGivenAway(t *testing.T) {
	d := New()
	value := make([]byte, big)
	d.Set([]byte("key"), Own(value), 0)
	got, _ := d.Get([]byte("key"))
	if &got[0] != &value[0] {
		t.Error("the value was copied")
	}
	d.Set([]byte("key"), Copy(value), 0)
	if got, _ = d.Get([]byte("key")); &got[0] == &value[0] {
		t.Error("the value was not copied")
	}

	d.Set([]byte("key"), Copy([]byte("small")), 0)
	if d.bigBytes != 0 {
		t.Errorf("%d bytes of big values after the only one was replaced", d.bigBytes)
	}
}

func TestAKeyLargerThanAChunkIsStoredAndGivenBack(t *testing.T) {
	d := New()
	for i := range 5 {
		key := bytes.Repeat([]byte{byte(i)}, 2*chunkSize)
		d.Set(key, Copy([]byte("value")), 0)
		d.check(t)
		if value, ok := d.Get(key); !ok || string(value) != "value" {
			t.Fatal("the key was not found")
		}
		d.Delete(key)
		d.check(t)
	}
	if d.total > 2*chunkSize {
		t.Errorf("%d bytes are held for nothing", d.total)
	}
}

// The chunk that new records go to is kept when its last record goes, to be filled
// again; a key too large for it must not leave it behind.
func TestAnEmptyChunkIsNotLeftBehind(t *testing.T) {
	d := New()
	long := bytes.Repeat([]byte{'k'}, 2*chunkSize)
	for range 10 {
		for _, key := range [][]byte{[]byte("key"), long} {
			d.Set(key, Copy([]byte("value")), 0)
			d.Delete(key)
			d.check(t)
		}
		if d.total != 0 {
			t.Fatalf("%d bytes are held for nothing", d.total)
		}
	}
}

func TestAKeyLivesThroughItsLastMillisecond(t *testing.T) {
	d := New()
	d.Now = 1000
	d.Set([]byte("key"), Copy([]byte("value")), 1100)
	d.Now = 1100
	if !d.Exists([]byte("key")) {
		t.Error("gone too early")
	}
	d.Now = 1101
	if d.Exists([]byte("key")) || d.count != 0 || d.Expired != 1 {
		t.Error("not removed when asked for after its time")
	}
}

func TestSweepRemovesAFewAtATimeAndAllInTheEnd(t *testing.T) {
	const n = 10_000
	d := New()
	for i := range n {
		d.Set(fmt.Appendf(nil, "key:%d", i), Copy([]byte("v")), 1+int64(i%2)*1000)
	}
	d.Now = 500

	rounds := 0
	for d.Sweep() {
		if rounds++; rounds > n {
			t.Fatal("the sweep does not end")
		}
	}
	if d.count != n/2 || rounds < 4 {
		t.Errorf("%d keys are left after %d rounds", d.count, rounds)
	}
	d.check(t)
}

func BenchmarkSetNewKey(b *testing.B) {
	d := New()
	key, value := make([]byte, 0, 32), []byte("xxx")
	for i := range b.N {
		key = strconv.AppendInt(append(key[:0], "key:"...), int64(i)+1e12, 10)
		d.Set(key, Copy(value), 0)
	}
	b.ReportMetric(float64(d.Memory())/float64(b.N), "B/key")
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			d := New()
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "key:%012d", i)
				d.Set(keys[i], Copy([]byte("xxx")), 0)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			b.ResetTimer()
			for range b.N {
				if _, ok := d.Get(keys[rnd.IntN(n)]); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}
