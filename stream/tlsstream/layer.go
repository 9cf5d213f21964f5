package tlsstream

import (
	"crypto/tls"
	"io"

	"github.com/aeloop/ae/stream"
)

// layer is TLS on one connection. All of it is the loop's goroutine's, except that a
// handshake's goroutine has conn while there is a handshake.
type layer struct {
	e      *Endpoint
	config *tls.Config
	w      *stream.Wire
	conn   *tls.Conn
	hs     *handshake // while it is under way
	begun  bool       // it is, or waits for its turn, or was
	open   bool       // it has succeeded
	closed bool

	src     []byte // what Decode was given, for socket to read
	records records
	more    bool  // conn may have plaintext for which there was no room
	err     error // how the input has ended

	queued     bool // in e.slots, whose these three are
	prev, next *layer
}

func (y *layer) Start(w *stream.Wire) {
	y.w = w
	w.SetTimeout(y.e.limits.Timeout)
	if y.e.client {
		y.begin()
	}
}

// Decode decrypts what is complete. After the handshake that never waits: socket has
// a record or says that it has none, and crypto/tls can be asked again.
func (y *layer) Decode(dst, src []byte, eof bool) (nDst, nSrc int, err error) {
	if !y.open {
		nSrc, err = y.feed(src, eof)
		return 0, nSrc, err
	}
	if y.err == nil && (y.more || y.records.next(src) > 0) {
		y.src = src
		nDst, err = y.conn.Read(dst) // may return both
		nSrc = len(src) - len(y.src)
		y.src = nil
		y.more = nDst == len(dst)
		if err != errAgain {
			y.err = err
		}
	} else if y.err == nil && eof {
		y.err = io.ErrUnexpectedEOF // without close_notify anybody may have cut it off
	}
	if nDst+nSrc > 0 {
		return nDst, nSrc, nil
	}
	return 0, 0, y.err
}

func (y *layer) Encode(p []byte) error {
	_, err := y.conn.Write(p)
	return err
}

func (y *layer) CloseWrite() { _ = y.conn.CloseWrite() } // a layer that has failed is not asked

func (y *layer) Close() {
	y.closed = true
	if y.e.slots.cancel(y) {
		return
	}
	if y.hs != nil {
		y.hs.close()
	}
}

// feed hands input to the handshake. A server's begins once it can get somewhere:
// who connects and sends nothing, or half a ClientHello, has no goroutine.
func (y *layer) feed(src []byte, eof bool) (nSrc int, err error) {
	if !y.begun && (wholeHello(src) || len(src) >= y.e.limits.Input) {
		y.begin()
	}
	switch {
	case y.hs != nil:
		y.hs.feed(y, src, eof)
		return len(src), nil
	case eof:
		return 0, io.ErrUnexpectedEOF
	}
	return 0, nil
}

// begin starts the handshake, or queues up for it.
func (y *layer) begin() {
	y.begun = true
	if y.e.slots.enter(y) {
		y.start()
	} else {
		y.w.Pause()
	}
}
