package resp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aeloop/ae/examples/internal/resp/resptest"
	"github.com/google/go-cmp/cmp"
)

// A feeder gives input to the parser in pieces, as a connection does: through a
// buffer that is overwritten each time, or straight into a big argument.
type feeder struct {
	req  Parser
	rest []byte
	buf  []byte
	got  [][]string
}

func (f *feeder) feed(piece []byte) error {
	for len(piece) > 0 {
		if room := f.req.Room(); room != nil {
			n := copy(room, piece)
			f.req.Filled(n)
			piece = piece[n:]
			continue
		}

		for i := range f.buf {
			f.buf[i] = '!' // what the parser still refers to is lost
		}
		f.buf = append(append(f.buf[:0], f.rest...), piece...)
		piece = nil
		if err := f.parse(); err != nil {
			return err
		}
	}
	return nil
}

func (f *feeder) parse() error {
	input := f.buf
	for len(input) > 0 {
		n, complete, err := f.req.Parse(input)
		if err != nil {
			return err
		}
		input = input[n:]
		if !complete {
			break
		}
		f.got = append(f.got, toStrings(f.req.Args))
		f.req.Reset()
	}
	if len(input) > MaxInline {
		return fmt.Errorf("%d bytes are kept, and there is no room for so many", len(input))
	}
	f.rest = slices.Clone(input)
	return nil
}

func toStrings(args [][]byte) []string {
	list := make([]string, 0, len(args))
	for _, arg := range args {
		list = append(list, string(arg))
	}
	return list
}

