package main

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/aeloop/ae/bench/internal/work"
	"golang.org/x/sys/unix"
)

// open sends at a fixed rate, whatever the server does, and takes the latency of each reply from the moment at which
// its request was due, sent in time or not. Waiting for a reply before the next request would leave out just those
// requests that a slow server delays (coordinated omission).
func open(o options) {
	c := dial(o, o.conns)
	hist := hdrhistogram.New(1, int64(time.Minute), 3)
	interval := float64(time.Second) / float64(o.rate)
	start := time.Now()
	measured := start.Add(o.warm)
	end := measured.Add(o.timed)

	var u *usage
	sent := 0
	for now := start; now.Before(end) || u == nil || c.replies == 0; now = time.Now() {
		if u == nil && !now.Before(measured) {
			u = c.measure(o.pid)
		}
		for due := start.Add(time.Duration(float64(sent) * interval)); !due.After(now); sent++ {
			cn := c.list[sent%len(c.list)]
			cn.due = append(cn.due, due)
			c.sendBatch(cn)
			due = start.Add(time.Duration(float64(sent+1) * interval))
		}
		c.collect(hist, measured)
	}
	u.report()
	c.drain(hist, measured)
	for _, q := range []float64{50, 99, 99.9, 99.99} {
		work.Print(fmt.Sprintf("p%v", q), float64(hist.ValueAtQuantile(q))/1e3, "us")
	}
}

// collect takes the replies that are there.
func (c *client) collect(hist *hdrhistogram.Histogram, measured time.Time) {
	n := c.poll()
	for _, ev := range c.events[:n] {
		cn := c.conns[ev.Fd]
		if ev.Events&unix.EPOLLOUT != 0 {
			c.flush(cn)
		}
		if ev.Events&^unix.EPOLLOUT == 0 {
			continue
		}
		cn.owed -= cn.req.units(c.buf[:read(cn.fd, c.buf)])
		unanswered := (cn.owed + cn.req.each - 1) / cn.req.each
		now := time.Now()
		for len(cn.due)-cn.head > unanswered {
			cn.answered(hist, now, measured)
			c.replies++
		}
	}
}

func (cn *conn) answered(hist *hdrhistogram.Histogram, now, measured time.Time) {
	if due := cn.due[cn.head]; !due.Before(measured) {
		hist.RecordValue(min(int64(now.Sub(due)), int64(time.Minute)))
	}
	cn.head++
	if cn.head == len(cn.due) {
		cn.due, cn.head = cn.due[:0], 0
	}
}

// drain waits a while for the replies that are still to come. Those that do not come count as that late.
func (c *client) drain(hist *hdrhistogram.Histogram, measured time.Time) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && c.outstanding(); {
		c.collect(hist, measured)
	}
	now := time.Now()
	for _, cn := range c.list {
		for cn.head < len(cn.due) {
			cn.answered(hist, now, measured)
		}
	}
}

func (c *client) outstanding() bool {
	for _, cn := range c.list {
		if cn.head < len(cn.due) {
			return true
		}
	}
	return false
}
