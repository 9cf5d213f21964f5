package main

import (
	"maps"
	"strconv"

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

func subscribeCommand(c *client, args [][]byte) {
	c.subscribe("subscribe", args[1:], c.srv.channels, &c.channels)
}

func psubscribeCommand(c *client, args [][]byte) {
	c.subscribe("psubscribe", args[1:], c.srv.patterns, &c.patterns)
}

func unsubscribeCommand(c *client, args [][]byte) {
	c.unsubscribe("unsubscribe", args[1:], c.srv.channels, c.channels)
}

func punsubscribeCommand(c *client, args [][]byte) {
	c.unsubscribe("punsubscribe", args[1:], c.srv.patterns, c.patterns)
}

func (c *client) subscribe(kind string, names [][]byte, all topics, own *map[string]struct{}) {
	if *own == nil {
		*own = make(map[string]struct{})
	}
	for _, arg := range names {
		name := string(arg)
		(*own)[name] = struct{}{}
		if all[name] == nil {
			all[name] = make(map[*client]struct{})
		}
		all[name][c] = struct{}{}
		c.confirm(kind, name)
	}
	c.reclass()
}

// reclass gives the connection the limits of what the client is by now.
func (c *client) reclass() { c.conn.SetHandler(c.srv.handlers[c.class()]) }

// unsubscribe ends the subscriptions of those names, or all.
func (c *client) unsubscribe(kind string, names [][]byte, all topics, own map[string]struct{}) {
	if len(names) == 0 && len(own) == 0 {
		c.out.Push(3)
		c.out.Text(kind)
		c.out.Null()
		c.out.Integer(int64(c.subscriptions()))
	}
	for _, name := range names {
		all.remove(c, string(name), own)
		c.confirm(kind, string(name))
	}
	if len(names) == 0 {
		for name := range maps.Clone(own) {
			all.remove(c, name, own)
			c.confirm(kind, name)
		}
	}
	c.reclass()
}

func (t topics) remove(c *client, name string, own map[string]struct{}) {
	delete(own, name)
	delete(t[name], c)
	if len(t[name]) == 0 {
		delete(t, name)
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
	for c := range s.channels[string(channel)] {
		if c.tell(func(w *resp.Writer) {
			w.Push(3)
			w.Text("message")
			w.Bulk(channel)
			w.Bulk(message)
		}) {
			receivers++
		}
	}
	for pattern, clients := range s.patterns {
		if !match([]byte(pattern), channel, false) {
			continue
		}
		for c := range clients {
			if c.tell(func(w *resp.Writer) {
				w.Push(4)
				w.Text("pmessage")
				w.Text(pattern)
				w.Bulk(channel)
				w.Bulk(message)
			}) {
				receivers++
			}
		}
	}
	return receivers
}

func pubsubChannelsCommand(c *client, args [][]byte) {
	pattern := []byte("*")
	switch {
	case len(args) > 3:
		c.wrongSubcommand(args)
		return
	case len(args) == 3:
		pattern = args[2]
	}
	var names []string
	for name := range c.srv.channels {
		if match(pattern, []byte(name), false) {
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
	line := strconv.FormatInt(now/1e6, 10) + "." + strconv.FormatInt(1e6+now%1e6, 10)[1:]
	b := append([]byte(line), " ["+strconv.Itoa(c.db.Index)+" "+peer+"]"...)
	for _, arg := range args {
		b = appendQuoted(append(b, ' '), arg)
	}

	for m := range s.monitors {
		m.tell(func(w *resp.Writer) { w.Status(string(b)) })
	}
}

// appendQuoted appends arg as it could be typed, in quotes.
func appendQuoted(b, arg []byte) []byte {
	b = append(b, '"')
	for _, x := range arg {
		switch {
		case x == '\\' || x == '"':
			b = append(b, '\\', x)
		case '\a' <= x && x <= '\r' && x != '\v' && x != '\f':
			b = append(b, '\\', "abtn__r"[x-'\a'])
		case x < ' ' || x > '~':
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'x', hex[x>>4], hex[x&15])
		default:
			b = append(b, x)
		}
	}
	return append(b, '"')
}

// leave ends everything that makes a client receive what it did not ask for.
func (s *server) leave(c *client) {
	for name := range c.channels {
		s.channels.remove(c, name, c.channels)
	}
	for name := range c.patterns {
		s.patterns.remove(c, name, c.patterns)
	}
	if c.monitor {
		c.monitor = false
		delete(s.monitors, c)
	}
	if c.index >= 0 {
		c.reclass()
	}
}
