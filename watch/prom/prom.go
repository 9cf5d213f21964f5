// Package prom gives what package watch knows of loops to Prometheus.
//
//	registry.MustRegister(prom.NewCollector(w))
//
// Every metric has the label loop, the Watcher's name, which must be unique within
// a Collector; descriptors and addresses are never labels. All of it is read when
// it is scraped: nothing runs in between.
package prom

import (
	"slices"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/watch"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector is a prometheus.Collector of loops.
type Collector struct{ watchers []*watch.Watcher }

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector of these loops.
func NewCollector(ws ...*watch.Watcher) *Collector { return &Collector{slices.Clone(ws)} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ae_"+name, help, append([]string{"loop"}, labels...), nil)
}

var (
	iterations   = desc("iterations_total", "Iterations of the loop.")
	busy         = desc("busy_seconds_total", "Time in callbacks, hooks and polls, not asleep.")
	sleep        = desc("sleep_seconds_total", "Time asleep, waiting for events.")
	iteration    = desc("iteration_duration_seconds", "How long the loop did not poll: the callbacks of one iteration.")
	callbacks    = desc("callbacks_total", "Callbacks that were called.", "kind")
	callback     = desc("callback_duration_seconds", "How long callbacks took.", "kind")
	lateness     = desc("timer_lateness_seconds", "How long after their deadlines time events were called.")
	timers       = desc("timers", "Time events that are armed.")
	postQueue    = desc("post_queue_length", "Posted functions that wait.")
	postWait     = desc("post_wait_seconds", "How long posted functions waited: a sample.")
	wakeups      = desc("wakeups_total", "Sleeps that a Post or a Stop ended.")
	slow         = desc("slow_callbacks_total", "Callbacks, and iterations, that took longer than the watcher's limit.")
	descriptors  = desc("descriptors", "Descriptors that are watched, by what for.", "interest")
	outputBytes  = desc("output_bytes", "Output that waits for the kernel to take it.")
	closedConns  = desc("conns_closed_total", "Connections that have ended.", "reason")
	descriptions = []*prometheus.Desc{iterations, busy, sleep, iteration, callbacks, callback, lateness, timers,
		postQueue, postWait, wakeups, slow, descriptors, outputBytes, closedConns}
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for _, w := range c.watchers {
		s := w.Snapshot()
		out{to, s.Loop}.snapshot(&s)
	}
}

// out sends metrics of one loop.
type out struct {
	to   chan<- prometheus.Metric
	loop string
}

func (o out) snapshot(s *watch.Snapshot) {
	o.counter(iterations, float64(s.Stats.Iterations))
	o.counter(busy, s.Busy.Seconds())
	o.counter(sleep, s.Sleep.Seconds())
	o.histogram(iteration, &s.Iterations)
	for k := range s.Callbacks {
		h, kind := &s.Callbacks[k], kindLabel(ae.Kind(k))
		o.counter(callbacks, float64(h.Count), kind)
		o.histogram(callback, h, kind)
	}
	o.histogram(lateness, &s.Late)
	o.gauge(timers, float64(s.Stats.Timers))
	o.gauge(postQueue, float64(s.Stats.Queue))
	o.histogram(postWait, &s.PostWait)
	o.counter(wakeups, float64(s.Stats.WakeUps))
	o.counter(slow, float64(s.SlowCallbacks+s.SlowIterations))
	o.gauge(descriptors, float64(s.Stats.Readers), "readable")
	o.gauge(descriptors, float64(s.Stats.Writers), "writable")
	if s.Conns != nil {
		o.gauge(outputBytes, float64(s.Conns.Queued))
		for reason, n := range s.Conns.Closed {
			o.counter(closedConns, float64(n), reason)
		}
	}
}

// kindLabel is a label's value: Prometheus's users expect no spaces there.
func kindLabel(k ae.Kind) string {
	if k == ae.KindTimeEvent {
		return "time_event"
	}
	return k.String()
}

func (o out) counter(d *prometheus.Desc, v float64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, append([]string{o.loop}, labels...)...)
}

func (o out) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{o.loop}, labels...)...)
}

// The buckets that are exported: from 1 µs to 17 s, each fourfold the one before.
const (
	firstBucket = 10
	lastBucket  = 34
	bucketStep  = 2
)

// histogram sends h, which counts nanoseconds, in seconds.
func (o out) histogram(d *prometheus.Desc, h *watch.Histogram, labels ...string) {
	buckets := map[float64]uint64{}
	var sum uint64
	for i, n := range h.Buckets {
		sum += n
		if i >= firstBucket && i <= lastBucket && (i-firstBucket)%bucketStep == 0 {
			buckets[watch.Bound(i)/1e9] = sum
		}
	}
	o.to <- prometheus.MustNewConstHistogram(d, h.Count, float64(h.Sum)/1e9, buckets, append([]string{o.loop}, labels...)...)
}
