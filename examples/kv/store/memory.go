package store

import (
	"bytes"
	"encoding/binary"
)

// Where the keys of a db are kept: records in chunks, and the expiry table. The
// comment of type DB says why.

// Ref is the number of a chunk and an offset in it.
type Ref uint64

type chunk struct {
	mem  []byte
	used int // bytes appended
	live int // bytes of them in records that are in use
}

type expiry struct {
	at   Ref
	when int64 // milliseconds since 1970
}

// The records.

// A record begins with its header: next Ref, bytes in all, number of its expiry
// entry or 0, length of key and of value.
type record []byte

const (
	headerSize = 24
	freed      = 1 << 31 // in the length of the value: the record is not in use
	isBig      = 1 << 30 // likewise: the value is a number in DB.big
)

var order = binary.LittleEndian

func (r record) next() Ref          { return Ref(order.Uint64(r)) }
func (r record) setNext(at Ref)     { order.PutUint64(r, uint64(at)) }
func (r record) size() int          { return int(order.Uint32(r[8:])) }
func (r record) expiry() uint32     { return order.Uint32(r[12:]) }
func (r record) setExpiry(i uint32) { order.PutUint32(r[12:], i) }
func (r record) keyLen() int        { return int(order.Uint32(r[16:])) }
func (r record) key() []byte        { return r[headerSize : headerSize+r.keyLen()] }
func (r record) room() []byte       { return r[headerSize+r.keyLen():] } // for the value, and more
func (r record) tag() uint32        { return order.Uint32(r[20:]) }
func (r record) setTag(t uint32)    { order.PutUint32(r[20:], t) }

func (r record) init(size int, key []byte) {
	order.PutUint32(r[8:], uint32(size))
	r.setExpiry(0)
	order.PutUint32(r[16:], uint32(len(key)))
	r.setTag(0)
	copy(r[headerSize:], key)
}

// recordSize returns the size of a record: a multiple of 8, so that a short
// value can grow a little in its place.
func recordSize(key, value int) int {
	if value >= big {
		value = 4
	}
	return (headerSize + key + value + 7) &^ 7
}

func (d *DB) record(at Ref) record { return d.chunks[at>>32].mem[uint32(at):] }

// fits reports whether the record may stay where it is when it needs size bytes:
// it must have them, and not many more than that.
func (d *DB) fits(at Ref, size int) bool {
	have := d.record(at).size()
	return size <= have && have <= 2*size+32
}

func (d *DB) value(r record) []byte {
	tag := r.tag()
	room := r.room()
	if tag&isBig != 0 {
		return d.big[order.Uint32(room)]
	}
	return room[:tag:tag]
}

// store writes the value of a record that has room for it.
func (d *DB) store(at Ref, value Value) {
	r := d.record(at)
	d.dropBig(r)
	if len(value.bytes) < big {
		r.setTag(uint32(copy(r.room(), value.bytes)))
		return
	}
	if !value.own {
		value.bytes = bytes.Clone(value.bytes)
	}
	d.bigBytes += cap(value.bytes)
	d.most = max(d.most, d.Values())
	order.PutUint32(r.room(), uint32(insert(&d.big, &d.bigFree, value.bytes)))
	r.setTag(isBig)
}

// Dumped returns how long the commands that make the DB are at least: what is
// around key and value in a command is more than in a record. How long the records
// are says little, for values that became shorter may have stayed where they were.
func (d *DB) Dumped() (n int64) {
	d.Each(func(key, value []byte, _ int64) { n += int64(headerSize + len(key) + len(value)) })
	return n
}

func (d *DB) dropBig(r record) {
	if r.tag()&isBig == 0 {
		return
	}
	i := order.Uint32(r.room())
	d.bigBytes -= cap(d.big[i])
	d.big[i] = nil
	d.bigFree = append(d.bigFree, int(i))
}

// insert puts x in a place of list that is vacant, or behind the last, and returns its
// number.
func insert[T any](list *[]T, vacant *[]int, x T) (number int) {
	if n := len(*vacant); n > 0 {
		number, *vacant = (*vacant)[n-1], (*vacant)[:n-1]
		(*list)[number] = x
		return number
	}
	*list = append(*list, x)
	return len(*list) - 1
}

