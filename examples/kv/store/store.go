// Package store has the data of kv: strings under keys, some of which expire, in
// memory that the garbage collector does not notice.
package store

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// DB maps keys to strings, some of which expire.
//
// A Go map of strings to slices holds several pointers for each key, and the
// garbage collector would follow all of them again and again. Here a key is a
// record: a few words of header, the key and its value, one behind the other in
// a chunk of memory that also holds thousands of its neighbours, and in which
// nothing is a pointer. A record is named by where it stands, its Ref. Five
// million small keys are less than a thousand slices to the collector.
//
// Three things are built of refs:
//
//   - The index, a hash table with chaining: a slot holds the Ref of the first
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
// large the db is. Long values stand in slices of their own, which are never
// moved, nor copied on the way in if they come with their buffer: see Own.
type DB struct {
	// Now is the time in milliseconds since 1970, as the caller says: a key
	// that expires does not change its mind in the middle of a command.
	Now int64

	Index   int   // which of several DBs this is, for whoever has several
	Log     Log   // is told what changes, if there is one
	Expired int64 // keys removed because their time had come

	seed    maphash.Seed // random, so that nobody can prepare keys that collide
	pages   [][]Ref      // the slots of the index, in pages of pageSlots
	buckets uint64       // how many slots are in use
	mask    uint64       // one less than the power of two that is not below buckets
	count   int          // keys

	chunks  []chunk // chunks[0] is not used: Ref 0 means none
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
	bigFree  []int    // numbers in big that are not in use
	bigBytes int
	most     int    // bytes of values at some time, see Shrunk
	scratch  []byte // to make a value in
}

// Log is told of each change just before it happens, of a key that expires too.
// What it is given is to be neither changed nor kept.
type Log interface {
	Set(key, value []byte, when int64) // when as in DB.Set
	Patch(key []byte, offset int, part []byte)
	Rename(from, to []byte)
	Delete(key []byte)
	Expire(key []byte, when int64) // 0: never
	Flush()
}

// Value is what is to be stored under a key: bytes, and whose they are.
type Value struct {
	bytes []byte
	own   bool
}

// Copy returns a Value that is copied when it is stored.
func Copy(b []byte) Value { return Value{bytes: b} }

// Own returns a Value that b is given away with. If it is long it is stored itself:
// nobody else may use it any more.
func Own(b []byte) Value { return Value{bytes: b, own: true} }

const (
	chunkSize    = 1 << 20
	pageSlots    = 1 << 13
	pageExpiries = 1 << 12
	minBuckets   = 64

	// big is the length from which a value stands in a slice of its own.
	big = 32 << 10
)

// KeepTTL, as the expiry time given to Set, leaves it as it is.
const KeepTTL = -1

// New returns an empty DB.
func New() *DB {
	return &DB{
		seed:    maphash.MakeSeed(),
		pages:   [][]Ref{make([]Ref, minBuckets)},
		buckets: minBuckets,
		mask:    minBuckets - 1,
		chunks:  make([]chunk, 1),
	}
}

// Get returns the value of key. It is to be read before the next change to the DB.
func (d *DB) Get(key []byte) (value []byte, ok bool) { return d.ValueAt(d.Seek(key)) }

// ValueAt is Get for who has looked for the key already.
func (d *DB) ValueAt(p Position) (value []byte, ok bool) {
	if p.at == 0 {
		return nil, false
	}
	return d.value(d.record(p.at)), true
}

// Exists reports whether there is a key.
func (d *DB) Exists(key []byte) bool { return d.Seek(key).at != 0 }

// Set gives key a value, and an expiry time: milliseconds since 1970, or 0 for
// never, or KeepTTL.
func (d *DB) Set(key []byte, value Value, when int64) { d.SetAt(d.Seek(key), key, value, when) }

// SetAt is Set for who has looked for the key already, and changed nothing since.
func (d *DB) SetAt(p Position, key []byte, value Value, when int64) {
	if d.Log != nil {
		d.Log.Set(key, value.bytes, when)
	}
	d.put(p, key, value, when)
}

