package main

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aeloop/ae/examples/internal/resp"
)

// commands has what each name stands for. arity is how many words a call has, the
// name included; -n is n or more.
var commands = map[string]struct {
	arity int
	run   func(s *server, args [][]byte)
}{
	"ping":   {1, (*server).ping},
	"get":    {2, (*server).get},
	"set":    {3, (*server).set},
	"del":    {-2, (*server).del},
	"exists": {-2, (*server).exists},
	"incr":   {2, (*server).incr},
	"expire": {3, (*server).expire},
	"ttl":    {2, (*server).ttl},
}

const notInteger = "ERR value is not an integer or out of range"

// call executes a command, which appends its reply to s.out.
func (s *server) call(args [][]byte) {
	if len(args) == 0 {
		return // an empty line
	}
	name := strings.ToLower(string(args[0]))
	cmd, ok := commands[name]
	switch n := len(args); {
	case !ok:
		s.out.Error("ERR unknown command '" + name[:min(len(name), 128)] + "'")
	case n != cmd.arity && (cmd.arity > 0 || n < -cmd.arity):
		s.out.Error("ERR wrong number of arguments for '" + name + "' command")
	default:
		cmd.run(s, args)
	}
}

func (s *server) ping([][]byte) { s.out.Status("PONG") }

func (s *server) get(args [][]byte) {
	if value, ok := s.data.get(string(args[1])); ok {
		s.out.Bulk(value)
	} else {
		s.out.Null()
	}
}

// set keeps a copy: args point into the buffer that the loop reads into.
func (s *server) set(args [][]byte) {
	delete(s.data.expires, string(args[1]))
	s.data.values[string(args[1])] = bytes.Clone(args[2])
	s.out.Status("OK")
}

func (s *server) del(args [][]byte)    { s.count(args[1:], s.data.del) }
func (s *server) exists(args [][]byte) { s.count(args[1:], func(string) {}) }

// count replies with how many keys are there, and calls fn for each of those.
func (s *server) count(keys [][]byte, fn func(key string)) {
	n := int64(0)
	for _, key := range keys {
		if _, ok := s.data.get(string(key)); ok {
			fn(string(key))
			n++
		}
	}
	s.out.Integer(n)
}

func (s *server) incr(args [][]byte) {
	value, exists := s.data.get(string(args[1]))
	n, ok := resp.ParseInt(value)
	switch {
	case exists && !ok:
		s.out.Error(notInteger)
	case n == math.MaxInt64:
		s.out.Error("ERR increment or decrement would overflow")
	default:
		s.data.values[string(args[1])] = strconv.AppendInt(nil, n+1, 10)
		s.out.Integer(n + 1)
	}
}

// expire with a time that has passed is the end of the key.
func (s *server) expire(args [][]byte) {
	seconds, ok := resp.ParseInt(args[2])
	wait := time.Duration(seconds) * time.Second
	_, exists := s.data.get(string(args[1]))
	switch {
	case !ok:
		s.out.Error(notInteger)
	case wait/time.Second != time.Duration(seconds):
		s.out.Error("ERR invalid expire time in 'expire' command")
	case !exists:
		s.out.Integer(0)
	default:
		s.data.expires[string(args[1])] = s.data.now.Add(wait)
		if !s.sweeping {
			s.sweeping = true
			s.el.CreateTimeEvent(sweepPause, s.sweep)
		}
		s.out.Integer(1)
	}
}

func (s *server) ttl(args [][]byte) {
	n := int64(-2)
	if _, ok := s.data.get(string(args[1])); ok {
		n = -1
	}
	if at, ok := s.data.expires[string(args[1])]; ok {
		n = int64(at.Sub(s.data.now).Round(time.Second) / time.Second)
	}
	s.out.Integer(n)
}