func TestInputSplitAtAnyByteGivesTheSameCommands(t *testing.T) {
	input := resptest.Command("SET", "key", "value") + "PING\r\n" + "*0\r\n" + "*-1\r\n" + resptest.Command("", "a\r\nb", "\x00") +
		"SET k \"a\\x20b\"\n" + "\r\n" + resptest.Command(strings.Repeat("x", 300)) + resptest.Command("END")
	want := [][]string{{"SET", "key", "value"}, {"PING"}, {}, {}, {"", "a\r\nb", "\x00"},
		{"SET", "k", "a b"}, {}, {strings.Repeat("x", 300)}, {"END"}}

	check := func(name string, pieces ...string) {
		t.Helper()
		var f feeder
		for _, p := range pieces {
			if err := f.feed([]byte(p)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if diff := cmp.Diff(want, f.got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", name, diff)
		}
	}

	check("whole", input)
	check("byte by byte", strings.Split(input, "")...)
	for i := range len(input) {
		for j := i; j < len(input); j += 7 {
			check(fmt.Sprintf("split at %d and %d", i, j), input[:i], input[i:j], input[j:])
		}
	}
}

func TestRandomCommandsInRandomPiecesComeOutAsTheyWentIn(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 10, 1000, BigArg - 1, BigArg, BigArg + 1, firstBig, firstBig + 1, 5 * firstBig}
	for range 30 {
		var input strings.Builder
		var want [][]string
		for range 1 + rnd.IntN(20) {
			args := make([]string, 1+rnd.IntN(5))
			for i := range args {
				args[i] = strings.Repeat(string(rune('a'+rnd.IntN(26))), sizes[rnd.IntN(len(sizes))])
			}
			input.WriteString(resptest.Command(args...))
			want = append(want, args)
		}

		var f feeder
		for rest := []byte(input.String()); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(1<<(4+rnd.IntN(14))))
			if err := f.feed(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !slices.EqualFunc(want, f.got, slices.Equal) {
			t.Fatal("commands differ")
		}
	}
}

func TestInlineCommandsAreSplitLikeAShell(t *testing.T) {
	tests := []struct {
		line string
		want []string // nil: unbalanced quotes
	}{
		{``, []string{}},
		{"  \t \v ", []string{}},
		{`a`, []string{"a"}},
		{`  a   b  `, []string{"a", "b"}},
		{`"a b" c`, []string{"a b", "c"}},
		{`'a b' c`, []string{"a b", "c"}},
		{`""`, []string{""}},
		{`'' ""`, []string{"", ""}},
		{`a"b c"`, []string{"ab c"}},
		{`"\n\r\t\b\a\\\"\q"`, []string{"\n\r\t\b\a\\\"q"}},
		{`"\x41\xfF\x4"`, []string{"A\xffx4"}},
		{`'\n\'"'`, []string{`\n'"`}},
		{`a\nb`, []string{`a\nb`}},
		{"a\x00b c", []string{"a"}},
		{`"a`, nil},
		{`'a`, nil},
		{`"a\`, nil},
		{`"a\"`, nil},
		{`"a"b`, nil},
		{`'a'b`, nil},
		{`a"b"c`, nil},
	}
	for _, tt := range tests {
		var r Parser
		_, complete, err := r.Parse([]byte(tt.line + "\r\n"))
		if tt.want == nil {
			if err == nil || err.Error() != "Protocol error: unbalanced quotes in request" {
				t.Errorf("%q: got %q, %v", tt.line, r.Args, err)
			}
			continue
		}
		if err != nil || !complete {
			t.Errorf("%q: %v, complete %v", tt.line, err, complete)
		}
		if diff := cmp.Diff(tt.want, toStrings(r.Args)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
}

func TestMalformedInputIsAProtocolError(t *testing.T) {
	for _, tt := range resptest.Malformed {
		var f feeder
		err := f.feed([]byte(tt.Input))
		if err == nil || err.Error() != "Protocol error: "+tt.Error {
			t.Errorf("%.40q: got %v, want %q", tt.Input, err, tt.Error)
		}
	}
}

// (redis-server waits for the \n here, which may never come.)
func TestALongLineIsNotKeptForItsCarriageReturn(t *testing.T) {
	for prefix, want := range map[string]string{"*": "too big mbulk count string", "*1\r\n$": "too big bulk count string"} {
		var f feeder
		err := f.feed([]byte(prefix + strings.Repeat("1", MaxInline) + "\r"))
		if err == nil || err.Error() != "Protocol error: "+want {
			t.Errorf("%q: got %v, want %q", prefix, err, want)
		}
	}
}

func TestTheLargestAllowedCountsAreAccepted(t *testing.T) {
	for _, input := range []string{"*1048576\r\n", "*1\r\n$536870912\r\n", strings.Repeat("a", MaxInline), "*" + strings.Repeat("1", MaxInline-1)} {
		var f feeder
		if err := f.feed([]byte(input)); err != nil {
			t.Errorf("%.40q: %v", input, err)
		}
	}
}

func TestAnnouncingABigArgumentAllocatesLittle(t *testing.T) {
	var f feeder
	if err := f.feed([]byte("*1\r\n$536870912\r\n")); err != nil {
		t.Fatal(err)
	}
	if room := f.req.Room(); len(room) > firstBig {
		t.Errorf("room for %d bytes before the first one came", len(room))
	}
}

// A big argument must not be copied again for each piece of it.
func TestABigArgumentIsNotCopiedForEachPiece(t *testing.T) {
	const size = 64 << 20
	var r Parser
	if _, _, err := r.Parse([]byte("*1\r\n$" + strconv.Itoa(size) + "\r\n")); err != nil {
		t.Fatal(err)
	}

	moves := 0
	var first *byte
	for got := 0; got < size; {
		room := r.Room()
		n := min(len(room), 4096)
		r.Filled(n)
		got += n
		if first != &r.big[0] {
			first = &r.big[0]
			moves++
		}
	}
	if moves > 3 {
		t.Errorf("the argument stood in %d buffers", moves)
	}
	if cap(r.big) != size {
		t.Errorf("the last buffer has %d bytes, want %d", cap(r.big), size)
	}
	if r.Room() != nil {
		t.Error("a complete argument still has room")
	}
}

func TestBigArgumentsHaveBuffersOfTheirOwn(t *testing.T) {
	big := strings.Repeat("x", BigArg)
	for _, input := range []string{resptest.Command("SET", "k", big), "SET k " + big + "\r\n"} {
		buf := []byte(input)
		var r Parser
		if _, complete, err := r.Parse(buf); err != nil || !complete {
			t.Fatal(complete, err)
		}
		value := r.Args[2]
		if !r.Own(2) || r.Own(1) || r.Own(0) {
			t.Error("the big argument, and no other, is to be the caller's")
		}
		clear(buf)
		if string(value) != big {
			t.Error("the argument was overwritten with the input buffer")
		}
	}
}

func TestResetLetsGoOfTheCommand(t *testing.T) {
	var f feeder
	big := strings.Repeat("x", 100_000)
	input := resptest.Command("ECHO", strings.Repeat("y", 300), big) + resptest.Command(strings.Fields(strings.Repeat("z ", 100))...)
	for len(input) > 0 {
		n := min(len(input), 1000)
		if err := f.feed([]byte(input[:n])); err != nil {
			t.Fatal(err)
		}
		input = input[n:]
	}
	p := &f.req
	if len(f.got) != 2 || p.big != nil || p.hold != nil || cap(p.Args) > 64 {
		t.Errorf("%d commands; argument %d, held %d, room for %d", len(f.got), cap(p.big), cap(p.hold), cap(p.Args))
	}
	for _, arg := range p.Args[:cap(p.Args)] {
		if arg != nil {
			t.Errorf("an argument of %d bytes is kept", len(arg))
		}
	}
}

func TestParseIntIsAsStrictAsRedis(t *testing.T) {
	for _, s := range []string{"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1.0", "0x1", "1e3", "9223372036854775808",
		"-9223372036854775809", "99999999999999999999", "a", "1\x00"} {
		if n, ok := ParseInt([]byte(s)); ok {
			t.Errorf("ParseInt(%q) = %d", s, n)
		}
	}
	for _, n := range []int64{0, 1, -1, 10, -10, 123456789, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1} {
		if got, ok := ParseInt(strconv.AppendInt(nil, n, 10)); !ok || got != n {
			t.Errorf("ParseInt(%d) = %d, %v", n, got, ok)
		}
	}
}

func TestAnErrorReplyIsAlwaysOneLine(t *testing.T) {
	var w Writer
	w.Error("ERR a\r\nb\nc")
	if want := "-ERR a  b c\r\n"; string(w.Buf) != want {
		t.Errorf("got %q, want %q", w.Buf, want)
	}
}

func FuzzRESP(f *testing.F) {
	f.Add([]byte(resptest.Command("SET", "k", "v")), uint8(3))
	f.Add([]byte("SET k \"v\\x41\"\r\n*1\r\n$3\r\nfoo\r\n"), uint8(1))
	for _, tt := range resptest.Malformed {
		if len(tt.Input) < 100 {
			f.Add([]byte(tt.Input), uint8(5))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, step uint8) {
		var whole, pieces feeder
		wholeErr := whole.feed(input)

		var err error
		for rest := input; len(rest) > 0 && err == nil; {
			n := min(len(rest), int(step)+1)
			err = pieces.feed(rest[:n])
			rest = rest[n:]
		}
		if (err == nil) != (wholeErr == nil) {
			t.Fatalf("whole: %v, in pieces: %v", wholeErr, err)
		}
		if diff := cmp.Diff(whole.got, pieces.got); diff != "" {
			t.Fatalf("(-whole +pieces):\n%s", diff)
		}
	})
}
