package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/aeloop/ae/examples/internal/resp"
)

// SLOWLOG: the commands that took longest, for the whole server waits for each.

type slowCommand struct {
	id         int64
	at         int64 // seconds since 1970
	took       time.Duration
	args       []string
	peer, name string
}

// noteSlow is called behind a command that may have been slow. It also reads the
// clock for the commands that follow.
func (s *server) noteSlow(c *client, cmd *command, args [][]byte) {
	before := s.mark
	s.readClock()
	took := s.mark.Sub(before)
	if s.cfg.slowerThan < 0 || took.Microseconds() < s.cfg.slowerThan || s.cfg.slowlogLimit == 0 {
		return
	}

	peer, _ := c.addresses()
	s.slowlog = append(s.slowlog, slowCommand{s.slowID, s.mark.Unix(), took, excerpt(redacted(cmd, args)), peer, c.name})
	s.slowID++
	if more := len(s.slowlog) - int(s.cfg.slowlogLimit); more > 0 {
		clear(s.slowlog[copy(s.slowlog, s.slowlog[more:]):])
		s.slowlog = s.slowlog[:s.cfg.slowlogLimit]
	}
}

// redacted returns the arguments of a command as anybody may see them: without
// passwords, and what stands where they should.
func redacted(cmd *command, args [][]byte) [][]byte {
	var secret func(i int) bool
	switch cmd.name {
	case "auth":
		secret = func(i int) bool { return i > 0 }
	case "hello":
		secret = func(i int) bool { return i > 2 && resp.Is(args[i-1], "AUTH") || i > 3 && resp.Is(args[i-2], "AUTH") }
	case "config|set":
		secret = func(i int) bool { return resp.Is(args[i-1], "REQUIREPASS") && i%2 == 1 }
	default:
		return args
	}

	args = slices.Clone(args)
	for i := len(args) - 1; i > 0; i-- {
		if secret(i) {
			args[i] = []byte("(redacted)")
		}
	}
	return args
}

// excerpt copies arguments, but not more than is good to look at.
func excerpt(args [][]byte) (list []string) {
	const maxArgs, maxBytes = 32, 128
	for i, arg := range args {
		if more := len(args) - i; i == maxArgs-1 && more > 1 {
			return append(list, "... ("+strconv.Itoa(more)+" more arguments)")
		}
		if more := len(arg) - maxBytes; more > 0 {
			list = append(list, string(arg[:maxBytes])+"... ("+strconv.Itoa(more)+" more bytes)")
		} else {
			list = append(list, string(arg))
		}
	}
	return list
}

func slowlogGetCommand(c *client, args [][]byte) {
	count := int64(10)
	switch len(args) {
	case 2:
	case 3:
		var ok bool
		if count, ok = resp.ParseInt(args[2]); !ok || count < -1 {
			c.out.Error("ERR count should be greater than or equal to -1")
			return
		}
	default:
		c.wrongSubcommand(args)
		return
	}

	list := c.srv.slowlog
	if count >= 0 && count < int64(len(list)) {
		list = list[int64(len(list))-count:]
	}
	c.out.Array(len(list))
	for i := len(list) - 1; i >= 0; i-- {
		e := &list[i]
		c.out.Array(6)
		c.out.Integer(e.id)
		c.out.Integer(e.at)
		c.out.Integer(e.took.Microseconds())
		c.out.Texts(e.args)
		c.out.Text(e.peer)
		c.out.Text(e.name)
	}
}

func slowlogLenCommand(c *client, args [][]byte) { c.out.Integer(int64(len(c.srv.slowlog))) }

func slowlogResetCommand(c *client, args [][]byte) {
	c.srv.slowlog = nil
	c.out.Status("OK")
}
