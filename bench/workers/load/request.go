package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/aeloop/ae/bench/internal/work"
)

// request is what is sent at once, and how to tell that it has been answered: by counting bytes, or, of the text
// protocols, lines. Keys are filled in before each sending.
type request struct {
	batch []byte
	keys  []int // where the digits of a key stand in batch
	owed  int   // units that answer batch
	each  int   // units that answer one request
	lines bool
}

const keyDigits = "000000000000"

func newRequest(o options) request {
	var r request
	one := ""
	switch o.what {
	case "echo":
		one, r.each = strings.Repeat("e", o.size), o.size
	case "memcache-get":
		one, r.each = "get key:"+keyDigits+"\r\n", 3
	case "memcache-set":
		one, r.each = fmt.Sprintf("set key:%s 0 0 %d\r\n%s\r\n", keyDigits, o.size, strings.Repeat("v", o.size)), 1
	default:
		one, r.each = command(o.what, o.size)
	}
	if one == "" {
		work.Fail(fmt.Errorf("nothing is known of %q", o.what))
	}
	r.lines = o.what != "echo"
	r.batch = []byte(strings.Repeat(one, o.pipeline))
	r.owed = r.each * o.pipeline
	for i := 0; ; {
		next := bytes.Index(r.batch[i:], []byte(":"+keyDigits))
		if next < 0 {
			return r
		}
		r.keys = append(r.keys, i+next+1)
		i += next + 1
	}
}

// command returns a command in the protocol of Redis, and how many lines answer it.
func command(name string, size int) (string, int) {
	value := strings.Repeat("v", size)
	switch name {
	case "ping":
		return resp("PING"), 1
	case "get":
		return resp("GET", "key:"+keyDigits), 2
	case "set":
		return resp("SET", "key:"+keyDigits, value), 1
	case "incr":
		return resp("INCR", "counter:"+keyDigits), 1
	case "mset":
		args := []string{"MSET"}
		for range 10 {
			args = append(args, "key:"+keyDigits, value)
		}
		return resp(args...), 1
	}
	return "", 0
}

func resp(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// requests is how many are sent at once.
func (r *request) requests() int { return r.owed / r.each }

// units counts what p answers.
func (r *request) units(p []byte) int {
	if r.lines {
		return bytes.Count(p, []byte{'\n'})
	}
	return len(p)
}

// fillKeys writes keys, below n, into the batch.
func (r *request) fillKeys(key func(n int) int, n int) {
	for _, at := range r.keys {
		k := key(n)
		for i := at + len(keyDigits) - 1; k > 0; i-- {
			r.batch[i] = byte('0' + k%10)
			k /= 10
		}
	}
}

// clearKeys makes all keys zero, for the next to be filled in.
func (r *request) clearKeys() {
	for _, at := range r.keys {
		copy(r.batch[at:], keyDigits)
	}
}
