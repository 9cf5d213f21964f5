package ae_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"golang.org/x/sys/unix"
)

// chain is the benchmark that libevent made known: n socket pairs in a ring, and
// a number of bytes that travel along it. Each event reads one byte and writes
// one to the next pair; a run is over after some number of writes.
type chain struct {
	n, active, writes int
}

var chains = []chain{
	{100, 1, 1000},
	{1000, 100, 10_000},
	{8000, 100, 10_000},
	{8000, 4000, 40_000},
}

func (c chain) String() string { return fmt.Sprintf("%d_%d_%d", c.n, c.active, c.writes) }

// ends opens the pairs: the byte for pair i is written to w[i] and read from r[i].
func (c chain) ends(b *testing.B) (r, w []int) {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); uint64(lim.Cur) < uint64(2*c.n+50) {
		b.Skipf("%d descriptors needed, the limit is %d", 2*c.n+50, lim.Cur)
	}
	if ae.APIName() == "select" && 2*c.n+50 > 1024 {
		b.Skip("more descriptors than select takes")
	}
	for range c.n {
		x, y := aetest.SocketPair(b)
		r, w = append(r, x), append(w, y)
	}
	return r, w
}

// start puts the travelling bytes evenly on the ring.
func (c chain) start(w []int) {
	for i := range c.active {
		anet.Write(w[i*c.n/c.active], []byte{'e'})
	}
}

func BenchmarkChain(b *testing.B) {
	for _, c := range chains {
		b.Run(c.String(), func(b *testing.B) {
			r, w := c.ends(b)
			el := aetest.Loop(b)
			buf := make([]byte, 1)
			read, toWrite := 0, 0
			for i := range r {
				next := w[(i+1)%c.n]
				aetest.Create(b, el, r[i], ae.Readable, func(_ *ae.EventLoop, fd int, _ ae.Mask) {
					if n, _ := anet.Read(fd, buf); n > 0 {
						read++
						if toWrite > 0 {
							toWrite--
							anet.Write(next, buf)
						}
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				read, toWrite = 0, c.writes-c.active
				c.start(w)
				for read < c.writes {
					el.ProcessEvents(ae.FileEvents)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.writes), "ns/event")
		})
	}
}

func BenchmarkAddDelete(b *testing.B) {
	el := aetest.Loop(b)
	a, _ := aetest.SocketPair(b)
	proc := func(*ae.EventLoop, int, ae.Mask) {}
	for b.Loop() {
		el.CreateFileEvent(a, ae.Readable, proc)
		el.DeleteFileEvent(a, ae.Readable)
	}
}

// BenchmarkArmWritable is what a server pays when a reply does not fit: Writable
// is added to a descriptor that is watched for Readable, and taken away again.
func BenchmarkArmWritable(b *testing.B) {
	el := aetest.Loop(b)
	a, _ := aetest.SocketPair(b)
	proc := func(*ae.EventLoop, int, ae.Mask) {}
	aetest.Create(b, el, a, ae.Readable, proc)
	for b.Loop() {
		el.CreateFileEvent(a, ae.Writable, proc)
		el.DeleteFileEvent(a, ae.Writable)
	}
}

var timerCounts = []int{1000, 100_000, 1_000_000}

func waits(n int) []time.Duration {
	rng := rand.New(rand.NewPCG(1, 2))
	d := make([]time.Duration, n)
	for i := range d {
		d[i] = time.Hour + time.Duration(rng.Int64N(int64(time.Hour)))
	}
	return d
}

func nop(*ae.EventLoop, ae.TimeEventID) time.Duration { return ae.NoMore }

// BenchmarkTimerAddCancel adds n time events with random deadlines and cancels
// them in another random order.
func BenchmarkTimerAddCancel(b *testing.B) {
	for _, n := range timerCounts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d, order := waits(n), rand.New(rand.NewPCG(3, 4)).Perm(n)
			el := aetest.Loop(b)
			ids := make([]ae.TimeEventID, n)
			var add, cancel time.Duration
			for b.Loop() {
				start := time.Now()
				for i := range ids {
					ids[i] = el.CreateTimeEvent(d[i], nop)
				}
				half := time.Now()
				for _, i := range order {
					el.DeleteTimeEvent(ids[i])
				}
				add += half.Sub(start)
				cancel += time.Since(half)
			}
			b.ReportMetric(float64(add.Nanoseconds())/float64(b.N*n), "ns/add")
			b.ReportMetric(float64(cancel.Nanoseconds())/float64(b.N*n), "ns/cancel")
		})
	}
}

// BenchmarkTimerFire lets n time events with random deadlines, all past, run.
func BenchmarkTimerFire(b *testing.B) {
	for _, n := range timerCounts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := waits(n)
			el := aetest.Loop(b)
			var fire time.Duration
			for b.Loop() {
				for i := range d {
					el.CreateTimeEvent((d[i]-time.Hour)/3_600_000, nop) // within 1 ms
				}
				for start := time.Now(); time.Since(start) < time.Millisecond; {
				}
				start := time.Now()
				el.ProcessEvents(ae.TimeEvents | ae.DontWait)
				fire += time.Since(start)
			}
			b.ReportMetric(float64(fire.Nanoseconds())/float64(b.N*n), "ns/fire")
		})
	}
}

// BenchmarkTimerRearm is one periodic time event among n idle ones.
func BenchmarkTimerRearm(b *testing.B) {
	for _, n := range timerCounts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			el := aetest.Loop(b)
			for _, d := range waits(n) {
				el.CreateTimeEvent(d, nop)
			}
			el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 0 })
			b.ReportAllocs()
			for b.Loop() {
				el.ProcessEvents(ae.TimeEvents | ae.DontWait)
			}
		})
	}
}

func BenchmarkPost(b *testing.B) {
	for _, posters := range []int{1, 2, 8} {
		b.Run(fmt.Sprint(posters), func(b *testing.B) {
			el := aetest.Loop(b)
			ran := 0
			fn := func(el *ae.EventLoop) {
				if ran++; ran == b.N {
					el.Stop()
				}
			}
			for p := range posters {
				go func() {
					for i := p; i < b.N; i += posters {
						el.Post(fn)
					}
				}()
			}
			b.ReportAllocs()
			b.ResetTimer()
			el.Main()
		})
	}
}

// BenchmarkPostWake is the round trip through a sleeping loop: post, and wait
// for the function to have run.
func BenchmarkPostWake(b *testing.B) {
	el := aetest.Loop(b)
	ended := make(chan error)
	go func() { ended <- el.Main() }()
	ran := make(chan bool)
	fn := func(*ae.EventLoop) { ran <- true }
	for b.Loop() {
		el.Post(fn)
		<-ran
	}
	el.Stop()
	<-ended
}
