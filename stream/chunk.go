package stream

// chunk holds bytes that wait: a link of a connection's output, or its input that
// Data has not used.
type chunk struct {
	next       *chunk
	start, end int // the bytes are buf[start:end]
	buf        []byte
}

func (k *chunk) bytes() []byte { return k.buf[k.start:k.end] }
func (k *chunk) room() []byte  { return k.buf[k.end:] }

// append copies as much of p as there is room for.
func (k *chunk) append(p []byte) int {
	n := copy(k.buf[k.end:], p)
	k.end += n
	return n
}

// queue is output that waits, in the order in which it goes.
type queue struct {
	first, last *chunk
	n           int // bytes
}

// push copies p to the end.
func (q *queue) push(pool *pool, p []byte) {
	q.n += len(p)
	if q.last != nil {
		p = p[q.last.append(p):]
	}
	for len(p) > 0 {
		k := pool.get(max(len(p), min(q.n, chunkMax)))
		if q.last == nil {
			q.first = k
		} else {
			q.last.next = k
		}
		q.last = k
		p = p[k.append(p):]
	}
}

// pop drops n bytes from the front.
func (q *queue) pop(pool *pool, n int) {
	q.n -= n
	for n > 0 {
		k := q.first
		if left := k.end - k.start; n < left {
			k.start += n
			return
		} else {
			n -= left
		}
		q.first = k.next
		if q.first == nil {
			q.last = nil
		}
		pool.put(k)
	}
}

// drop gives all chunks back.
func (q *queue) drop(pool *pool) {
	for k := q.first; k != nil; {
		next := k.next
		pool.put(k)
		k = next
	}
	*q = queue{}
}

// Chunks come in four sizes, of which a loop keeps some of each for the next
// connection that needs one: what a batch of clients needs, and no more than
// 1 MiB in all.
const (
	chunkMin  = 512
	chunkMax  = chunkMin << (2 * (sizes - 1)) // 32 KiB
	sizes     = 4
	spareSize = 256 << 10 // bytes of each size
)

// pool has the spare chunks of a loop.
type pool struct {
	free  [sizes]*chunk
	count [sizes]int
}

// sizeClass returns the smallest size that holds n bytes, or the largest.
func sizeClass(n int) int {
	class := 0
	for class < sizes-1 && chunkMin<<(2*class) < n {
		class++
	}
	return class
}

// get returns an empty chunk for n bytes, or of the largest size.
func (p *pool) get(n int) *chunk {
	class := sizeClass(n)
	k := p.free[class]
	if k == nil {
		return &chunk{buf: make([]byte, chunkMin<<(2*class))}
	}
	p.free[class] = k.next
	p.count[class]--
	k.next = nil
	return k
}

// put takes a chunk back. One of another size, which was made for a long input, is
// left to the garbage collector.
func (p *pool) put(k *chunk) {
	class := sizeClass(len(k.buf))
	size := chunkMin << (2 * class)
	if len(k.buf) != size || (p.count[class]+1)*size > spareSize {
		return
	}
	k.start, k.end = 0, 0
	k.next = p.free[class]
	p.free[class] = k
	p.count[class]++
}
