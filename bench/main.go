// Bench measures ae side by side with what people would take instead, and writes RESULTS.md and plots. README.md beside
// it has the method. It runs on Linux.
//
//	go run .           everything
//	go run . -quick    that everything still works; the figures are worth little
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A row is one subject of the results: what is run for it, and the tables that show it.
type row struct {
	name, title string
	how         string // what is measured, for the reader of the results
	run         func(b *bench)
	tables      []table
}

func rows() []row {
	return []row{
		chainRow(), echoRow(), freeRow(), growthRow(), latencyRow(), timersRow(), latenessRow(), postRow(), churnRow(), idleRow(),
		loopsRow(), proxyRow(), broadcastRow(), watchRow(), tlsRow(), kvRow(), largeRow(), startupRow(), checkRow(),
	}
}

func main() {
	log.SetFlags(0)
	var b bench
	flag.BoolVar(&b.quick, "quick", false, "only see that all of it works")
	only := flag.String("only", "", "comma-separated names of rows, instead of all")
	out := flag.String("out", "", "folder for RESULTS.md and plots (default: this one, or with -quick or -only none)")
	flag.IntVar(&b.rounds, "rounds", 0, "how often each is measured (default 3, or 1 with -quick)")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("bench: unexpected argument %q", flag.Arg(0))
	}
	if b.rounds == 0 {
		b.rounds = b.pick(3, 1)
	}
	if *out == "" && !b.quick && *only == "" {
		*out = "."
	}

	if err := b.all(*only, *out); err != nil {
		log.Fatal("bench: ", err)
	}
}

func (b *bench) all(only, out string) error {
	for name := range strings.SplitSeq(only, ",") {
		if only != "" && !slices.ContainsFunc(rows(), func(r row) bool { return r.name == name }) {
			return fmt.Errorf("there is no row %q", name)
		}
	}
	if _, err := os.Stat("c/common.h"); err != nil {
		return fmt.Errorf("run it in the folder bench: %w", err)
	}
	dir, err := os.MkdirTemp("", "ae-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cleanUpOnSignal(dir)
	b.dir = dir
	if err := b.setUp(); err != nil {
		return err
	}

	start := time.Now()
	var done []row
	for _, r := range rows() {
		if only != "" && !slices.Contains(strings.Split(only, ","), r.name) {
			continue
		}
		b.row = r.name
		log.Printf("%s: %s", r.name, r.title)
		began := time.Now()
		r.run(b)
		done = append(done, r)
		b.writeTables(os.Stderr, r)
		log.Printf("%s took %v", r.name, time.Since(began).Round(100*time.Millisecond))
	}
	b.took = time.Since(start)
	b.writeGoals(os.Stderr, done)

	if out != "" {
		if err := b.plots(filepath.Join(out, "plots"), done); err != nil {
			return err
		}
		if err := b.writeResults(filepath.Join(out, "RESULTS.md"), done); err != nil {
			return err
		}
	}
	return b.verdict()
}

func cleanUpOnSignal(dir string) {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		os.RemoveAll(dir)
		os.Exit(1)
	})
}

// verdict is an error if something of ae itself did not run: CI is there to notice that.
func (b *bench) verdict() error {
	ourFault := 0
	for _, f := range b.failures {
		log.Print("failed: ", f)
		if strings.HasPrefix(f.peer, ours) {
			ourFault++
		}
	}
	if ourFault > 0 {
		return fmt.Errorf("%d measurements of ae failed", ourFault)
	}
	return nil
}
