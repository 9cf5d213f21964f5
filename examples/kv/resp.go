package main

import (
	"bytes"
	"math"
	"slices"
	"strconv"
)

// RESP, the protocol of Redis: a client sends arrays of bulk strings, or plain
// lines for people with a terminal ("inline commands"), and may send any number
// of them without waiting for the replies.
//
//	*3\r\n $3\r\nSET\r\n $3\r\nkey\r\n $5\r\nhello\r\n
//	SET key hello\r\n
//
// A read hands over whatever has arrived, which may end in the middle of
// anything. The parser therefore is a state machine that stops at any byte and
// goes on later, and it never looks twice at an argument that it has completed:
// a command of a million arguments in a thousand pieces costs no more than in one.

// Limits, as Redis has them.
const (
	maxArgs   = 1 << 20   // arguments of one command
	maxBulk   = 512 << 20 // bytes of one argument
	maxInline = 64 << 10  // bytes of one line

	// Whoever has not given the password cannot make the server hold much.
	strangerArgs = 10
	strangerBulk = 16 << 10
)

// bigArg is the length from which an argument gets a buffer of its own, which
// then belongs to the command: the database keeps it instead of a copy, and the
// rest of it is read from the socket straight into its place.
const bigArg = 32 << 10

// firstBig bounds what a client can make the server allocate by only announcing
// an argument. When that much has come the buffer grows to bigGrowth times the
// size, and so on; after 8 MiB the client is taken at its word.
const (
	firstBig  = 64 << 10
	bigGrowth = 128
)

// A protocolError is the client's fault and ends its connection.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// A request is the command being read.
type request struct {
	args    [][]byte // the arguments that are complete
	missing int      // how many are still to come; 0 between two commands
	bulk    int      // length of the argument being read; -1 before its "$" line
	big     []byte   // that argument, if it is a big one

	stranger bool // whether the limits are those for a client without password
	bytes    int  // in args

	held int    // args[:held] do not point into the input any more
	hold []byte // where the smaller of them stand instead
}

// parse reads from buf until a command is complete or buf is used up. It
// returns the number of bytes that it is done with; the caller offers the others
// again, with more behind them. A complete command is in r.args, and points into
// buf; the caller resets r when it has executed it. It may be empty: "*0\r\n"
// asks for nothing.
func (r *request) parse(buf []byte) (n int, complete bool, err error) {
	if r.missing == 0 {
		if buf[0] != '*' {
			return r.parseInline(buf)
		}
		n, err = r.parseArray(buf)
		if n == 0 || err != nil {
			return 0, false, err
		}
	}

	for r.missing > 0 {
		used, err := r.parseArg(buf[n:])
		if err != nil {
			return n, false, err
		}
		n += used

		if r.bulk != -1 || used == 0 {
			r.detach()
			return n, false, nil
		}
	}
	return n, true, nil
}

// reset makes r ready for the next command, and lets go of the last: an idle
// client should cost little, whatever it sent before.
func (r *request) reset() {
	clear(r.args)
	r.args = r.args[:0]
	if cap(r.args) > 64 {
		r.args = nil
	}
	r.bytes, r.held, r.hold = 0, 0, nil
}

// size returns how many bytes an incomplete command holds, those included that say
// where an argument stands: there may be a million empty ones.
func (r *request) size() int { return r.bytes + len(r.big) + cap(r.args)*sliceSize }

const sliceSize = 3 * strconv.IntSize / 8

// parseArray reads the line "*<number of arguments>".
func (r *request) parseArray(buf []byte) (n int, err error) {
	text, n := cutLine(buf)
	if n == 0 {
		if len(buf) > maxInline {
			return 0, protocolError("too big mbulk count string")
		}
		return 0, nil
	}

	count, ok := parseInt(text[1:])
	if !ok || count > maxArgs {
		return 0, protocolError("invalid multibulk length")
	}
	if count > strangerArgs && r.stranger {
		return 0, protocolError("unauthenticated multibulk length")
	}
	r.missing = int(max(0, count))
	r.bulk = -1
	return n, nil
}

