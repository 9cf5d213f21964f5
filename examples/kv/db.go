package main

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// A db maps keys to strings, some of which expire.
//
// A Go map of strings to slices holds several pointers for each key, and the
// garbage collector would follow all of them again and again. Here a key is a
// record: a few words of header, the key and its value, one behind the other in
// a chunk of memory that also holds thousands of its neighbours, and in which
// nothing is a pointer. A record is named by where it stands, its ref. Five
// million small keys are less than a thousand slices to the collector.
//
// Three things are built of refs:
//
//   - The index, a hash table with chaining: a slot holds the ref of the first
//     record, each record that of the next. It grows by linear hashing, one
//     bucket at a time: when there are more keys than buckets, the next bucket in
//     line is split in two. So there is never a second table, nor a moment when
//     everything moves.
//   - The expiry table: an entry for each key that expires, in no order. Keys that
//     do not expire pay four bytes for it.
//   - Compaction. Records are only ever appended to the newest chunk. Deleted ones,
//     and those that outgrew their place, leave holes. When holes make up a third
//     of the memory, each change also moves a few live records out of the chunk
//     with the most holes, until that chunk is empty and given back.
//
// Every step is small, so that the slowest change costs microseconds however
// large the db is. Values of BigArg bytes and more stand in slices of their own,
// to be neither copied on the way in nor moved.
type db struct {
	// now is the time in milliseconds since 1970, as the caller says: a key
	// that expires does not change its mind in the middle of a command.
	now int64

	seed    maphash.Seed // random, so that nobody can prepare keys that collide
	pages   [][]ref      // the slots of the index, in pages of pageSlots
	buckets uint64       // how many slots are in use
	mask    uint64       // one less than the power of two that is not below buckets
	count   int          // keys

	chunks  []chunk // chunks[0] is not used: ref 0 means none
	vacant  []int   // numbers of chunks that were given back
	current int     // the chunk that new records go to
	total   int     // bytes in all chunks
	live    int     // bytes in records that are in use
	victim  int     // the chunk being emptied, or 0
	emptied int     // how far

	expires  [][]expiry // in pages of pageExpiries
	expiring int        // how many are in use
	swept    int        // where the sweep goes on

	big      [][]byte // values that do not stand in their record
	bigFree  []uint32 // numbers in big that are not in use
	bigBytes int
	most     int // bytes of values at some time, see server.returnMemory

	log   *aof // is told what changes, if there is one
	index int  // which of the dbs this is

	changes int64 // to the data, ever
	expired int64 // keys removed because their time had come, ever
}

const (
	chunkSize    = 1 << 20
	pageSlots    = 1 << 13
	pageExpiries = 1 << 12
	minBuckets   = 64
)

// keepTTL, as the expiry time given to set, leaves it as it is.
const keepTTL = -1

func newDB() *db {
	return &db{
		seed:    maphash.MakeSeed(),
		pages:   [][]ref{make([]ref, minBuckets)},
		buckets: minBuckets,
		mask:    minBuckets - 1,
		chunks:  make([]chunk, 1),
	}
}

// get returns the value of key. It is to be read before the next change to the db.
func (d *db) get(key []byte) (value []byte, ok bool) {
	return d.valueAt(d.seek(key))
}

func (d *db) valueAt(p position) (value []byte, ok bool) {
	if p.at == 0 {
		return nil, false
	}
	return d.value(d.record(p.at)), true
}

// exists reports whether there is a key.
func (d *db) exists(key []byte) bool {
	return d.seek(key).at != 0
}

// set gives key a value, and an expiry time: milliseconds since 1970, or 0 for
// never, or keepTTL. A value of BigArg bytes or more is the db's from then on.
func (d *db) set(key, value []byte, when int64) { d.setAt(d.seek(key), key, value, when) }

// setAt is set for who has looked for the key already, and changed nothing since.
func (d *db) setAt(p position, key, value []byte, when int64) {
	if d.log != nil {
		d.log.set(d, key, value, when)
	}

	at := p.at
	size := recordSize(len(key), len(value))
	if at == 0 || !d.fits(at, size) {
		at = d.place(p.hash, p.prev, at, key, size)
	}
	d.store(at, value)
	if when != keepTTL {
		d.setExpiry(at, when)
	}

	d.changes++
	d.compact(size)
}

// del removes key, and reports whether it was there.
func (d *db) del(key []byte) bool {
	p := d.seek(key)
	if p.at == 0 {
		return false
	}
	if d.log != nil {
		d.log.del(d, key)
	}
	d.remove(p.hash, p.prev, p.at)
	d.changes++
	return true
}

// expire sets the time at which key expires, 0 for never. It returns false if
// there is no such key.
func (d *db) expire(key []byte, when int64) bool {
	at := d.seek(key).at
	if at == 0 {
		return false
	}
	if d.log != nil {
		d.log.expire(d, key, when)
	}
	d.setExpiry(at, when)
	d.changes++
	return true
}

