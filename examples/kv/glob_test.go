package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestPatternsMatchAsInRedis(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "", false}, {"a", "A", false},
		{"*", "", true}, {"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true}, {"a*d", "abc", false},
		{"**a**", "bab", true}, {"a*b*c", "aXbXbXc", true}, {"a*b*c", "aXbXbX", false},
		{"?", "a", true}, {"?", "", false}, {"a?c", "abc", true}, {"h?llo", "hllo", false},
		{"h[ae]llo", "hello", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false},
		{"[", "a", false}, {"[a", "a", true}, {"[]a", "a", false}, {`[\]]`, "]", true}, {`[\-]`, "-", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true}, {`\?x`, "?x", true},
		{"*[0-9]", "key7", true}, {"*[0-9]", "key", false},
	}
	for _, tt := range tests {
		if got := match([]byte(tt.pattern), []byte(tt.s), false); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
	if !match([]byte("MaxMem*"), []byte("maxmemory"), true) {
		t.Error("the case of letters was not folded")
	}
	if hard := strings.Repeat("*a", 2000) + "b"; match([]byte(hard), bytes.Repeat([]byte("a"), 4000), false) {
		t.Error("matched what cannot match")
	}
}
