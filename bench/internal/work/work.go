// Package work is what the Go workers share: arguments, random numbers, samples, and how results are printed. A worker
// prints each result as one line: name, value, unit. c/common.h is the same for C.
package work

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Print prints one result.
func Print(name string, value float64, unit string) {
	fmt.Printf("%s %.3f %s\n", name, value, unit)
}

// Fail ends the worker.
func Fail(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
	os.Exit(1)
}

// Check ends the worker if err is not nil.
func Check(err error) {
	if err != nil {
		Fail(err)
	}
}

// Mode is the worker's first argument, or empty.
func Mode() string { return Text(1) }

// Text is argument i, or empty.
func Text(i int) string {
	if i >= len(os.Args) {
		return ""
	}
	return os.Args[i]
}

// Int is argument i, which must be a number.
func Int(i int) int {
	n, err := strconv.Atoi(Text(i))
	if err != nil {
		Fail(fmt.Errorf("argument %d: %w", i, err))
	}
	return n
}

// Rand is splitmix64, the same as in the C workers.
type Rand uint64

// Uint64 is the next random number.
func (r *Rand) Uint64() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// IntN is a random number below n.
func (r *Rand) IntN(n int) int { return int(r.Uint64() % uint64(n)) }

// Perm is a random order of the numbers below n.
func (r *Rand) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		j := r.IntN(i + 1)
		p[i], p[j] = p[j], i
	}
	return p
}

// CPU is the CPU time of this process, which others on the machine disturb less than the clock.
func CPU() time.Duration {
	var ts unix.Timespec
	Check(unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

// CPUOf is the CPU time of all threads of a process, in user and system mode, as
// getrusage(2) adds it up, read from outside and to the nanosecond:
// clock_getcpuclockid(3). It is 0 for process 0.
func CPUOf(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	const scheduled = 2
	var ts unix.Timespec
	Check(unix.ClockGettime(int32(^pid)<<3|scheduled, &ts))
	return time.Duration(ts.Nano())
}

// Samples are times of which the quantiles matter.
type Samples []time.Duration

// Add keeps d, and reports whether more are wanted: as many as the capacity.
func (s *Samples) Add(d time.Duration) bool {
	*s = append(*s, d)
	return len(*s) < cap(*s)
}

// Report prints the quantiles, and how many were below zero.
func (s Samples) Report() {
	slices.Sort(s)
	early := 0
	for early < len(s) && s[early] < 0 {
		early++
	}
	Print("p50", Micros(s[len(s)/2]), "us")
	Print("p99", Micros(s[len(s)*99/100]), "us")
	Print("early", 100*float64(early)/float64(len(s)), "%")
}

// Micros is d in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / 1e3 }

// Pairs opens n socket pairs, non-blocking: what is written to w[i] is read from r[i].
func Pairs(n int) (r, w []int) {
	for range n {
		fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		Check(err)
		r, w = append(r, fd[0]), append(w, fd[1])
	}
	return r, w
}

// Compute is work for about so long: what a server does with a request besides
// passing bytes on.
func Compute(d time.Duration) {
	if d == 0 {
		return
	}
	var block [1024]byte
	for start := time.Now(); time.Since(start) < d; {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
}