func (d *DB) put(p Position, key []byte, value Value, when int64) {
	at := p.at
	size := recordSize(len(key), len(value.bytes))
	if at == 0 || !d.fits(at, size) {
		at = d.place(p, key, size)
	}
	d.store(at, value)
	if when != KeepTTL {
		d.setExpiry(at, when)
	}
	d.compact(size)
}

// Patch writes part into the value of key, at an offset up to which there are zeros
// if the value is shorter, and returns the length that it has then. The key is made
// if it is not there, and keeps its expiry time if it is.
func (d *DB) Patch(key []byte, offset int, part []byte) (length int) {
	p := d.Seek(key)
	value, exists := d.ValueAt(p)
	if d.Log != nil && !exists && len(part) == 0 {
		d.Log.Set(key, nil, KeepTTL) // a patch of nothing would not make it
	} else if d.Log != nil {
		d.Log.Patch(key, offset, part)
	}

	length = max(len(value), offset+len(part))
	if length < big {
		d.scratch = append(d.scratch[:0], value...)
		value = d.scratch
	}
	// A big value has a slice of its own, with room to grow: what is appended
	// to it in small pieces is not copied again for each of them.
	value = append(value, make([]byte, length-len(value))...)
	copy(value[offset:], part)
	d.put(p, key, Value{value, length >= big}, KeepTTL)
	return length
}

// Rename gives the value and the expiry time of one key to another, and returns
// false if there is no such key.
func (d *DB) Rename(from, to []byte) bool {
	value, ok := d.Get(from)
	if !ok || string(from) == string(to) {
		return ok
	}
	d.Seek(to) // if its time has come, that is logged first
	if d.Log != nil {
		d.Log.Rename(from, to)
	}

	when, _ := d.Expiry(from)
	if len(value) < big {
		d.scratch = append(d.scratch[:0], value...)
		value = d.scratch
	}
	d.remove(d.Seek(from))
	d.put(d.Seek(to), to, Value{value, len(value) >= big}, when)
	return true
}

// Delete removes key, and reports whether it was there.
func (d *DB) Delete(key []byte) bool {
	p := d.Seek(key)
	if p.at == 0 {
		return false
	}
	if d.Log != nil {
		d.Log.Delete(key)
	}
	d.remove(p)
	return true
}

// Expire sets the time at which key expires, 0 for never. It returns false if
// there is no such key.
func (d *DB) Expire(key []byte, when int64) bool {
	at := d.Seek(key).at
	if at == 0 {
		return false
	}
	if d.Log != nil {
		d.Log.Expire(key, when)
	}
	d.setExpiry(at, when)
	return true
}

// Expiry returns the time at which key expires, 0 for never.
func (d *DB) Expiry(key []byte) (when int64, ok bool) {
	at := d.Seek(key).at
	if at == 0 {
		return 0, false
	}
	return d.when(d.record(at)), true
}

// when returns the time at which a record expires, 0 for never.
func (d *DB) when(r record) int64 {
	if i := r.expiry(); i != 0 {
		return d.expiryAt(i).when
	}
	return 0
}

// Flush removes all keys.
func (d *DB) Flush() {
	if d.Log != nil && d.count > 0 {
		d.Log.Flush()
	}
	fresh := New()
	fresh.Now, fresh.Index, fresh.Log, fresh.Expired, fresh.most = d.Now, d.Index, d.Log, d.Expired, d.most
	*d = *fresh
}

// Each calls fn for every key, those whose time has come included. Neither may be
// changed or kept.
func (d *DB) Each(fn func(key, value []byte, when int64)) {
	for _, c := range d.chunks {
		for r := record(c.mem[:c.used]); len(r) > 0; r = r[r.size():] {
			if r.tag() != freed {
				fn(r.key(), d.value(r), d.when(r))
			}
		}
	}
}

// Len returns the number of keys, those whose time has come included.
func (d *DB) Len() int { return d.count }

// Expiring returns how many of them expire.
func (d *DB) Expiring() int { return d.expiring }

// Used returns the number of bytes that the keys need.
func (d *DB) Used() int { return d.live + d.bigBytes + 8*int(d.buckets) + 16*d.expiring }