// parseArg reads the line "$<length>" and the argument behind it, or as much of
// them as there is. It leaves bulk at -1 when the argument is complete.
func (r *request) parseArg(buf []byte) (n int, err error) {
	if r.bulk == -1 {
		n, err = r.parseLength(buf)
		if n == 0 || err != nil {
			return 0, err
		}
	}
	rest := buf[n:]

	if r.bulk < bigArg {
		if len(rest) < r.bulk+2 {
			return n, nil
		}
		r.add(rest[:r.bulk:r.bulk])
		return n + len(r.args[len(r.args)-1]) + 2, nil
	}

	for len(rest) > 0 && len(r.big) < r.bulk {
		used := copy(r.room(), rest)
		r.filled(used)
		rest, n = rest[used:], n+used
	}
	if len(r.big) < r.bulk || len(rest) < 2 {
		return n, nil
	}
	r.add(r.big)
	return n + 2, nil
}

// add appends a complete argument.
func (r *request) add(arg []byte) {
	r.args = append(r.args, arg)
	r.bytes += len(arg)
	r.missing--
	r.bulk, r.big = -1, nil
}

// parseLength reads the line "$<length>".
func (r *request) parseLength(buf []byte) (n int, err error) {
	text, n := cutLine(buf)
	if n == 0 {
		if len(buf) > maxInline {
			return 0, protocolError("too big bulk count string")
		}
		return 0, nil
	}
	if buf[0] != '$' {
		return 0, protocolError("expected '$', got '" + string(buf[:1]) + "'")
	}

	length, ok := parseInt(text[1:])
	if !ok || length < 0 || length > maxBulk {
		return 0, protocolError("invalid bulk length")
	}
	if length > strangerBulk && r.stranger {
		return 0, protocolError("unauthenticated bulk length")
	}
	r.bulk = int(length)
	return n, nil
}

// room returns where the next bytes of a big argument go, or nil if no big
// argument is being read.
func (r *request) room() []byte {
	if r.missing == 0 || r.bulk < bigArg || len(r.big) == r.bulk {
		return nil
	}
	if len(r.big) == cap(r.big) {
		grown := make([]byte, len(r.big), min(r.bulk, max(firstBig, bigGrowth*cap(r.big))))
		copy(grown, r.big)
		r.big = grown
	}
	return r.big[len(r.big):cap(r.big)]
}

// filled says that n bytes have been written to room.
func (r *request) filled(n int) { r.big = r.big[:len(r.big)+n] }

// detach copies the arguments of an incomplete command out of the input, which
// is about to be used for something else. Each is copied once; the blocks are
// not grown but followed by larger ones, so what is in them stays where it is.
func (r *request) detach() {
	for i := r.held; i < len(r.args); i++ {
		arg := r.args[i]
		if len(arg) >= bigArg {
			continue
		}
		if cap(r.hold)-len(r.hold) < len(arg) {
			r.hold = make([]byte, 0, max(512, len(arg), min(64<<10, 2*cap(r.hold))))
		}
		start := len(r.hold)
		r.hold = append(r.hold, arg...)
		r.args[i] = r.hold[start:len(r.hold):len(r.hold)]
	}
	r.held = len(r.args)
}

// parseInline reads one line, split into words.
func (r *request) parseInline(buf []byte) (n int, complete bool, err error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) > maxInline {
			return 0, false, protocolError("too big inline request")
		}
		return 0, false, nil
	}

	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	if !r.split(line) {
		return 0, false, protocolError("unbalanced quotes in request")
	}
	return end + 1, true, nil
}

// split appends the words of line to the arguments. As in a shell, words may be
// quoted: "..." knows \n \r \t \b \a \xHH and \ before any other character,
// '...' only \'. It returns false if a quote is not closed, or closed in the
// middle of a word. (sdssplitargs)
func (r *request) split(line []byte) bool {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	for {
		line = bytes.TrimLeft(line, " \t\n\v\f\r")
		if len(line) == 0 {
			return true
		}

		end := bytes.IndexAny(line, " \t\r\"'")
		if end < 0 {
			end = len(line)
		}
		word, rest, ok := line[:end:end], line[end:], true
		if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
			word, rest, ok = unquote(word, rest)
		}
		if !ok {
			return false
		}
		if len(word) >= bigArg {
			word = bytes.Clone(word)
		}
		r.args = append(r.args, word)
		line = rest
	}
}

