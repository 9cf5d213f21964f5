// Package resptest is what the tests of servers that speak RESP share.
package resptest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxInline = 64 << 10 // as resp has it

// Malformed is input that ends a connection, with what is said then.
var Malformed = []struct{ Input, Error string }{
	{"*abc\r\n", "invalid multibulk length"},
	{"*1048577\r\n", "invalid multibulk length"},
	{"*99999999999999999999\r\n", "invalid multibulk length"},
	{"*\r\n", "invalid multibulk length"},
	{"*01\r\n", "invalid multibulk length"},
	{"*+1\r\n", "invalid multibulk length"},
	{"*1\r\nPING\r\n", "expected '$', got 'P'"},
	{"*1\r\n\r\n", "expected '$', got '\r'"},
	{"*2\r\n$4\r\nECHO\r\n:1\r\n", "expected '$', got ':'"},
	{"*1\r\n$-1\r\n", "invalid bulk length"},
	{"*1\r\n$x\r\n", "invalid bulk length"},
	{"*1\r\n$536870913\r\n", "invalid bulk length"},
	{"*1\r\n$\r\n", "invalid bulk length"},
	{"SET k \"v\r\n", "unbalanced quotes in request"},
	{"*" + strings.Repeat("1", maxInline), "too big mbulk count string"},
	{"*1\r\n$" + strings.Repeat("1", maxInline), "too big bulk count string"},
	{strings.Repeat("a", maxInline+1), "too big inline request"},
}

// Command encodes a command.
func Command(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b.String()
}

// ReadReply copies one reply from r, in either version of the protocol.
func ReadReply(r *bufio.Reader, to *bytes.Buffer) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	to.Write(line)
	kind := line[0]
	if !strings.ContainsRune("$=*%~>", rune(kind)) {
		return nil
	}

	n, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	if err != nil || n < 0 {
		return err
	}
	switch kind {
	case '$', '=':
		_, err = io.CopyN(to, r, int64(n)+2)
		return err
	case '%':
		n *= 2
	}
	for range n {
		if err := ReadReply(r, to); err != nil {
			return err
		}
	}
	return nil
}