// Values returns the number of bytes that the keys and values have, and the holes.
func (d *DB) Values() int { return d.total + d.bigBytes }

// Memory returns the number of bytes that the DB holds.
func (d *DB) Memory() int {
	return d.Values() + 8*len(d.pages)*len(d.pages[0]) + 16*pageExpiries*len(d.expires)
}

// Shrunk returns by how much Values has been larger since the last Forget.
func (d *DB) Shrunk() int { return d.most - d.Values() }

// Forget has Shrunk count from now on.
func (d *DB) Forget() { d.most = d.Values() }

// Sweep removes keys whose time has come, looking at a limited number of those
// that expire; the next call goes on from there. It reports whether it found so
// many that it should be called again soon.
func (d *DB) Sweep() (more bool) {
	const looks, removals = 50_000, 1000

	removed := 0
	for range min(looks, d.expiring) {
		if d.swept >= d.expiring {
			d.swept = 0
		}
		e := *d.expiryAt(uint32(d.swept) + 1)
		if d.Now <= e.when {
			d.swept++
			continue
		}

		// The last entry takes the place of this one, so swept stays.
		d.removeExpired(d.find(d.Key(e.at)))
		if removed++; removed == removals {
			return true
		}
	}
	return false
}

// The index.

func (d *DB) hash(key []byte) uint64 { return maphash.Bytes(d.seed, key) }

// bucket returns the number of the bucket that a hash belongs to: as many of its
// low bits as there are buckets for, and one less if that bucket is not split yet.
func (d *DB) bucket(h uint64) uint64 {
	b := h & d.mask
	if b >= d.buckets {
		b &= d.mask >> 1
	}
	return b
}

func (d *DB) slot(bucket uint64) *Ref {
	return &d.pages[bucket/pageSlots][bucket%pageSlots]
}

// Position is where a key is in the index, until the next change: its hash, its
// record, or 0 if there is no such key, and the one before it in the same bucket.
type Position struct {
	hash     uint64
	prev, at Ref
}

// Seek looks for key. One whose time has come is removed and not found.
func (d *DB) Seek(key []byte) Position {
	p := d.find(key)
	if p.at != 0 && d.isExpired(d.record(p.at)) {
		d.removeExpired(p)
		return Position{hash: p.hash}
	}
	return p
}

// find is Seek for a key whose time may have come.
func (d *DB) find(key []byte) Position {
	p := Position{hash: d.hash(key)}
	for p.at = *d.slot(d.bucket(p.hash)); p.at != 0; {
		r := d.record(p.at)
		if string(r.key()) == string(key) {
			return p
		}
		p.prev, p.at = p.at, r.next()
	}
	return Position{hash: p.hash}
}

// isExpired reports whether the time of a record has come.
func (d *DB) isExpired(r record) bool {
	when := d.when(r)
	return when != 0 && d.Now > when
}

// Key returns the key of a record. It may be neither changed nor kept.
func (d *DB) Key(at Ref) []byte { return d.record(at).key() }

// All returns the records of all keys.
func (d *DB) All() []Ref {
	refs := make([]Ref, 0, d.count)
	for b := range d.buckets {
		for at := range d.chain(b) {
			if !d.isExpired(d.record(at)) {
				refs = append(refs, at)
			}
		}
	}
	return refs
}

// chain goes through the records of a bucket.
func (d *DB) chain(bucket uint64) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for at := *d.slot(bucket); at != 0; at = d.record(at).next() {
			if !yield(at) {
				return
			}
		}
	}
}

// Scan returns records from a cursor on, a bucket more than would make count, and
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
func (d *DB) Scan(cursor uint64, count int) (next uint64, refs []Ref) {
	for looks := 10 * count; looks > 0 && len(refs) < count; looks-- {
		bucket, width := d.bucket(cursor), bits.Len64(d.mask)
		if low := cursor & (d.mask >> 1); low+d.mask>>1+1 >= d.buckets {
			width-- // that bucket is not split yet
		}

		for at := range d.chain(bucket) {
			seen := bits.Reverse64(d.hash(d.Key(at))) < bits.Reverse64(cursor) // in a bucket that was merged meanwhile
			if !seen {
				refs = append(refs, at)
			}
		}

		if cursor = after(cursor, width); cursor == 0 {
			break
		}
	}
	return cursor, slices.DeleteFunc(refs, func(at Ref) bool { return d.isExpired(d.record(at)) })
}

