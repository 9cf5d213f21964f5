package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever changes a line that a mutant changes learns of it here: the mutant has
// to follow, or to go.
func TestEveryMutantFits(t *testing.T) {
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if err := check("../..", all); err != nil {
		t.Error(err)
	}
	for _, m := range all {
		if m.name == "" || m.packages() == nil {
			t.Errorf("%s: %q has no name, or no tests", m.file, m.name)
		}
	}
}

func TestMutantsAreParsedAndChecked(t *testing.T) {
	root := t.TempDir()
	source := "package p\n\nfunc f() {\n\ta()\n\tb()\n\ta()\n}\n"
	if err := os.WriteFile(filepath.Join(root, "p.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := parse(`// a comment
=== p.go tags=x
# good
@ race run=TestP
 	b()
-	a()
+	c()

# ambiguous
-	a()

# half a line
-	b

# no Go
-	b()
+	b(

# idle
 	b()

# good
-	b()
`)
	if err != nil || len(all) != 6 {
		t.Fatalf("%d mutants, %v", len(all), err)
	}
	m := all[0]
	if m.name != "good" || m.file != "p.go" || m.tags != "x" || !m.race || m.run != "TestP" || all[1].race {
		t.Errorf("%+v", m)
	}
	if got, err := m.apply(root); err != nil || got != "package p\n\nfunc f() {\n\ta()\n\tb()\n\tc()\n}\n" {
		t.Errorf("%q, %v", got, err)
	}
	err = check(root, all)
	if err == nil {
		t.Fatal("everything fits")
	}
	for _, want := range []string{
		"ambiguous: what it changes is there 2 times", "half a line: what it changes is there 0 times",
		"no Go: what comes out is not Go", "idle: it changes nothing", "good: there are two of this name",
	} {
		if !strings.Contains(err.Error(), "p.go: "+want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}
