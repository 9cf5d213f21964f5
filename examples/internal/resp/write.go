package resp

import (
	"slices"
	"strconv"
)

// Writer collects replies in Buf. Some have a type of their own in version 3 of the
// protocol, which a client asks for with HELLO, and are arrays or strings in 2.
type Writer struct {
	Buf []byte
	V3  bool // version 3
}

// Status is a short text without line ends: OK.
func (w *Writer) Status(s string) {
	w.Buf = append(w.Buf, '+')
	w.line(s)
}

// Error replies with an error: a code such as ERR, and a message. No byte of the
// message can end the line early, wherever it comes from.
func (w *Writer) Error(message string) {
	w.Buf = append(w.Buf, '-')
	start := len(w.Buf)
	w.line(message)

	text := w.Buf[start : len(w.Buf)-2]
	for i, b := range text {
		if b == '\r' || b == '\n' {
			text[i] = ' '
		}
	}
}

// Integer is a number.
func (w *Writer) Integer(n int64) { w.number(':', n) }

// Bool is an integer, 1 or 0.
func (w *Writer) Bool(b bool) {
	if b {
		w.Integer(1)
	} else {
		w.Integer(0)
	}
}

// Bulk is any bytes.
func (w *Writer) Bulk(b []byte) {
	w.Buf = slices.Grow(w.Buf, len(b)+len("$512000000\r\n\r\n")) // at once, or a big one moves twice
	w.number('$', int64(len(b)))
	w.Buf = append(w.Buf, b...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// Text is Bulk for a string, or for several that follow each other.
func (w *Writer) Text(list ...string) {
	for _, s := range list {
		w.number('$', int64(len(s)))
		w.line(s)
	}
}

// Null is the reply for "no such thing".
func (w *Writer) Null() {
	if w.V3 {
		w.line("_")
	} else {
		w.line("$-1")
	}
}

// Array announces n replies that follow and belong together.
func (w *Writer) Array(n int) { w.number('*', int64(n)) }

// Texts is an array of strings.
func (w *Writer) Texts(list []string) {
	w.Array(len(list))
	w.Text(list...)
}

// Pairs announces n names, each followed by its value.
func (w *Writer) Pairs(n int) {
	if w.V3 {
		w.number('%', int64(n))
	} else {
		w.Array(2 * n)
	}
}

// Set announces n replies that belong together, in no order.
func (w *Writer) Set(n int) { w.header('~', n) }

// Push announces n replies that are no answer to a command.
func (w *Writer) Push(n int) { w.header('>', n) }

// Verbatim is text for people to read.
func (w *Writer) Verbatim(s string) {
	if w.V3 {
		w.number('=', int64(len("txt:")+len(s)))
		w.Buf = append(w.Buf, "txt:"...)
		w.line(s)
	} else {
		w.Text(s)
	}
}

// header announces n replies with the sign that version 3 has for them.
func (w *Writer) header(v3 byte, n int) {
	if !w.V3 {
		v3 = '*'
	}
	w.number(v3, int64(n))
}

func (w *Writer) number(kind byte, n int64) {
	w.Buf = append(w.Buf, kind)
	w.Buf = strconv.AppendInt(w.Buf, n, 10)
	w.Buf = append(w.Buf, '\r', '\n')
}

func (w *Writer) line(s string) {
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// AppendCommand appends a command to buf, as a client sends it.
func AppendCommand(buf []byte, args ...[]byte) []byte {
	w := Writer{Buf: buf}
	w.Array(len(args))
	for _, arg := range args {
		w.Bulk(arg)
	}
	return w.Buf
}
