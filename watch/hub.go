package watch

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	updateEvery = 500 * time.Millisecond
	window      = 10 * time.Second // what verdicts are on
)

// hub makes the updates, once for all tabs and only while there are some. A tab gets
// the latest one; one that is slow misses some, and nothing is lost by it, as each
// update has everything since the beginning.
type hub struct {
	page *Page

	mu      sync.Mutex
	tabs    int
	stop    chan struct{} // ends the collector
	updates uint64
	update  []byte
	last    bool          // nothing will come after it
	changed chan struct{} // is closed when there is a new one
}

// serve sends a tab the updates.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	h.join()
	defer h.leave()
	out := http.NewResponseController(w)
	for {
		update, last, changed := h.latest()
		if update != nil {
			_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // where that is possible
			for _, p := range [][]byte{[]byte("data: "), update, []byte("\n\n")} {
				if _, err := w.Write(p); err != nil {
					return
				}
			}
			if out.Flush() != nil || last {
				return
			}
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (h *hub) latest() (update []byte, last bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.update, h.last, h.changed
}

// join counts a tab, and starts the collector for the first one.
func (h *hub) join() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tabs++
	if h.tabs == 1 {
		h.stop = make(chan struct{})
		h.update, h.last, h.changed = nil, false, make(chan struct{})
		go h.collect(h.stop)
	}
}

// leave ends the collector with the last tab.
func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tabs--
	if h.tabs == 0 {
		close(h.stop)
	}
}

// collect makes updates until stop.
func (h *hub) collect(stop <-chan struct{}) {
	tick := time.NewTicker(updateEvery)
	defer tick.Stop()
	history := make([][]Snapshot, len(h.page.watchers))
	for {
		if f, last := h.collectOne(history); !h.publish(stop, f, last) {
			return
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// collectOne makes a update, and keeps the snapshots of the window in history.
func (h *hub) collectOne(history [][]Snapshot) (f Update, closed bool) {
	closed = true
	f = h.newUpdate()
	for i, w := range h.page.watchers {
		s := w.Snapshot()
		closed = closed && s.Closed
		past := append(history[i], s)
		for s.Time.Sub(past[0].Time) > window {
			past = past[1:]
		}
		history[i] = past
		var old *Snapshot
		if len(past) > 1 {
			old = &past[0]
		}
		f.Loops = append(f.Loops, loopUpdate(s, old))
	}
	return f, closed
}

// publish hands a update to the tabs. It returns false when there will be no more.
func (h *hub) publish(stop <-chan struct{}, f Update, last bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-stop:
		return false
	default:
	}
	h.updates++
	f.Updates, f.Tabs = h.updates, h.tabs
	update, err := json.Marshal(f)
	if err != nil {
		update = nil // there is nothing in it that could not be written
	}
	h.update, h.last = update, last
	close(h.changed)
	h.changed = make(chan struct{})
	return !last
}
