package aof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/aeloop/ae/examples/internal/resp"
)

// loader executes the commands in an append-only file. What it finds there
// that is not whole it tells apart:
//
//   - A file that ends in the middle of a command, or between MULTI and EXEC, was
//     being written when everything stopped. Those commands were acknowledged to
//     nobody, and are cut off.
//   - Anything else is damage. To go on behind it, or to drop what is there, is not
//     for a program to decide: it is refused, and the offset reported.
type loader struct {
	*File
	r     *bufio.Reader
	end   int64 // of the file
	at    int64 // how far it is read
	args  [][]byte
	mem   []byte     // where they stand
	multi [][][]byte // the commands since MULTI, or nil
}

// errShort means that the file ends here and should not.
var errShort = errors.New("the file ends in the middle of a command")

// load executes the file, cuts it where it is whole, and returns its size. The
// clock stands at 1970 meanwhile, for no key to expire before the commands that
// came in its lifetime: what the file says about it is in the file.
func (f *File) load() (size int64, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	l := &loader{File: f, r: bufio.NewReaderSize(f.file, 1<<20), end: info.Size()}

	whole := int64(0) // how far there is nothing but whole commands
	for err == nil && l.at < l.end {
		at := l.at
		if err = l.read(); err == nil {
			err = l.execute()
		}
		if err == errShort {
			err = l.checkEnd(at)
		}
		if failed := (*os.PathError)(nil); errors.As(err, &failed) {
			return 0, err // of the disk: the file may be good
		}
		if err != nil && err != errShort {
			return 0, fmt.Errorf("%s is corrupt: the command at byte %d: %w", f.cfg.Path, at, err)
		}
		if err == nil && l.multi == nil {
			whole = l.at
		}
	}
	if whole == l.end {
		return whole, nil
	}

	f.cfg.Logger.Warn("the append-only file ends in the middle of a command, which is cut off",
		"file", f.cfg.Path, "offset", whole, "bytes", l.end-whole)
	if err := f.file.Truncate(whole); err != nil {
		return 0, err
	}
	return whole, f.file.Sync()
}

// read reads one command into args.
func (l *loader) read() error {
	n, err := l.header('*', resp.MaxArgs)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("it is empty")
	}

	l.args, l.mem = l.args[:0], l.mem[:0]
	if cap(l.mem) > 64<<10 {
		l.mem = nil // it was a lot
	}
	for range n {
		if err := l.argument(); err != nil {
			return err
		}
	}
	return nil
}

// header reads a line of kind and a number. One that the file ends in the middle of
// has to be the beginning of a good one.
func (l *loader) header(kind byte, limit uint64) (n int, err error) {
	line, err := l.r.ReadSlice('\n')
	l.at += int64(len(line))
	text, ended := bytes.CutSuffix(line, []byte("\r\n"))
	if err == io.EOF {
		text = bytes.TrimSuffix(line, []byte("\r"))
	}
	number, notNumber := strconv.ParseUint(string(text[min(1, len(text)):]), 10, 64)

	switch {
	case err == bufio.ErrBufferFull:
		return 0, errors.New("a line in it is too long")
	case err != nil && err != io.EOF:
		return 0, err
	case err == nil && !ended:
		return 0, errors.New("a line in it does not end in CR LF")
	case len(text) > 0 && text[0] != kind:
		return 0, fmt.Errorf("there is %q where %q should be", text[0], kind)
	case len(text) > 1 && (notNumber != nil || number > limit):
		return 0, errors.New("a length in it is no number, or too large")
	case !ended:
		return 0, errShort
	case len(text) < 2:
		return 0, errors.New("a length in it is missing")
	}
	return int(number), nil
}

// argument reads one more argument into args.
func (l *loader) argument() error {
	n, err := l.header('$', resp.MaxBulk)
	if err != nil {
		return err
	}
	if l.end-l.at < int64(n)+2 {
		return errShort
	}

	start := len(l.mem)
	l.mem = slices.Grow(l.mem, n+2)[:start+n+2] // the arguments before do not move
	arg := l.mem[start:]
	if _, err := io.ReadFull(l.r, arg); err != nil {
		return err
	}
	l.at += int64(len(arg))
	if string(arg[n:]) != "\r\n" {
		return errors.New("an argument in it does not end where its length says")
	}
	l.args = append(l.args, arg[:n:n])
	return nil
}

// execute executes the command in args, or keeps it until EXEC.
func (l *loader) execute() error {
	name := l.args[0]
	switch {
	case resp.Is(name, "MULTI") && l.multi == nil:
		l.multi = [][][]byte{}
		return nil
	case resp.Is(name, "EXEC") && l.multi != nil:
		queue := l.multi
		l.multi = nil
		for _, args := range queue {
			if err := l.cfg.Commands.Execute(args); err != nil {
				return err
			}
		}
		return nil
	}

	if err := l.cfg.Commands.Check(l.args); err != nil {
		return err // now, in a MULTI too: if this was an EXEC, there may be no other
	}
	if l.multi == nil {
		return l.cfg.Commands.Execute(l.args)
	}
	l.multi = append(l.multi, l.args)
	l.args, l.mem = nil, nil
	return nil
}

// checkEnd returns errShort, unless there is a command inside the one at offset at.
// A length that was damaged can swallow everything behind it, which then looks
// like a file that was cut off in a long argument. (An argument that really was,
// and that has commands in it, is refused too: better ask once too often.)
func (l *loader) checkEnd(at int64) error {
	r := bufio.NewReader(io.NewSectionReader(l.file, at+1, l.end-at-1))
	var before [2]byte // how the last two lines began
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			line = []byte{0} // a piece of something long
		case err == io.EOF:
			return errShort
		case err != nil:
			return err
		case before == [2]byte{'*', '$'} && l.cfg.Commands.Known(bytes.TrimSuffix(line, []byte("\r\n"))):
			return errors.New("a length in it goes beyond commands that follow")
		}
		before[0], before[1] = before[1], line[0]
	}
}
