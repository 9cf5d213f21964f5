package testutil

// Program is where a random test gets its choices from: a string of bytes, which
// a fuzzer can vary, and of which a failing one can be made shorter.
type Program struct {
	code []byte
	pos  int
}

// NewProgram returns the program that code spells.
func NewProgram(code []byte) *Program { return &Program{code: code} }

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
