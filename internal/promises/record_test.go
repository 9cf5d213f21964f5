package promises_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheRecordIsTrue looks whether PITFALLS.md has every number that a comment
// refers to, and whether the tests that it names exist.
func TestTheRecordIsTrue(t *testing.T) {
	record := readFile(t, "PITFALLS.md")
	numbers := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\*\*(\d+)\. `).FindAllStringSubmatch(record, -1) {
		numbers[m[1]] = true
	}
	sources := ""
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			sources += readFile(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, m := range regexp.MustCompile(`pitfalls? (\d+)(?:(?:,| and) (\d+))?`).FindAllStringSubmatch(sources, -1) {
		for _, n := range m[1:] {
			if n != "" && !numbers[n] {
				t.Errorf("a comment refers to pitfall %s, which is not in the record", n)
			}
		}
	}
	for _, m := range regexp.MustCompile("`(?:(Test|Fuzz)|([A-Z]\\w+)/)(\\w+)`").FindAllStringSubmatch(record, -1) {
		want := "func " + m[1] + m[3] + "("
		if m[2] != "" {
			want = `"` + m[3]
		}
		if m[0] != "`TestConformance`" && !strings.Contains(sources, want) {
			t.Errorf("there is no %s", m[0])
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
