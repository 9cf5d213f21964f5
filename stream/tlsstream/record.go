package tlsstream

const (
	headerLen = 5
	maxRecord = 16<<10 + 2048 // the longest that any version of TLS allows

	typeLeast     = 20 // ChangeCipherSpec
	typeHandshake = 22
	typeMost      = 23 // application data
)

// records says how much of what has come crypto/tls may read. It gets a record when
// all of that is there, and nothing behind it: so it has no part of one that it waits
// to complete, and its buffer is no larger than a record.
type records struct {
	left int // of the record whose beginning was read
}

// next returns how many bytes of src may be read at once; 0 is none yet.
func (r *records) next(src []byte) int {
	if r.left > 0 {
		return min(r.left, len(src))
	}
	switch size, ok := record(src); {
	case len(src) < headerLen || ok && len(src) < size:
		return 0
	case ok:
		return size
	}
	return headerLen // of something bad, for crypto/tls to say what
}

// read copies from src to p what may be read, and returns how much.
func (r *records) read(p, src []byte) int {
	n := r.next(src)
	if n > 0 && r.left == 0 {
		r.left, _ = record(src)
	}
	n = copy(p, src[:n])
	r.left -= n
	return n
}

// record returns how long the record is that src begins with, and whether src may be
// the beginning of one.
func record(src []byte) (size int, ok bool) {
	if len(src) < headerLen {
		return headerLen, true
	}
	n := int(src[3])<<8 | int(src[4])
	return headerLen + n, typeLeast <= src[0] && src[0] <= typeMost && src[1] == 3 && n <= maxRecord
}

// wholeHello reports whether src holds a first handshake message, in however many
// records, or something else that need not be waited for.
func wholeHello(src []byte) bool {
	var head []byte // of the message: its type and length
	message := 0    // bytes of it
	for {
		size, ok := record(src)
		switch {
		case !ok || len(src) >= headerLen && src[0] != typeHandshake:
			return true
		case len(src) < size:
			return false
		case size == headerLen && len(src) >= headerLen:
			return true // an empty one is an error
		}
		body := src[headerLen:size]
		head = append(head, body[:min(len(body), 4-len(head))]...)
		message += len(body)
		if len(head) == 4 && message >= 4+(int(head[1])<<16|int(head[2])<<8|int(head[3])) {
			return true
		}
		src = src[size:]
	}
}
