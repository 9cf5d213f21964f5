// Load is the client of all servers: one goroutine on bare epoll, with raw system calls and no garbage collection, so
// that it costs as little as a client in C. It prints what it saw, and what CPU time the server used meanwhile.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
	"golang.org/x/sys/unix"
)

type options struct {
	port, pid   int
	conns       int
	idle        int    // connections besides, on which nothing is sent
	behind      int    // port to listen at as the server behind a proxy
	what        string // what is asked: echo, or a command of a key-value server
	size        int    // of a message or a value, in bytes
	pipeline    int    // requests that are sent before the first reply is awaited
	keys        int
	rate        int // requests each second, of the open loop
	warm, timed time.Duration
}

func main() {
	debug.SetGCPercent(-1) // a raw call that waits would stop it anyway
	var o options
	flag.IntVar(&o.port, "port", 0, "port of the server on 127.0.0.1")
	flag.IntVar(&o.pid, "pid", 0, "process of the server, for its CPU time")
	flag.IntVar(&o.conns, "conns", 50, "connections")
	flag.IntVar(&o.idle, "idle", 0, "connections besides that are idle, for closed")
	flag.IntVar(&o.behind, "behind", 0, "port at which to be the echo server that a proxy passes on to, for closed")
	flag.StringVar(&o.what, "what", "echo", "echo, ping, get, set, incr, mset, mixed, memcache-get or memcache-set")
	flag.IntVar(&o.size, "size", 64, "bytes of a message or a value")
	flag.IntVar(&o.pipeline, "pipeline", 1, "requests sent at once")
	flag.IntVar(&o.keys, "keys", 100_000, "number of keys")
	flag.IntVar(&o.rate, "rate", 1000, "requests each second, for open")
	flag.DurationVar(&o.warm, "warm", 200*time.Millisecond, "time before measuring")
	flag.DurationVar(&o.timed, "time", time.Second, "time of measuring")
	flag.CommandLine.Parse(os.Args[min(2, len(os.Args)):])

	switch work.Mode() {
	case "closed":
		closed(o)
	case "open":
		open(o)
	case "fill":
		fill(o)
	case "broadcast":
		broadcast(o)
	case "churn":
		churn(o)
	case "idle":
		idle(o)
	default:
		os.Exit(2)
	}
}

// measure measures what c does from now until the result is reported.
func (c *client) measure(pid int) *usage {
	c.replies, c.idle, c.looked = 0, 0, time.Now()
	return &usage{c: c, pid: pid, start: c.looked, server: work.CPUOf(pid), mine: work.CPUOf(os.Getpid())}
}

type usage struct {
	c            *client
	pid          int
	start        time.Time
	server, mine time.Duration
}

// report prints the rate of replies, what each cost the server, and how busy both sides were.
func (u *usage) report() {
	elapsed := time.Since(u.start)
	server, mine := work.CPUOf(u.pid)-u.server, work.CPUOf(os.Getpid())-u.mine
	n := u.c.replies
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / elapsed.Seconds() }
	work.Print("rate", float64(n)/elapsed.Seconds(), "/s")
	work.Print("cpu", work.Micros(server)/float64(max(n, 1)), "us")
	work.Print("server", share(server), "%")
	work.Print("client", 100-share(u.c.idle), "%")
	work.Print("core", share(mine), "%") // what the client got of its core: others were running if that is less than all
}

// closed sends on each connection when the last reply has come, and measures how many replies there are.
func closed(o options) {
	var behind *backend
	if o.behind != 0 {
		behind = listen(o.behind) // before the proxy dials
	}
	c := dial(o, o.conns+o.idle)
	if behind != nil {
		behind.accept(c)
	}
	c.askOnce()
	c.choose(o.conns)
	c.sendAll()
	c.runUntil(time.Now().Add(o.warm))

	u := c.measure(o.pid)
	c.runUntil(u.start.Add(o.timed))
	u.report()
}

// fill sets every key once. A thousand requests are always under way, so the longest time without a reply is that of the
// slowest one.
func fill(o options) {
	if o.what != "memcache-set" {
		o.what = "set"
	}
	o.pipeline = 100
	c := dial(o, 10)
	c.sequence = 1
	start := time.Now()
	last, silence := start, time.Duration(0)
	c.sendAll()
	for c.replies < o.keys {
		before := c.replies
		if now := c.step(); c.replies > before {
			silence = max(silence, now.Sub(last))
			last = now
		}
	}
	work.Print("fill", float64(c.replies)/time.Since(start).Seconds(), "/s")
	work.Print("silence", work.Micros(silence), "us")
}

// idle opens connections, asks once on each, and holds them until its input ends.
func idle(o options) {
	raiseLimit()
	req := newRequest(o)
	buf := make([]byte, 64<<10)
	for range o.conns {
		fd, err := connect(o.port)
		work.Check(err)
		_, err = unix.Write(fd, req.batch)
		work.Check(err)
		for owed := req.owed; owed > 0; {
			n, err := unix.Read(fd, buf)
			if n <= 0 {
				work.Fail(fmt.Errorf("the server ended a connection: %v", err))
			}
			owed -= req.units(buf[:n])
		}
	}
	work.Print("connections", float64(o.conns), "-")
	io.Copy(io.Discard, os.Stdin)
}