// expiry returns the time at which key expires, 0 for never.
func (d *db) expiry(key []byte) (when int64, ok bool) {
	at := d.seek(key).at
	if at == 0 {
		return 0, false
	}
	if i := d.record(at).expiry(); i != 0 {
		when = d.expiryAt(i).when
	}
	return when, true
}

// flush removes all keys.
func (d *db) flush() {
	fresh := newDB()
	fresh.now = d.now
	fresh.changes = d.changes + int64(d.count)
	fresh.expired = d.expired
	fresh.most = d.most
	fresh.log, fresh.index = d.log, d.index
	if d.log != nil && d.count > 0 {
		d.log.flush(d)
	}
	*d = *fresh
}

// each calls fn for every key, those whose time has come included. Neither may be
// changed or kept.
func (d *db) each(fn func(key, value []byte, when int64)) {
	for _, c := range d.chunks {
		for r := record(c.mem[:c.used]); len(r) > 0; r = r[r.size():] {
			if r.tag() == freed {
				continue
			}
			when := int64(0)
			if i := r.expiry(); i != 0 {
				when = d.expiryAt(i).when
			}
			fn(r.key(), d.value(r), when)
		}
	}
}

// used returns the number of bytes that the keys need.
func (d *db) used() int { return d.live + d.bigBytes + 8*int(d.buckets) + 16*d.expiring }

// values returns the number of bytes that the keys and values have, and the holes.
func (d *db) values() int { return d.total + d.bigBytes }

// memory returns the number of bytes that the db holds.
func (d *db) memory() int {
	return d.values() + 8*len(d.pages)*len(d.pages[0]) + 16*pageExpiries*len(d.expires)
}

// sweep removes keys whose time has come, looking at a limited number of those
// that expire; the next call goes on from there. It reports whether it found so
// many that it should be called again soon.
func (d *db) sweep() (more bool) {
	const looks, removals = 50_000, 1000

	removed := 0
	for range min(looks, d.expiring) {
		if d.swept >= d.expiring {
			d.swept = 0
		}
		e := *d.expiryAt(uint32(d.swept) + 1)
		if d.now <= e.when {
			d.swept++
			continue
		}

		// The last entry takes the place of this one, so swept stays.
		key := d.record(e.at).key()
		h := d.hash(key)
		prev, at := d.find(h, key)
		d.removeExpired(h, prev, at)
		if removed++; removed == removals {
			return true
		}
	}
	return false
}

// The index.

func (d *db) hash(key []byte) uint64 { return maphash.Bytes(d.seed, key) }

// bucket returns the number of the bucket that a hash belongs to: as many of its
// low bits as there are buckets for, and one less if that bucket is not split yet.
func (d *db) bucket(h uint64) uint64 {
	b := h & d.mask
	if b >= d.buckets {
		b &= d.mask >> 1
	}
	return b
}

func (d *db) slot(bucket uint64) *ref {
	return &d.pages[bucket/pageSlots][bucket%pageSlots]
}

// A position is where a key is in the index, until the next change: its hash, its
// record, or 0 if there is no such key, and the one before it in the same bucket.
type position struct {
	hash     uint64
	prev, at ref
}

// seek looks for key. One whose time has come is removed and not found.
func (d *db) seek(key []byte) position {
	h := d.hash(key)
	prev, at := d.find(h, key)
	if at != 0 && d.isExpired(d.record(at)) {
		d.removeExpired(h, prev, at)
		prev, at = 0, 0
	}
	return position{h, prev, at}
}

// find returns the record of key, and the one before it in the same bucket.
func (d *db) find(h uint64, key []byte) (prev, at ref) {
	for at = *d.slot(d.bucket(h)); at != 0; {
		r := d.record(at)
		if string(r.key()) == string(key) {
			return prev, at
		}
		prev, at = at, r.next()
	}
	return 0, 0
}

// isExpired reports whether the time of a record has come.
func (d *db) isExpired(r record) bool {
	i := r.expiry()
	return i != 0 && d.now > d.expiryAt(i).when
}

// all returns the records of all keys, also of those whose time has come.
func (d *db) all() []ref {
	refs := make([]ref, 0, d.count)
	for b := range d.buckets {
		refs = d.chain(b, refs)
	}
	return refs
}

// chain appends the records of a bucket to refs.
func (d *db) chain(bucket uint64, refs []ref) []ref {
	for at := *d.slot(bucket); at != 0; at = d.record(at).next() {
		refs = append(refs, at)
	}
	return refs
}

