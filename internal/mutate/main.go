// Command mutate breaks the library on purpose, one change at a time, and expects
// the tests to fail each time. A change that no test minds means that a test is
// missing: the command prints those, and ends with 1. From the repository:
//
//	go run ./internal/mutate [-only file or folder] [-j jobs] [part of a name]
//
// The changes are in the folder mutants, as pieces of diffs. It runs them on a
// copy of the repository, never on the tree itself. One whose text is no longer
// there exactly once is named before anything runs; so is it by this package's
// own test.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "the mutants of this file, or of the files in this folder")
	jobs := flag.Int("j", runtime.NumCPU(), "how many at a time")
	flag.Parse()
	ok, err := mutate(*only, flag.Arg(0), *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// mutate runs the mutants of the files that only names and whose name has part in
// it, and reports whether none of them survived.
func mutate(only, part string, jobs int) (ok bool, err error) {
	all, err := load()
	if err != nil {
		return false, err
	}
	if err := check(".", all); err != nil {
		return false, err
	}
	var todo []mutant
	for _, m := range all {
		inside := only == "" || m.file == only || strings.HasPrefix(m.file, strings.TrimSuffix(only, "/")+"/")
		if inside && strings.Contains(m.name, part) {
			todo = append(todo, m)
		}
	}
	if len(todo) == 0 {
		return false, fmt.Errorf("no mutant of %q has %q in its name", only, part)
	}

	start := time.Now()
	tree, err := snapshot(".")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tree)
	longest, err := unbroken(tree, todo)
	if err != nil {
		return false, err
	}
	survivors, err := runAll(tree, todo, jobs, longest)
	fmt.Printf("%d of %d mutants killed in %v\n", len(todo)-len(survivors), len(todo), time.Since(start).Round(time.Second))
	for _, m := range survivors {
		fmt.Printf("survived: %s: %s\n", m.file, m.name)
	}
	return len(survivors) == 0, err
}
