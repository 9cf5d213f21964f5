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
	s.slowlog = slices.Delete(s.slowlog, 0, max(0, len(s.slowlog)-int(s.cfg.slowlogLimit)))
}

// redacted returns the arguments of a command as anybody may see them: without
// passwords, and what stands where they should.
func redacted(cmd *command, args [][]byte) [][]byte {
	shown := slices.Clone(args)
	for i := 1; i < len(args); i++ {
		secret := false
		switch cmd.name {
		case "auth":
			secret = true
		case "hello":
			secret = i > 2 && resp.Is(args[i-1], "AUTH") || i > 3 && resp.Is(args[i-2], "AUTH")
		case "config|set":
			secret = i%2 == 1 && resp.Is(args[i-1], "REQUIREPASS")
		}
		if secret {
			shown[i] = []byte("(redacted)")
		}
	}
	return shown
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
	if len(args) > 3 {
		c.wrongSubcommand(args)
		return
	}
	count, ok := int64(10), true
	if len(args) == 3 {
		count, ok = resp.ParseInt(args[2])
	}
	if !ok || count < -1 {
		c.out.Error("ERR count should be greater than or equal to -1")
		return
	}

	list := c.srv.slowlog
	if count >= 0 {
		list = list[len(list)-int(min(count, int64(len(list)))):]
	}
	c.out.Array(len(list))
	for _, e := range slices.Backward(list) {
		c.out.Array(6)
		c.out.Integer(e.id)
		c.out.Integer(e.at)
		c.out.Integer(e.took.Microseconds())
		c.out.Texts(e.args)
		c.out.Text(e.peer, e.name)
	}
}

func slowlogLenCommand(c *client, args [][]byte) { c.out.Integer(int64(len(c.srv.slowlog))) }

func slowlogResetCommand(c *client, args [][]byte) {
	c.srv.slowlog = nil
	c.out.Status("OK")
}
