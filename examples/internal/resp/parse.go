package resp

import (
	"bytes"
	"strconv"
)

// Limits, as Redis has them.
const (
	MaxArgs   = 1 << 20   // arguments of one command
	MaxBulk   = 512 << 20 // bytes of one argument
	MaxInline = 64 << 10  // bytes of one line
)

// BigArg is the length from which an argument gets a buffer of its own, which the
// parser gives up with it: see Own. The rest of it can be read from the socket
// straight into its place: see Room.
const BigArg = 32 << 10

// firstBig bounds what a client can make the server allocate by only announcing
// an argument. When that much has come the buffer grows to bigGrowth times the
// size, and so on; after 8 MiB the client is taken at its word.
const (
	firstBig  = 64 << 10
	bigGrowth = 128
)

// Error is a breach of the protocol, after which nobody knows where the next
// command begins: the connection has to end.
type Error string

func (e Error) Error() string { return "Protocol error: " + string(e) }

// Limits are lower ones, for a client that shall not make the server hold much.
type Limits struct {
	Args, Bulk int
	Reason     string // what the Error says about a larger array or argument
}

// Parser reads commands. Its zero value is ready for the first one.
type Parser struct {
	Args   [][]byte // the arguments that are complete
	Limits *Limits  // nil: those of the protocol

	missing int    // how many arguments are still to come; 0 between two commands
	bulk    int    // length of the argument being read; -1 before its "$" line
	big     []byte // that argument, if it is a big one
	bytes   int    // in Args

	held int    // Args[:held] do not point into the input any more
	hold []byte // where the smaller of them stand instead
}

// Parse reads from buf until a command is complete or buf is used up. It
// returns the number of bytes that it is done with; the caller offers the others
// again, with more behind them. A complete command is in p.Args, and points into
// buf; the caller calls Reset when it has executed it. It may be empty: "*0\r\n"
// asks for nothing.
func (p *Parser) Parse(buf []byte) (n int, complete bool, err error) {
	if p.missing == 0 {
		if buf[0] != '*' {
			return p.parseInline(buf)
		}
		n, err = p.parseArray(buf)
		if n == 0 || err != nil {
			return 0, false, err
		}
	}

	for p.missing > 0 {
		used, err := p.parseArg(buf[n:])
		if err != nil {
			return n, false, err
		}
		n += used

		if p.bulk != -1 || used == 0 {
			p.detach()
			return n, false, nil
		}
	}
	return n, true, nil
}

// Reset makes p ready for the next command, and lets go of the last: an idle
// client should cost little, whatever it sent before.
func (p *Parser) Reset() {
	clear(p.Args)
	p.Args = p.Args[:0]
	if cap(p.Args) > 64 {
		p.Args = nil
	}
	p.hold, p.bytes, p.held = nil, 0, 0
}

// Own reports whether Args[i] stands in a buffer that nobody else uses: the caller
// may keep it instead of a copy.
func (p *Parser) Own(i int) bool { return i < len(p.Args) && len(p.Args[i]) >= BigArg }

// Size returns how many bytes an incomplete command holds, those included that say
// where an argument stands: there may be a million empty ones.
func (p *Parser) Size() int { return p.bytes + len(p.big) + cap(p.Args)*sliceSize }

const sliceSize = 3 * strconv.IntSize / 8

// parseArray reads the line "*<number of arguments>".
func (p *Parser) parseArray(buf []byte) (n int, err error) {
	text, n := cutLine(buf)
	if n == 0 {
		if len(buf) > MaxInline {
			return 0, Error("too big mbulk count string")
		}
		return 0, nil
	}

	count, ok := ParseInt(text[1:])
	if !ok || count > MaxArgs {
		return 0, Error("invalid multibulk length")
	}
	if p.Limits != nil && count > int64(p.Limits.Args) {
		return 0, Error(p.Limits.Reason + " multibulk length")
	}
	p.missing = int(max(0, count))
	p.bulk = -1
	return n, nil
}