// unquote reads the quoted rest of a word. A quote ends its word.
func unquote(word, line []byte) (whole, rest []byte, ok bool) {
	quote := line[0]
	for i := 1; i < len(line); i++ {
		switch b := line[i]; {
		case b == quote:
			rest = line[i+1:]
			return word, rest, len(rest) == 0 || bytes.IndexByte([]byte(" \t\n\v\f\r"), rest[0]) >= 0

		case b == '\\' && quote == '"' && i+1 < len(line):
			escaped, used := unescape(line[i+1:])
			word = append(word, escaped)
			i += used

		case b == '\\' && quote == '\'' && i+1 < len(line) && line[i+1] == '\'':
			word = append(word, '\'')
			i++

		default:
			word = append(word, b)
		}
	}
	return nil, nil, false
}

// unescape returns the character that stands behind a backslash, and its length.
func unescape(s []byte) (b byte, n int) {
	if s[0] == 'x' && len(s) >= 3 {
		if v, err := strconv.ParseUint(string(s[1:3]), 16, 8); err == nil {
			return byte(v), 3
		}
	}
	if i := bytes.IndexByte([]byte("nrtba"), s[0]); i >= 0 {
		return "\n\r\t\b\a"[i], 1
	}
	return s[0], 1
}

// cutLine returns the text before the first \r, and the length of the line with
// its \r\n. Without a whole line the length is 0.
func cutLine(buf []byte) (text []byte, n int) {
	i := bytes.IndexByte(buf, '\r')
	if i < 0 || i+2 > len(buf) {
		return nil, 0
	}
	return buf[:i], i + 2
}

// parseInt reads a decimal integer as strictly as Redis: no space, no plus sign,
// no zero in front.
func parseInt(b []byte) (n int64, ok bool) {
	digits := b
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}

	var u uint64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		u = u*10 + uint64(d-'0')
	}

	switch {
	case negative && u <= -math.MinInt64:
		return -int64(u), true
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}

// A writer collects replies. Some have a type of their own in version 3 of the
// protocol, which a client asks for with HELLO, and are arrays or strings in 2.
type writer struct {
	buf []byte
	v3  bool
}

func (w *writer) status(s string) {
	w.buf = append(w.buf, '+')
	w.line(s)
}

// fail replies with an error: a code such as ERR, and a message. No byte of the
// message can end the line early, wherever it comes from.
func (w *writer) fail(message string) {
	w.buf = append(w.buf, '-')
	start := len(w.buf)
	w.line(message)

	text := w.buf[start : len(w.buf)-2]
	for i, b := range text {
		if b == '\r' || b == '\n' {
			text[i] = ' '
		}
	}
}

func (w *writer) integer(n int64) { w.number(':', n) }

// bool is an integer, 1 or 0.
func (w *writer) bool(b bool) { w.integer(either[int64](b, 1, 0)) }

func (w *writer) bulk(b []byte) {
	w.buf = slices.Grow(w.buf, len(b)+len("$512000000\r\n\r\n")) // at once, or a big one moves twice
	w.number('$', int64(len(b)))
	w.buf = append(w.buf, b...)
	w.buf = append(w.buf, '\r', '\n')
}

func (w *writer) text(s string) {
	w.number('$', int64(len(s)))
	w.line(s)
}

// null is the reply for "no such thing".
func (w *writer) null() { w.line(either(w.v3, "_", "$-1")) }

// array announces n replies that follow and belong together.
func (w *writer) array(n int) { w.number('*', int64(n)) }

// pairs announces n names, each followed by its value.
func (w *writer) pairs(n int) {
	if w.v3 {
		w.number('%', int64(n))
	} else {
		w.array(2 * n)
	}
}

// set announces n replies that belong together, in no order.
func (w *writer) set(n int) { w.number(either[byte](w.v3, '~', '*'), int64(n)) }

// push announces n replies that are no answer to a command.
func (w *writer) push(n int) { w.number(either[byte](w.v3, '>', '*'), int64(n)) }

// verbatim is text for people to read.
func (w *writer) verbatim(s string) {
	if w.v3 {
		w.number('=', int64(len("txt:")+len(s)))
		w.buf = append(w.buf, "txt:"...)
		w.line(s)
	} else {
		w.text(s)
	}
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func (w *writer) number(kind byte, n int64) {
	w.buf = append(w.buf, kind)
	w.buf = strconv.AppendInt(w.buf, n, 10)
	w.buf = append(w.buf, '\r', '\n')
}

func (w *writer) line(s string) {
	w.buf = append(w.buf, s...)
	w.buf = append(w.buf, '\r', '\n')
}