// scan returns records from a cursor on, a bucket more than would make count, and
// the cursor of what follows, or 0 at the end.
//
// A scan from 0 to 0 returns each key that is there all the time exactly once,
// however many buckets are split or merged between the calls. For that it goes
// through the keys in an order that does not depend on the buckets: by their
// hashes with the bits reversed, the lowest first. A bucket holds the hashes that
// agree in their lowest bits, which are one contiguous range in this order, and
// a split only cuts the range in two. The cursor says where in the order the scan
// has come to, wherever that is in today's buckets. It is the hash itself, not
// reversed, and so a small number. (Redis's dictScan is the same idea.)
func (d *db) scan(cursor uint64, count int) (next uint64, refs []ref) {
	for looks := 10 * count; looks > 0 && len(refs) < count; looks-- {
		bucket, bits := d.bucket(cursor), bits.Len64(d.mask)
		if low := cursor & (d.mask >> 1); low+d.mask>>1+1 >= d.buckets {
			bits-- // that bucket is not split yet
		}

		begin := len(refs)
		refs = d.chain(bucket, refs)
		refs = append(refs[:begin], d.notBefore(cursor, refs[begin:])...)

		cursor = after(cursor, bits)
		if cursor == 0 {
			break
		}
	}
	return cursor, refs
}

// notBefore keeps those of the records that a scan has not come to yet. In a
// bucket that was merged meanwhile there are others.
func (d *db) notBefore(cursor uint64, refs []ref) []ref {
	if cursor == 0 {
		return refs
	}
	return slices.DeleteFunc(refs, func(at ref) bool {
		return bits.Reverse64(d.hash(d.record(at).key())) < bits.Reverse64(cursor)
	})
}

// after returns the first hash behind those that agree with h in its lowest n
// bits: h without the others, reversed, plus one.
func after(h uint64, n int) uint64 {
	size := uint64(1) << (64 - n)
	return bits.Reverse64((bits.Reverse64(h) &^ (size - 1)) + size)
}

// random returns some record, or 0 if there is none. It takes one of a random
// bucket, so those that share a bucket are less likely.
func (d *db) random() ref {
	for d.count > 0 {
		refs := d.chain(rand.Uint64N(d.buckets), nil)
		if len(refs) == 0 {
			continue
		}
		at := refs[rand.IntN(len(refs))]
		if r := d.record(at); !d.isExpired(r) || d.exists(r.key()) {
			return at
		}
	}
	return 0
}

// link makes what follows prev in the bucket of h, or begins it, be at.
func (d *db) link(h uint64, prev, at ref) {
	if prev == 0 {
		*d.slot(d.bucket(h)) = at
	} else {
		d.record(prev).setNext(at)
	}
}

// place makes room for a record of key, new if old is 0, and otherwise in old's
// place in the index.
func (d *db) place(h uint64, prev, old ref, key []byte, size int) ref {
	at := d.alloc(size)
	r := d.record(at)
	r.init(size, key)

	if old != 0 {
		r.setNext(d.record(old).next())
		d.link(h, prev, at)
		d.moveExpiry(old, at)
		d.free(old)
		return at
	}

	head := d.slot(d.bucket(h))
	r.setNext(*head)
	*head = at
	d.count++
	if uint64(d.count) > d.buckets {
		d.split()
	}
	return at
}

// remove takes a record out of everything.
func (d *db) remove(h uint64, prev, at ref) {
	r := d.record(at)
	size := r.size()
	d.link(h, prev, r.next())
	d.setExpiry(at, 0)
	d.free(at)

	// Buckets go away at half the number at which they came, two for each key,
	// as the number of keys allows for two buckets less.
	d.count--
	for range 2 {
		if d.buckets > minBuckets && uint64(d.count) < d.buckets/2 {
			d.merge()
		}
	}
	d.compact(size)
}

func (d *db) removeExpired(h uint64, prev, at ref) {
	if d.log != nil {
		d.log.del(d, d.record(at).key())
	}
	d.remove(h, prev, at)
	d.expired++
	d.changes++
}

// split adds a bucket, and moves to it the records that belong there. They all
// are in the one bucket whose number differs in the highest bit.
func (d *db) split() {
	added := d.buckets
	d.buckets++
	if added > d.mask {
		d.mask = d.mask<<1 | 1
	}
	if added/pageSlots == uint64(len(d.pages)) {
		d.pages = append(d.pages, make([]ref, pageSlots))
	} else if len(d.pages) == 1 && added == uint64(len(d.pages[0])) {
		d.pages[0] = append(d.pages[0], make([]ref, added)...)
	}

	var stay, move ref
	at := *d.slot(added & (d.mask >> 1))
	for at != 0 {
		r := d.record(at)
		next := r.next()
		if d.hash(r.key())&d.mask == added {
			r.setNext(move)
			move = at
		} else {
			r.setNext(stay)
			stay = at
		}
		at = next
	}
	*d.slot(added & (d.mask >> 1)) = stay
	*d.slot(added) = move
}

// merge takes the last bucket away, and moves its records to where they were
// before it came.
func (d *db) merge() {
	last := d.buckets - 1
	at := *d.slot(last)
	*d.slot(last) = 0
	d.buckets--

	into := d.slot(last & (d.mask >> 1))
	for at != 0 {
		r := d.record(at)
		next := r.next()
		r.setNext(*into)
		*into = at
		at = next
	}

	if d.buckets == d.mask>>1+1 {
		d.mask >>= 1
	}
	if pages := len(d.pages); pages > 1 && d.buckets <= uint64(pages-1)*pageSlots {
		d.pages[pages-1] = nil
		d.pages = d.pages[:pages-1]
	}
}