// parseArg reads the line "$<length>" and the argument behind it, or as much of
// them as there is. It leaves bulk at -1 when the argument is complete.
func (p *Parser) parseArg(buf []byte) (n int, err error) {
	if p.bulk == -1 {
		n, err = p.parseLength(buf)
		if n == 0 || err != nil {
			return 0, err
		}
	}
	rest := buf[n:]

	if p.bulk < BigArg {
		if len(rest) < p.bulk+2 {
			return n, nil
		}
		p.add(rest[:p.bulk:p.bulk])
		return n + len(p.Args[len(p.Args)-1]) + 2, nil
	}

	for len(rest) > 0 && len(p.big) < p.bulk {
		used := copy(p.Room(), rest)
		p.Filled(used)
		rest, n = rest[used:], n+used
	}
	if len(p.big) < p.bulk || len(rest) < 2 {
		return n, nil
	}
	p.add(p.big)
	return n + 2, nil
}

// add appends a complete argument.
func (p *Parser) add(arg []byte) {
	p.Args = append(p.Args, arg)
	p.bytes += len(arg)
	p.missing--
	p.bulk, p.big = -1, nil
}

// parseLength reads the line "$<length>".
func (p *Parser) parseLength(buf []byte) (n int, err error) {
	text, n := cutLine(buf)
	if n == 0 {
		if len(buf) > MaxInline {
			return 0, Error("too big bulk count string")
		}
		return 0, nil
	}
	if buf[0] != '$' {
		return 0, Error("expected '$', got '" + string(buf[:1]) + "'")
	}

	length, ok := ParseInt(text[1:])
	if !ok || length < 0 || length > MaxBulk {
		return 0, Error("invalid bulk length")
	}
	if p.Limits != nil && length > int64(p.Limits.Bulk) {
		return 0, Error(p.Limits.Reason + " bulk length")
	}
	p.bulk = int(length)
	return n, nil
}

// Room returns where the next bytes of a big argument go, or nil if no big
// argument is being read.
func (p *Parser) Room() []byte {
	if p.missing == 0 || p.bulk < BigArg || len(p.big) == p.bulk {
		return nil
	}
	if len(p.big) == cap(p.big) {
		grown := make([]byte, len(p.big), min(p.bulk, max(firstBig, bigGrowth*cap(p.big))))
		copy(grown, p.big)
		p.big = grown
	}
	return p.big[len(p.big):cap(p.big)]
}

// Filled says that n bytes have been written to Room.
func (p *Parser) Filled(n int) { p.big = p.big[:len(p.big)+n] }

// detach copies the arguments of an incomplete command out of the input, which
// is about to be used for something else. Each is copied once; the blocks are
// not grown but followed by larger ones, so what is in them stays where it is.
func (p *Parser) detach() {
	for i := p.held; i < len(p.Args); i++ {
		arg := p.Args[i]
		if p.Own(i) {
			continue
		}
		if cap(p.hold)-len(p.hold) < len(arg) {
			p.hold = make([]byte, 0, max(512, len(arg), min(64<<10, 2*cap(p.hold))))
		}
		start := len(p.hold)
		p.hold = append(p.hold, arg...)
		p.Args[i] = p.hold[start:len(p.hold):len(p.hold)]
	}
	p.held = len(p.Args)
}

// parseInline reads one line, split into words.
func (p *Parser) parseInline(buf []byte) (n int, complete bool, err error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) > MaxInline {
			return 0, false, Error("too big inline request")
		}
		return 0, false, nil
	}

	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	if !p.split(line) {
		return 0, false, Error("unbalanced quotes in request")
	}
	return end + 1, true, nil
}

// split appends the words of line to the arguments. As in a shell, words may be
// quoted: "..." knows \n \r \t \b \a \xHH and \ before any other character,
// '...' only \'. It returns false if a quote is not closed, or closed in the
// middle of a word. (sdssplitargs)
func (p *Parser) split(line []byte) bool {
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
		if len(word) >= BigArg {
			word = bytes.Clone(word)
		}
		p.Args = append(p.Args, word)
		line = rest
	}
}

// unquote reads the quoted rest of a word. A quote ends its word.
func unquote(word, line []byte) (whole, rest []byte, ok bool) {
	quote := line[0]
	for i := 1; i < len(line); i++ {
		b := line[i]
		if b == quote {
			rest = line[i+1:]
			return word, rest, len(rest) == 0 || bytes.IndexByte([]byte(" \t\n\v\f\r"), rest[0]) >= 0
		}
		if b == '\\' && i+1 < len(line) && (quote == '"' || line[i+1] == quote) {
			escaped, used := unescape(line[i+1:])
			b, i = escaped, i+used
		}
		word = append(word, b)
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
