package ae_test

import (
	"os"
	"strings"
	"testing"
)

// TestTheDocumentedServerIsTheOneThatRuns compares the server in README.md with
// the one in the package comment, and its callbacks with those of Example_echo.
func TestTheDocumentedServerIsTheOneThatRuns(t *testing.T) {
	readme := source(t, "README.md")
	_, server, found := strings.Cut(readme, "```go\npackage main\n")
	server, _, closed := strings.Cut(server, "\n```")
	if !found || !closed {
		t.Fatal("README.md shows no server")
	}
	server = "package main\n" + server

	var comment strings.Builder
	for line := range strings.Lines(source(t, "doc.go")) {
		comment.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "//"), "\t"))
	}
	if !strings.Contains(comment.String(), server) {
		t.Error("the server in doc.go is not the one in README.md")
	}
	_, callbacks, _ := strings.Cut(server, "\n}\n") // behind main
	if !strings.Contains(source(t, "example_test.go"), callbacks) {
		t.Error("the callbacks in README.md are not those of Example_echo")
	}
}

func source(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
