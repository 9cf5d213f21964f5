package testutil

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Program is where a random test gets its choices from: a string of bytes, which
// a fuzzer can vary, and of which a failing one can be made shorter.
type Program struct {
	code []byte
	pos  int
}

// NewProgram returns the program that code spells.
func NewProgram(code []byte) *Program { return &Program{code: code} }

// RandomCode returns that many bytes, the same for the same seed.
func RandomCode(seed uint64, length int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	code := make([]byte, length)
	for i := range code {
		code[i] = byte(rng.Uint32())
	}
	return code
}

// Programs runs random programs of that many bytes against a model, until one
// fails, which is reported with the shortest that still does. AE_PROGRAMS says how
// many, instead of count.
func Programs(t testing.TB, count, length int, run func(code []byte) error) {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("AE_PROGRAMS")); err == nil {
		count = n
	}
	seed := rand.Uint64()
	for i := range uint64(count) {
		Check(t, fmt.Sprint("seed ", seed+i), RandomCode(seed+i, length), run)
	}
	t.Logf("%d programs from seed %d", count, seed)
}

// Check runs one program.
func Check(t testing.TB, name string, code []byte, run func(code []byte) error) {
	t.Helper()
	if err := run(code); err != nil {
		short := Shrink(code, func(c []byte) bool { return run(c) != nil })
		t.Fatalf("%s breaks a promise: %v\nshrunk: %v\n[]byte(%q)", name, err, run(short), short)
	}
}

// IntN returns a number below n, which is at most 256. It is 0 once the program
// has ended, so 0 must be a choice that does not go on for ever.
func (p *Program) IntN(n int) int {
	if p.Ended() {
		return 0
	}
	p.pos++
	return int(p.code[p.pos-1]) % n
}

// Ended reports whether all choices have been taken.
func (p *Program) Ended() bool { return p.pos >= len(p.code) }

// Shrink returns the shortest program it can find that still fails, in a bounded
// number of tries: it leaves out pieces, and then sets single choices to 0.
func Shrink(code []byte, fails func([]byte) bool) []byte {
	tries := 0
	try := func(c []byte) bool {
		if tries++; tries > 3000 || !fails(c) {
			return false
		}
		code = c
		return true
	}

	for size := len(code) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(code); {
			if !try(append(append([]byte(nil), code[:at]...), code[at+size:]...)) {
				at += size
			}
		}
	}
	for at := range code {
		if code[at] != 0 {
			c := append([]byte(nil), code...)
			c[at] = 0
			try(c)
		}
	}
	return code
}
