package work

import "time"

// Timers is what the timer benchmark does to an implementation.
type Timers interface {
	Init(n int, fired func())
	Add(i int, d time.Duration)
	Cancel(i int)

	// Fire runs what is due until all of the n timers added have called fired, and returns the CPU time it took.
	Fire(n int) time.Duration
}

// RunTimers adds n timers of an hour or two and cancels them in another order; adds n and lets them fire, all due; and
// cancels and adds with n in place.
func RunTimers(t Timers, n int) {
	rng := Rand(1)
	d := make([]time.Duration, n)
	for i := range d {
		d[i] = time.Hour + time.Duration(rng.IntN(3600_000_000))*time.Microsecond
	}
	order := rng.Perm(n)
	fired := 0
	t.Init(n, func() { fired++ })

	if n >= fewTimers {
		addCancelFire(t, d, order)
	}
	Print("churn", churn(t, &rng, d), "ns")
}

// fewTimers are not worth measuring alone: the clock is read before and after.
const fewTimers = 1000

func addCancelFire(t Timers, d []time.Duration, order []int) {
	n := len(d)
	repeat := max(200_000/n, 1)
	var add, cancel, fire time.Duration
	for k := range repeat + 1 { // the first is to warm up
		start := CPU()
		for i := range n {
			t.Add(i, d[i])
		}
		half := CPU()
		for _, i := range order {
			t.Cancel(i)
		}
		end := CPU()
		if k > 0 {
			add += half - start
			cancel += end - half
			fire += fireAll(t, d)
		}
	}
	per := float64(repeat * n)
	Print("add", float64(add)/per, "ns")
	Print("cancel", float64(cancel)/per, "ns")
	Print("fire", float64(fire)/per, "ns")
	Print("total", float64(add+cancel+fire)/per, "ns")
}

// fireAll gives each timer a nanosecond of its own to be due in, and begins when all of them are.
func fireAll(t Timers, d []time.Duration) time.Duration {
	n := len(d)
	spread := time.Duration(n)
	for i := range n {
		t.Add(i, time.Duration(float64(d[i]-time.Hour)/float64(time.Hour)*float64(spread)))
	}
	for all := time.Now().Add(spread); time.Now().Before(all); {
	}
	return t.Fire(n)
}

// churn is the cost of one cancel and one add with all timers in place, in nanoseconds.
func churn(t Timers, rng *Rand, d []time.Duration) float64 {
	n := len(d)
	for i := range n {
		t.Add(i, d[i])
	}
	rounds := max(200_000, n)
	start := CPU()
	for k := range rounds {
		i := rng.IntN(n)
		t.Cancel(i)
		t.Add(i, d[(i+k)%n])
	}
	return float64(CPU()-start) / float64(rounds)
}
