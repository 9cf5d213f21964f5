package watch_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/watch"
)

// modes are the ways in which a loop can be watched.
var modes = []struct {
	name  string
	begin func(el *ae.EventLoop) (end func())
}{
	{"off", func(*ae.EventLoop) func() { return func() {} }},
	{"on", func(el *ae.EventLoop) func() { return watch.New(el, watch.Options{}).Close }},
	{"lanes", func(el *ae.EventLoop) func() { return watch.New(el, watch.Options{Lanes: true}).Close }},
}

// BenchmarkCallback is a callback that does nothing, of 50 descriptors that are
// always readable: what watching adds here it adds to each callback.
func BenchmarkCallback(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.name, func(b *testing.B) {
			el := aetest.Loop(b)
			n := 0
			for range 50 {
				r, w := aetest.SocketPair(b)
				aetest.Send(b, w, "x")
				aetest.Create(b, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { n++ })
			}
			defer mode.begin(el)()
			b.ReportAllocs()
			b.ResetTimer()
			for n < b.N {
				el.ProcessEvents(aetest.Iteration)
			}
		})
	}
}

// BenchmarkEcho is an echo of 64 bytes over TCP on 50 connections, clients and
// server on one loop: an event is one read and one write. CPU time is the figure,
// so that what else runs does not count.
func BenchmarkEcho(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.name, func(b *testing.B) { benchmarkEcho(b, mode.begin) })
	}
}

func benchmarkEcho(b *testing.B, begin func(el *ae.EventLoop) (end func())) {
	el := aetest.Loop(b)
	var buf [64]byte
	events := 0
	echo := func(_ *ae.EventLoop, fd int, _ ae.Mask) {
		if n, _ := anet.Read(fd, buf[:]); n > 0 {
			events++
			anet.Write(fd, buf[:n])
		}
	}
	for range 50 {
		client, server := aetest.TCPPair(b)
		anet.SetNoDelay(client, true)
		anet.SetNoDelay(server, true)
		aetest.Create(b, el, client, ae.Readable, echo)
		aetest.Create(b, el, server, ae.Readable, echo)
		aetest.Send(b, client, fmt.Sprintf("%64d", client))
	}
	defer begin(el)()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for events = 0; events < b.N; {
		el.ProcessEvents(aetest.Iteration)
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkIdle is what a loop costs that does nothing, watched and not: nanoseconds
// of CPU time in a second.
func BenchmarkIdle(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.name, func(b *testing.B) {
			el := aetest.Loop(b)
			defer mode.begin(el)()
			before, start := cpuTime(), time.Now()
			for range b.N {
				aetest.RunFor(b, el, time.Second)
			}
			b.ReportMetric(float64(cpuTime()-before)/time.Since(start).Seconds(), "cpu-ns/s")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
