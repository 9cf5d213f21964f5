package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// suites says whose tests are to notice what is wrong with a file: those of the
// first entry that its path begins with, one package after the other.
var suites = []struct {
	prefix   string
	packages []string
}{
	{"anet/", []string{"./anet"}},
	{"stream/", []string{"./stream"}},
	{"examples/echo/", []string{"./examples/echo"}},
	{"examples/hello/", []string{"./examples/hello"}},
	{"", []string{"./internal/promises", "."}},
}

// slow tests, most of them under strace, run only for the mutants that name them;
// so does the one of the documentation, which points to what a snapshot has not.
const slow = "TestWithoutEpoll|TestInterrupted|TestNewReturns|TestAnIdleLoop|TestInjected|TestEveryCallThatFails|TestSoak|FUSE|TestTheDocumentation"

// quick names tests that kill most mutants within a second or two. They run first.
const quick = "^TestConformance$"

// patience is how long a test waits for what a broken loop never does.
const patience = "5s"

// snapshot copies the repository to a new directory, except what no test here
// needs.
func snapshot(root string) (dir string, err error) {
	dir, err = os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		switch {
		case path != root && (strings.HasPrefix(d.Name(), ".") || path == "bench"):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// suite is what is run for a mutant.
type suite struct {
	packages, tags, run string
	race                bool
}

func (m mutant) suite() suite {
	return suite{strings.Join(m.packages(), " "), m.tags, m.run, m.race}
}

// limits says how long the tests of a suite may take.
type limits map[suite]time.Duration

// unbroken makes sure that the tests which are to kill these mutants pass as long
// as nothing is broken, and that there are any. It returns how long they may take
// when something is: machines differ, and two mutants run at a time.
func unbroken(tree string, todo []mutant) (limits, error) {
	longest := limits{}
	for _, m := range todo {
		s := m.suite()
		if longest[s] != 0 {
			continue
		}
		m.old, m.new = "", ""
		killer, ran, took, err := m.try(tree, 5*time.Minute)
		switch {
		case err != nil:
			return nil, err
		case killer != "":
			return nil, fmt.Errorf("nothing is broken, and a test fails: %s, of %+v", killer, s)
		case !ran:
			return nil, fmt.Errorf("no test is called %q: %s: %s", m.run, m.file, m.name)
		}
		longest[s] = 2*took + 40*time.Second // the test with a FUSE file needs 20 to give up
	}
	return longest, nil
}

// runAll tries the mutants, so many at a time, and prints a line for each.
func runAll(tree string, todo []mutant, jobs int, longest limits) (survivors []mutant, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan mutant)
	for range jobs {
		wg.Go(func() {
			for m := range next {
				begun := time.Now()
				killer, _, _, failure := m.try(tree, longest[m.suite()])
				mu.Lock()
				switch {
				case failure != nil:
					err = errors.Join(err, fmt.Errorf("%s: %s: %w", m.file, m.name, failure))
					killer = "FAILED"
				case killer == "":
					survivors = append(survivors, m)
					killer = "SURVIVED"
				}
				fmt.Printf("%-60s %-20s %5.1fs  %s\n", m.name, m.file, time.Since(begun).Seconds(), killer)
				mu.Unlock()
			}
		})
	}
	for _, m := range todo {
		next <- m
	}
	close(next)
	wg.Wait()
	return survivors, err
}

func (m mutant) packages() []string {
	for _, s := range suites {
		if strings.HasPrefix(m.file, s.prefix) {
			return s.packages
		}
	}
	return nil
}

// try runs the tests with m in place of what stands in the tree, which itself does
// not change; those of one package may take so long. It returns what killed the
// mutant, or "" if it survived, whether there was any test to run, and how long
// that took without the building. A mutant that does not compile is an error.
func (m mutant) try(tree string, limit time.Duration) (killer string, ran bool, took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", false, 0, err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(tree, dir)
	if err != nil {
		return "", false, 0, err
	}
	binary := filepath.Join(dir, "mutant.test")
	build := []string{"test", "-c", "-p", "1", "-trimpath", "-ldflags", "-s -w", "-overlay", overlay, "-tags", m.tags, "-o", binary}
	if m.race {
		build = append(build, "-race")
	}
	rounds := [][]string{{"-test.run", quick}, {"-test.skip", slow}}
	if m.run != "" {
		rounds = [][]string{{"-test.run", m.run}}
	}

	for _, pkg := range m.packages() {
		if out, err := command(10*time.Minute, tree, "go", append(slices.Clone(build), pkg)...); err != nil {
			return "", ran, took, fmt.Errorf("does not compile: %w\n%s", err, out)
		}
		for _, tests := range rounds {
			start := time.Now()
			args := append([]string{"-test.failfast", "-test.timeout", limit.String()}, tests...)
			out, err := command(limit+10*time.Second, filepath.Join(tree, pkg), binary, args...)
			took += time.Since(start)
			if err != nil {
				return cause(out), true, took, nil
			}
			ran = ran || !strings.Contains(out, "no tests to run")
		}
	}
	return "", ran, took, nil
}

// overlay writes the broken file to dir, and what tells the go command to use it.
func (m mutant) overlay(tree, dir string) (path string, err error) {
	replace := map[string]string{}
	if m.old != "" {
		broken, err := m.apply(tree)
		if err != nil {
			return "", err
		}
		replacement := filepath.Join(dir, "broken.go")
		if err := os.WriteFile(replacement, []byte(broken), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(tree, m.file)] = replacement
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, data, 0o644)
}

// command runs a program in dir, for at most so long, and returns its output.
func command(long time.Duration, dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AE_PATIENCE="+patience, "AE_LONG=", "AE_SOAK=", "AE_PROGRAMS=")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// cause finds the name of the failed test, or the panic, in a test's output.
func cause(out string) string {
	what := "the test binary failed"
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "--- FAIL: "):
			what = strings.Fields(line)[2] // the innermost comes last
		case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "):
			return line[:min(len(line), 90)]
		}
	}
	return what
}
