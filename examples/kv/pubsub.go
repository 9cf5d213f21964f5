package main

import (
	"fmt"
	"strings"

	"github.com/aeloop/ae/examples/internal/resp"
)

// Writing to one client from the callback of another: publish/subscribe, and
// MONITOR.
//
// There is nothing to it. All clients belong to the one goroutine, so to publish
// is to append to the output of each subscriber and to queue it; it leaves before the
// loop sleeps, and a socket that is full holds up nobody: the rest of its output waits
// for it to become writable. That rest is what has to be limited, see setHandlers.

// tell appends to the output of a client, whoever's callback this is, unless it is
// about to be closed.
func (c *client) tell(message func(w *resp.Writer)) bool {
	if c.closing {
		return false
	}
	c.prepare()
	message(&c.out)
	if len(c.out.Buf) >= batch && c.doubtful == 0 {
		c.flush()
	} else {
		c.queue()
	}
	return true
}

// A topic set says who has subscribed to what, by channel or by pattern.
type topics map[string]map[*client]struct{}

func (c *client) subscriptions() int { return len(c.channels) + len(c.patterns) }

// An interest is in channels or in patterns.
type interest struct {
	prefix string               // of what the commands are called
	all    topics               // that anybody has subscribed to
	own    *map[string]struct{} // that the client has
}

func (c *client) inChannels() interest { return interest{"", c.srv.channels, &c.channels} }
func (c *client) inPatterns() interest { return interest{"p", c.srv.patterns, &c.patterns} }

func subscribeCommand(c *client, args [][]byte)    { c.subscribe(c.inChannels(), args[1:]) }
func psubscribeCommand(c *client, args [][]byte)   { c.subscribe(c.inPatterns(), args[1:]) }
func unsubscribeCommand(c *client, args [][]byte)  { c.unsubscribe(c.inChannels(), args[1:]) }
func punsubscribeCommand(c *client, args [][]byte) { c.unsubscribe(c.inPatterns(), args[1:]) }

func (c *client) subscribe(in interest, names [][]byte) {
	if *in.own == nil {
		*in.own = make(map[string]struct{})
	}
	for _, arg := range names {
		name := string(arg)
		(*in.own)[name] = struct{}{}
		if in.all[name] == nil {
			in.all[name] = make(map[*client]struct{})
		}
		in.all[name][c] = struct{}{}
		c.confirm(in.prefix+"subscribe", name)
	}
	c.reclass()
}

// reclass gives the connection the limits of what the client is by now.
func (c *client) reclass() { c.conn.SetHandler(c.srv.handlers[c.class()]) }

// unsubscribe ends the subscriptions of those names, or all.
func (c *client) unsubscribe(in interest, names [][]byte) {
	kind := in.prefix + "unsubscribe"
	if len(names) == 0 && len(*in.own) == 0 {
		c.out.Push(3)
		c.out.Text(kind)
		c.out.Null()
		c.out.Integer(int64(c.subscriptions()))
	}
	for _, name := range names {
		in.end(c, string(name))
		c.confirm(kind, string(name))
	}
	if len(names) == 0 {
		for name := range *in.own {
			in.end(c, name)
			c.confirm(kind, name)
		}
	}
	c.reclass()
}

func (in interest) end(c *client, name string) {
	delete(*in.own, name)
	delete(in.all[name], c)
	if len(in.all[name]) == 0 {
		delete(in.all, name)
	}
}

func (c *client) confirm(kind, name string) {
	c.out.Push(3)
	c.out.Text(kind)
	c.out.Text(name)
	c.out.Integer(int64(c.subscriptions()))
}

func publishCommand(c *client, args [][]byte) { c.out.Integer(c.srv.publish(args[1], args[2])) }

// publish returns how many clients it has sent the message to.
func (s *server) publish(channel, message []byte) (receivers int64) {
	send := func(to map[*client]struct{}, heading ...string) {
		for c := range to {
			if c.tell(func(w *resp.Writer) {
				w.Push(len(heading) + 2)
				for _, word := range heading {
					w.Text(word)
				}
				w.Bulk(channel)
				w.Bulk(message)
			}) {
				receivers++
			}
		}
	}
	send(s.channels[string(channel)], "message")
	for pattern, clients := range s.patterns {
		if match([]byte(pattern), channel, false) {
			send(clients, "pmessage", pattern)
		}
	}
	return receivers
}

func pubsubChannelsCommand(c *client, args [][]byte) {
	if len(args) > 3 {
		c.wrongSubcommand(args)
		return
	}
	var names []string
	for name := range c.srv.channels {
		if len(args) == 2 || match(args[2], []byte(name), false) {
			names = append(names, name)
		}
	}
	c.out.Texts(names)
}

func pubsubNumsubCommand(c *client, args [][]byte) {
	c.out.Array(2 * (len(args) - 2))
	for _, name := range args[2:] {
		c.out.Bulk(name)
		c.out.Integer(int64(len(c.srv.channels[string(name)])))
	}
}

func pubsubNumpatCommand(c *client, args [][]byte) { c.out.Integer(int64(len(c.srv.patterns))) }

// MONITOR.

func monitorCommand(c *client, args [][]byte) {
	if c.monitor {
		return // Redis has no reply either
	}
	c.monitor = true
	c.srv.monitors[c] = struct{}{}
	c.reclass()
	c.out.Status("OK")
}

// feedMonitors shows a command that was executed to those who watch.
func (s *server) feedMonitors(c *client, args [][]byte) {
	peer, _ := c.addresses()
	if c.conn != nil && c.unix() {
		peer = s.address
	}
	now := s.clock().UnixMicro()
	line := fmt.Appendf(nil, "%d.%06d [%d %s]", now/1e6, now%1e6, c.db.Index, peer)
	for _, arg := range args {
		line = appendQuoted(append(line, ' '), arg)
	}

	for m := range s.monitors {
		m.tell(func(w *resp.Writer) { w.Status(string(line)) })
	}
}

// appendQuoted appends arg as it could be typed, in quotes.
func appendQuoted(b, arg []byte) []byte {
	b = append(b, '"')
	for _, x := range arg {
		if i := strings.IndexByte("\\\"\n\r\t\a\b", x); i >= 0 {
			b = append(b, '\\', `\"nrtab`[i])
		} else if x < ' ' || x > '~' {
			b = fmt.Appendf(b, `\x%02x`, x)
		} else {
			b = append(b, x)
		}
	}
	return append(b, '"')
}

// leave ends everything that makes a client receive what it did not ask for.
func (s *server) leave(c *client) {
	for _, in := range [...]interest{c.inChannels(), c.inPatterns()} {
		for name := range *in.own {
			in.end(c, name)
		}
	}
	if c.monitor {
		c.monitor = false
		delete(s.monitors, c)
	}
	if c.index >= 0 {
		c.reclass()
	}
}