// The chunks.

// alloc returns size bytes behind the last record of the current chunk, or of a
// new one: as large as the record needs, if that is more than a chunk has.
func (d *DB) alloc(size int) Ref {
	c := &d.chunks[d.current]
	if len(c.mem)-c.used < size {
		if d.current != 0 && c.live == 0 {
			d.giveBack(d.current) // without a record there is nothing whose end would do it
		}
		fresh := chunk{mem: make([]byte, max(size, chunkSize))}
		d.total += len(fresh.mem)
		d.most = max(d.most, d.Values())
		d.current = insert(&d.chunks, &d.vacant, fresh)
		c = &d.chunks[d.current]
	}

	at := Ref(d.current)<<32 | Ref(c.used)
	c.used += size
	c.live += size
	d.live += size
	return at
}

// free gives back a record, with the value that it has elsewhere, and the chunk if it
// was the last one there.
func (d *DB) free(at Ref) {
	r := d.record(at)
	d.dropBig(r)
	r.setTag(freed)

	number := int(at >> 32)
	c := &d.chunks[number]
	c.live -= r.size()
	d.live -= r.size()

	switch {
	case c.live > 0:
		return
	case number == d.current && len(c.mem) == chunkSize:
		c.used = 0 // to be filled again
		return
	case number == d.current:
		d.current = 0
	case number == d.victim:
		d.victim = 0
	}
	d.giveBack(number)
}

func (d *DB) giveBack(number int) {
	d.total -= len(d.chunks[number].mem)
	d.chunks[number] = chunk{}
	d.vacant = append(d.vacant, number)
}

// compact does its share of the compaction after a change of size bytes. A chunk
// worth emptying has at least a third of holes, so looking at four times what
// was changed gives back more than can have been lost.
func (d *DB) compact(size int) {
	if d.victim == 0 {
		if d.total-d.live <= d.total/3+2*chunkSize {
			return
		}
		d.victim, d.emptied = d.worst(), 0
	}

	for budget := 4*size + 256; budget > 0 && d.victim != 0; {
		at := Ref(d.victim)<<32 | Ref(d.emptied)
		r := d.record(at)
		size := r.size()
		if r.tag() != freed {
			d.move(r)
		}
		d.emptied += size
		budget -= size
	}
}

// worst returns the chunk with the most holes.
func (d *DB) worst() (number int) {
	most := 0
	for i := range d.chunks {
		c := &d.chunks[i]
		if holes := len(c.mem) - c.live; holes > most && i != d.current {
			number, most = i, holes
		}
	}
	return number
}

// move copies a record to the current chunk and makes everything refer to it there.
func (d *DB) move(r record) {
	p := d.find(r.key())
	to := d.alloc(r.size())
	copy(d.record(to), r[:r.size()])
	r.setTag(0) // a big value is the copy's now
	d.replace(p, to)
}

// The expiry table. Entries are numbered from 1, for 0 to mean none.

func (d *DB) expiryAt(i uint32) *expiry {
	return &d.expires[(i-1)/pageExpiries][(i-1)%pageExpiries]
}

func (d *DB) setExpiry(at Ref, when int64) {
	r := d.record(at)
	switch i := r.expiry(); {
	case i == 0 && when == 0:
	case when == 0:
		d.dropExpiry(i)
		r.setExpiry(0)
	case i != 0:
		d.expiryAt(i).when = when
	default:
		if d.expiring == len(d.expires)*pageExpiries {
			d.expires = append(d.expires, make([]expiry, pageExpiries))
		}
		d.expiring++
		*d.expiryAt(uint32(d.expiring)) = expiry{at, when}
		r.setExpiry(uint32(d.expiring))
	}
}

// dropExpiry fills the place of an entry with the last one.
func (d *DB) dropExpiry(i uint32) {
	last := *d.expiryAt(uint32(d.expiring))
	*d.expiryAt(i) = last
	d.record(last.at).setExpiry(i)
	d.expiring--

	if pages := len(d.expires); d.expiring <= (pages-2)*pageExpiries {
		d.expires[pages-1] = nil
		d.expires = d.expires[:pages-1]
	}
}
