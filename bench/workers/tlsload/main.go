// Tlsload is a client of echo servers with TLS: package tls, and a goroutine for each
// connection. What it costs itself does not count: the server's CPU time is read
// from outside.
package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
)

var (
	port  = flag.Int("port", 0, "port of the server on 127.0.0.1")
	pid   = flag.Int("pid", 0, "process of the server, for its CPU time")
	conns = flag.Int("conns", 1, "connections at a time")
	size  = flag.Int("size", 64, "bytes of a message")
	warm  = flag.Duration("warm", 0, "time before measuring")
	timed = flag.Duration("time", time.Second, "time of measuring")
)

var done atomic.Int64 // requests, or handshakes

func main() {
	flag.CommandLine.Parse(os.Args[min(2, len(os.Args)):])
	switch work.Mode() {
	case "closed":
		for range *conns {
			c := dial()
			go func() {
				for {
					ask(c)
					done.Add(1)
				}
			}()
		}
		measure()
	case "handshakes":
		for range *conns {
			go func() {
				for {
					c := dial()
					c.NetConn().(*net.TCPConn).SetLinger(0) // its port is free again at once
					c.NetConn().Close()
					done.Add(1)
				}
			}()
		}
		measure()
	case "idle":
		var held []*tls.Conn
		for range *conns {
			c := dial()
			ask(c)
			held = append(held, c)
		}
		work.Print("connections", float64(*conns), "-")
		io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive(held) // or the garbage collector would close them
	default:
		os.Exit(2)
	}
}

// config has no cache of sessions, so that each handshake is a whole one.
var config = &tls.Config{InsecureSkipVerify: true}

func dial() *tls.Conn {
	c, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)), config)
	work.Check(err)
	return c
}

// ask sends a message, and takes the reply.
func ask(c *tls.Conn) {
	message := bytes.Repeat([]byte{'e'}, *size)
	_, err := c.Write(message)
	work.Check(err)
	_, err = io.ReadFull(c, message)
	work.Check(err)
}

func measure() {
	for end := time.Now().Add(*warm); done.Load() == 0 || time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	start, n, cpu := time.Now(), done.Load(), work.CPUOf(*pid)
	for end := start.Add(*timed); done.Load() == n || time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cpu = work.CPUOf(*pid) - cpu
	n = done.Load() - n
	work.Print("rate", float64(n)/time.Since(start).Seconds(), "/s")
	work.Print("cpu", work.Micros(cpu)/float64(n), "us")
	os.Exit(0)
}
