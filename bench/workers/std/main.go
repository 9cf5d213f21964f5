// Std is the worker on what Go has without a loop: net, time.AfterFunc, time.Timer, container/heap and channels.
package main

import (
	"crypto/tls"
	"net"
	"os"
	"time"

	"github.com/aeloop/ae/bench/internal/work"
)

func main() {
	switch work.Mode() {
	case "echo":
		size := 16 << 10
		if work.Text(3) != "" {
			size = work.Int(3)
		}
		for c := range accepted(work.Int(2)) {
			go echo(c, size, 0)
		}
	case "tls":
		config := work.Server()
		for c := range accepted(work.Int(2)) {
			go echo(tls.Server(c, config), 16<<10, 0)
		}
	case "group":
		for c := range accepted(work.Int(2)) {
			go echo(c, 16<<10, time.Duration(work.Int(3))*time.Microsecond)
		}
	case "broadcast":
		broadcast(work.Int(2))
	case "proxy":
		proxy(work.Int(2), work.Int(3))
	case "timers":
		var t work.Timers = &afterFunc{}
		if work.Text(3) == "heap" {
			t = &heapTimers{}
		}
		work.RunTimers(t, work.Int(2))
	case "lateness":
		lateness(time.Duration(work.Int(2))*time.Microsecond, work.Int(3), work.Text(4) == "busy")
	case "post":
		buffer := 0
		if work.Text(4) != "" {
			buffer = work.Int(4)
		}
		post(work.Int(2), work.Int(3), buffer)
	case "wake":
		wake(work.Int(2))
	default:
		os.Exit(2)
	}
}

// lateness of a time.Timer in a goroutine of its own.
func lateness(wait time.Duration, count int, busy bool) {
	if busy {
		busyRing(100, 10)
	}
	samples := make(work.Samples, 0, count)
	timer := time.NewTimer(time.Hour)
	for {
		due := time.Now().Add(wait)
		timer.Reset(wait)
		<-timer.C
		if !samples.Add(time.Since(due)) {
			break
		}
	}
	samples.Report()
}

// busyRing has a goroutine for each socket pair read a byte and write it to the next, for ever.
func busyRing(n, active int) {
	r, w := work.Pairs(n)
	for i := range n {
		from, to := conn(r[i]), conn(w[(i+1)%n])
		go func() {
			buf := make([]byte, 1)
			for {
				_, err := from.Read(buf)
				work.Check(err)
				_, err = to.Write(buf)
				work.Check(err)
			}
		}()
		if i < active {
			_, err := to.Write([]byte{'e'})
			work.Check(err)
		}
	}
}

func conn(fd int) net.Conn {
	f := os.NewFile(uintptr(fd), "pair")
	defer f.Close()
	c, err := net.FileConn(f)
	work.Check(err)
	return c
}

// post sends functions over a channel to the goroutine that calls them.
func post(posters, count, buffer int) {
	count = count / posters * posters
	ch := make(chan func(), buffer)
	ran := 0
	fn := func() { ran++ }
	start := time.Now()
	for range posters {
		go func() {
			for range count / posters {
				ch <- fn
			}
		}()
	}
	for ran < count {
		(<-ch)()
	}
	work.Print("post", float64(time.Since(start))/float64(count), "ns")
}

// wake measures from the send to the function's call, in a goroutine that waits for the channel.
func wake(count int) {
	ch := make(chan func())
	samples := make(work.Samples, 0, count)
	more := true
	go func() {
		for range count {
			time.Sleep(300 * time.Microsecond)
			start := time.Now()
			ch <- func() { more = samples.Add(time.Since(start)) }
		}
	}()
	for more {
		(<-ch)()
	}
	samples.Report()
}
