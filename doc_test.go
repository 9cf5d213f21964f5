package ae

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// What the package comment and README.md point to must be there: examples by
// name, and files by links.
func TestTheDocumentationPointsToWhatExists(t *testing.T) {
	examples := source(t, "example_test.go")
	for _, file := range []string{"doc.go", "README.md"} {
		text := source(t, file)
		for _, name := range regexp.MustCompile(`\bExample\w+`).FindAllString(text, -1) {
			if !strings.Contains(examples, "func "+name+"()") {
				t.Errorf("%s: example_test.go has no %s", file, name)
			}
		}
		paths := regexp.MustCompile(`\bexamples/[a-z]+\b`).FindAllString(text, -1)
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			paths = append(paths, link[1])
		}
		for _, path := range paths {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
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

// The package comment says what a descriptor costs.
func TestAFileEventTakes32Bytes(t *testing.T) {
	if size := unsafe.Sizeof(fileEvent{}); strconv.IntSize == 64 && size != 32 {
		t.Errorf("it takes %d", size)
	}
}
