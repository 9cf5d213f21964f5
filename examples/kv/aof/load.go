package aof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

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
	r     *bufio.Reader
	size  int64 // of the file
	at    int64 // how far it is read
	args  [][]byte
	multi [][][]byte // the commands since MULTI, or nil
	cmds  Commands
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
	l := &loader{
		r:    bufio.NewReaderSize(f.file, 1<<20),
		size: info.Size(),
		cmds: f.cfg.Commands,
	}

	whole := int64(0) // how far there is nothing but whole commands
	for err == nil && l.at < l.size {
		at := l.at
		if err = l.read(); err == nil {
			err = l.execute()
		}
		switch {
		case err == errShort && l.hasCommandBehind(f.file, at):
			return 0, corrupt(f.cfg.Path, at, errors.New("a length in it goes beyond commands that follow"))
		case err != nil && err != errShort:
			return 0, corrupt(f.cfg.Path, at, err)
		case err == nil && l.multi == nil:
			whole = l.at
		}
	}
	if whole == l.size {
		return l.size, nil
	}

	f.cfg.Logger.Warn("the append-only file ends in the middle of a command, which is cut off",
		"file", f.cfg.Path, "offset", whole, "bytes", l.size-whole)
	if err := f.file.Truncate(whole); err != nil {
		return 0, err
	}
	return whole, f.file.Sync()
}

func corrupt(path string, at int64, why error) error {
	return fmt.Errorf("%s is corrupt: the command at byte %d: %w", path, at, why)
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

	l.args = slices.Grow(l.args[:0], min(n, 1024))
	for range n {
		arg, err := l.argument()
		if err != nil {
			return err
		}
		l.args = append(l.args, arg)
	}
	return nil
}

// header reads a line of kind and a number.
func (l *loader) header(kind byte, limit int) (n int, err error) {
	line, err := l.r.ReadSlice('\n')
	l.at += int64(len(line))
	if err != nil && err != io.EOF {
		return 0, errors.New("a line in it is too long")
	}

	text, ended := bytes.CutSuffix(line, []byte("\r\n"))
	if !ended && err == io.EOF {
		text = bytes.TrimSuffix(line, []byte("\r"))
	} else if !ended {
		return 0, errors.New("a line in it does not end in CR LF")
	}
	if len(text) > 0 && text[0] != kind {
		return 0, fmt.Errorf("there is %q where %q should be", text[0], kind)
	}
	for i, b := range text {
		if i > 0 && (b < '0' || b > '9' || i > len("512000000")) {
			return 0, errors.New("a length in it is no number, or too large")
		}
		if i > 0 {
			n = 10*n + int(b-'0')
		}
	}

	switch {
	case !ended:
		return 0, errShort
	case len(text) < 2:
		return 0, errors.New("a length in it is missing")
	case n > limit:
		return 0, errors.New("a length in it is no number, or too large")
	}
	return n, nil
}

// argument reads one argument. Its memory is used again for the next command, unless
// it is a lot.
func (l *loader) argument() ([]byte, error) {
	n, err := l.header('$', resp.MaxBulk)
	if err != nil {
		return nil, err
	}
	if l.size-l.at < int64(n)+2 {
		return nil, errShort
	}

	arg := l.room(n + 2)
	if _, err := io.ReadFull(l.r, arg); err != nil {
		return nil, err
	}
	l.at += int64(len(arg))
	if string(arg[n:]) != "\r\n" {
		return nil, errors.New("an argument in it does not end where its length says")
	}
	return arg[:n], nil
}

func (l *loader) room(n int) []byte {
	const keep = 64 << 10
	if i := len(l.args); n <= keep && i < cap(l.args) {
		if old := l.args[: i+1 : i+1][i]; cap(old) <= keep {
			return slices.Grow(old[:0], n)[:n]
		}
	}
	return make([]byte, n)
}

// execute executes the command in args, or keeps it until EXEC.
func (l *loader) execute() error {
	name := l.args[0]
	switch {
	case resp.Is(name, "MULTI") && l.multi == nil:
		l.multi = [][][]byte{}
	case resp.Is(name, "EXEC") && l.multi != nil:
		queue := l.multi
		l.multi = nil
		for _, args := range queue {
			if err := l.call(args); err != nil {
				return err
			}
		}
	case l.multi != nil:
		if err := l.cmds.Check(l.args); err != nil {
			return err // now: if this was an EXEC, there may be no other
		}
		args := make([][]byte, 0, len(l.args))
		for _, arg := range l.args {
			args = append(args, slices.Clone(arg))
		}
		l.multi = append(l.multi, args)
	default:
		return l.call(l.args)
	}
	return nil
}

func (l *loader) call(args [][]byte) error {
	if err := l.cmds.Check(args); err != nil {
		return err
	}
	return l.cmds.Execute(args)
}

// hasCommandBehind reports whether there is a command inside the one at offset at.
// A length that was damaged can swallow everything behind it, which then looks
// like a file that was cut off in a long argument. (An argument that really was,
// and that has commands in it, is refused too: better ask once too often.)
func (l *loader) hasCommandBehind(file io.ReaderAt, at int64) bool {
	r := bufio.NewReader(io.NewSectionReader(file, at+1, l.size-at-1))
	var before [2]byte // how the last two lines began
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		name := bytes.TrimSuffix(line, []byte("\r\n"))
		if before == [2]byte{'*', '$'} && l.cmds.Known(name) {
			return true
		}

		first := byte(0)
		if len(line) > 0 && err == nil {
			first = line[0]
		}
		before[0], before[1] = before[1], first
	}
}
