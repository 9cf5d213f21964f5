package main

import (
	"embed"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one change: the lines old, which must be in file exactly once, become
// the lines new.
type mutant struct {
	name     string
	file     string // relative to the repository
	old, new string // whole lines

	tags string // what to build with
	race bool   // needs the race detector
	run  string // the tests to run, if not all the fast ones
}

//go:embed mutants
var folder embed.FS

// load reads the folder mutants.
func load() ([]mutant, error) {
	var all []mutant
	err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := folder.ReadFile(path)
		if err != nil {
			return err
		}
		some, err := parse(string(text))
		if err != nil {
			return fmt.Errorf("%s:%w", path, err)
		}
		all = append(all, some...)
		return nil
	})
	return all, err
}

// parse reads the text of one file of mutants. The first character says what a
// line is:
//
//	=  the file that what follows changes: "=== ae_select.go tags=ae_select"
//	#  the name of a mutant
//	@  how to test it: "@ race run=TestClose"
//	-  a line that is there
//	+  a line that takes its place
//	   a line that is there and stays; it makes clear which place is meant
//	/  a comment
//
// Empty lines mean nothing.
func parse(text string) ([]mutant, error) {
	var all []mutant
	var at, m mutant
	next := func() { // m is complete
		if m.name != "" {
			all = append(all, m)
		}
		m = at
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		rest := strings.TrimSuffix(line[1:], "\n")
		switch line[0] {
		case '=':
			next()
			fields := strings.Fields(strings.TrimLeft(rest, "="))
			if len(fields) == 0 {
				return nil, fmt.Errorf("%d: which file?", number)
			}
			at = mutant{file: fields[0]}
			if err := at.options(fields[1:]); err != nil {
				return nil, fmt.Errorf("%d: %w", number, err)
			}
			m = at
		case '#':
			next()
			m.name = strings.TrimSpace(rest)
		case '@':
			if err := m.options(strings.Fields(rest)); err != nil {
				return nil, fmt.Errorf("%d: %w", number, err)
			}
		case '-':
			m.old += rest + "\n"
		case '+':
			m.new += rest + "\n"
		case ' ':
			m.old += rest + "\n"
			m.new += rest + "\n"
		case '\n', '/':
		default:
			return nil, fmt.Errorf("%d: what is %q?", number, line)
		}
	}
	next()
	return all, nil
}

func (m *mutant) options(words []string) error {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "tags":
			m.tags = value
		case "race":
			m.race = true
		case "run":
			m.run = value
		default:
			return fmt.Errorf("what is %q?", word)
		}
	}
	return nil
}

// check returns an error that names every mutant which does not fit the tree
// below root.
func check(root string, all []mutant) error {
	var misfits []error
	names := map[string]bool{}
	for _, m := range all {
		name := m.file + ": " + m.name
		if names[name] {
			misfits = append(misfits, fmt.Errorf("%s: there are two of this name", name))
		}
		names[name] = true
		if _, err := m.apply(root); err != nil {
			misfits = append(misfits, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(misfits...)
}

// apply returns what m makes of its file.
func (m mutant) apply(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	source := "\n" + string(data)
	old := "\n" + m.old
	switch n := strings.Count(source, old); {
	case m.old == m.new:
		return "", errors.New("it changes nothing")
	case m.old == "":
		return "", errors.New("it does not say what it changes")
	case n != 1:
		return "", fmt.Errorf("what it changes is there %d times, and must be there once:\n%s", n, m.old)
	}
	broken := strings.Replace(source, old, "\n"+m.new, 1)[1:]
	if _, err := parser.ParseFile(token.NewFileSet(), m.file, broken, parser.SkipObjectResolution); err != nil {
		return "", fmt.Errorf("what comes out is not Go: %w", err)
	}
	return broken, nil
}