// after returns the first hash behind those that agree with h in its lowest n
// bits: h without the others, reversed, plus one.
func after(h uint64, n int) uint64 {
	size := uint64(1) << (64 - n)
	return bits.Reverse64((bits.Reverse64(h) &^ (size - 1)) + size)
}

// Random returns some key, or false if there is none. It takes one of a random
// bucket, so those that share a bucket are less likely.
func (d *DB) Random() (key []byte, ok bool) {
	for d.count > 0 {
		refs := slices.Collect(d.chain(rand.Uint64N(d.buckets)))
		if len(refs) == 0 {
			continue
		}
		key := d.Key(refs[rand.IntN(len(refs))])
		if d.Exists(key) {
			return key, true
		}
	}
	return nil, false
}

// link makes at follow what is before a position in its bucket, or begin that.
func (d *DB) link(p Position, at Ref) {
	if p.prev == 0 {
		*d.slot(d.bucket(p.hash)) = at
	} else {
		d.record(p.prev).setNext(at)
	}
}

// push puts a record at the beginning of the bucket of a hash.
func (d *DB) push(hash uint64, at Ref) {
	head := d.slot(d.bucket(hash))
	d.record(at).setNext(*head)
	*head = at
}

// place makes room for a record of key, a new one or in the place of the one that
// is there.
func (d *DB) place(p Position, key []byte, size int) Ref {
	at := d.alloc(size)
	d.record(at).init(size, key)
	if p.at != 0 {
		d.replace(p, at)
		return at
	}

	d.push(p.hash, at)
	d.count++
	if uint64(d.count) > d.buckets {
		d.split()
	}
	return at
}

// replace makes everything refer to the record at to instead of the one that is
// there, and gives that back.
func (d *DB) replace(p Position, to Ref) {
	old, r := d.record(p.at), d.record(to)
	r.setNext(old.next())
	d.link(p, to)
	if i := old.expiry(); i != 0 {
		d.expiryAt(i).at = to
		r.setExpiry(i)
	}
	d.free(p.at)
}

// remove takes a record out of everything.
func (d *DB) remove(p Position) {
	r := d.record(p.at)
	size := r.size()
	d.link(p, r.next())
	d.setExpiry(p.at, 0)
	d.free(p.at)

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

func (d *DB) removeExpired(p Position) {
	if d.Log != nil {
		d.Log.Delete(d.Key(p.at))
	}
	d.remove(p)
	d.Expired++
}

// split adds a bucket, and moves to it the records that belong there. They all
// are in the one bucket whose number differs in the highest bit.
func (d *DB) split() {
	added := d.buckets
	d.buckets++
	if added > d.mask {
		d.mask = d.mask<<1 | 1
	}
	if added/pageSlots == uint64(len(d.pages)) {
		d.pages = append(d.pages, make([]Ref, pageSlots))
	} else if len(d.pages) == 1 && added == uint64(len(d.pages[0])) {
		d.pages[0] = append(d.pages[0], make([]Ref, added)...)
	}

	d.rehash(added & (d.mask >> 1))
}

// merge takes the last bucket away, and moves its records to where they were
// before it came.
func (d *DB) merge() {
	d.buckets--
	d.rehash(d.buckets)
	if d.buckets == d.mask>>1+1 {
		d.mask >>= 1
	}
	if pages := len(d.pages); pages > 1 && d.buckets <= uint64(pages-1)*pageSlots {
		d.pages[pages-1] = nil
		d.pages = d.pages[:pages-1]
	}
}

// rehash moves each record of a bucket to the one that it belongs to now.
func (d *DB) rehash(bucket uint64) {
	head := d.slot(bucket)
	at := *head
	*head = 0
	for at != 0 {
		r := d.record(at)
		next := r.next()
		d.push(d.hash(r.key()), at)
		at = next
	}
}
