package main

import "time"

// broadcast sends on one connection, and again when what was sent has come on all.
// Each delivery counts as a reply. The last one sends: servers accept in order, and
// so know of all when they hear it.
func broadcast(o options) {
	c := dial(o, o.conns)
	for end := time.Now().Add(o.warm); c.replies == 0 || c.looked.Before(end); {
		c.tellAll()
	}
	u := c.measure(o.pid)
	for end := u.start.Add(o.timed); c.replies == 0 || c.looked.Before(end); {
		c.tellAll()
	}
	u.report()
}

func (c *client) tellAll() {
	last := c.list[len(c.list)-1]
	message := last.req.batch
	c.send(last, message)
	for owed := len(message) * len(c.list); owed > 0; {
		n := c.poll()
		for _, ev := range c.events[:n] {
			owed -= read(int(ev.Fd), c.buf)
		}
	}
	c.replies += len(c.list)
}
