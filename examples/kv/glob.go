package main

import "bytes"

// match reports whether s matches a pattern as Redis has them: * for any bytes, ?
// for one, [abc], [^abc] and [a-z] for one of a set, \ before a byte that shall
// mean itself. An unclosed set ends with the pattern. Letters are compared
// without their case if fold is set.
//
// Only the last * is ever tried again: if what stands between it and the next
// one matches early, a later match could do no better. So the time is at most the
// product of the lengths, whatever the pattern.
func match(pattern, s []byte, fold bool) bool {
	if fold {
		pattern, s = []byte(folded(pattern)), []byte(folded(s))
	}

	star, resume := -1, 0 // the pattern behind the last *, and where in s to try it next
	p, i := 0, 0
	for i < len(s) {
		switch n, ok := matchByte(pattern[p:], s[i]); {
		case p < len(pattern) && pattern[p] == '*':
			p++
			star, resume = p, i+1
		case ok:
			p += n
			i++
		case star < 0:
			return false
		default:
			p, i = star, resume
			resume++
		}
	}
	return len(bytes.TrimLeft(pattern[p:], "*")) == 0
}

// matchByte matches b with the first element of pattern, n bytes long.
func matchByte(pattern []byte, b byte) (n int, ok bool) {
	if len(pattern) == 0 {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchSet(pattern, b)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == b
		}
	}
	return 1, pattern[0] == b
}

// matchSet matches b with the set that pattern begins with.
func matchSet(pattern []byte, b byte) (n int, ok bool) {
	n = 1
	negated := n < len(pattern) && pattern[n] == '^'
	if negated {
		n++
	}

	for ; n < len(pattern) && pattern[n] != ']'; n++ {
		switch rest := pattern[n:]; {
		case rest[0] == '\\' && len(rest) > 1:
			n++
			ok = ok || rest[1] == b
		case len(rest) > 2 && rest[1] == '-':
			n += 2
			ok = ok || min(rest[0], rest[2]) <= b && b <= max(rest[0], rest[2])
		default:
			ok = ok || rest[0] == b
		}
	}
	return min(n+1, len(pattern)), ok != negated
}
