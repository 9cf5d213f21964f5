package tlsstream

import (
	"slices"
	"sync"
	"time"
)

// tokens bounds how many handshakes compute at once. A goroutine holds one except
// while it waits for input. It may also wait in a callback, for a database say, and
// nothing tells that from computing but time: after patience its token is taken
// away, and given to the next.
type tokens struct {
	mu      sync.Mutex
	free    int
	holders []*turn
	waiting []*turn
	watch   *time.Timer // set while somebody waits
}

const patience = 100 * time.Millisecond

// turn is one goroutine's claim to a token.
type turn struct {
	granted chan struct{} // of length 1
	held    bool
	since   time.Time
}

// take waits for a token.
func (t *tokens) take(own *turn) {
	t.mu.Lock()
	if t.free > 0 {
		t.grant(own)
		t.mu.Unlock()
		return
	}
	t.waiting = append(t.waiting, own)
	t.arm()
	t.mu.Unlock()
	<-own.granted
}

// put gives it back, unless it was taken away.
func (t *tokens) put(own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.held {
		t.revoke(own)
		t.passOn()
	}
}

func (t *tokens) grant(own *turn) {
	t.free--
	own.held, own.since = true, time.Now()
	t.holders = append(t.holders, own)
}

func (t *tokens) revoke(own *turn) {
	t.free++
	own.held = false
	t.holders = slices.DeleteFunc(t.holders, func(h *turn) bool { return h == own })
}

// passOn gives what is free to those who have waited longest.
func (t *tokens) passOn() {
	for t.free > 0 && len(t.waiting) > 0 {
		next := t.waiting[0]
		t.waiting[0] = nil
		t.waiting = t.waiting[1:]
		t.grant(next)
		next.granted <- struct{}{}
	}
}

// arm has look called when the oldest token is due.
func (t *tokens) arm() {
	if t.watch == nil && len(t.waiting) > 0 {
		t.watch = time.AfterFunc(time.Until(t.holders[0].since.Add(patience)), t.look)
	}
}

// look takes away the tokens that were held too long.
func (t *tokens) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = nil
	for len(t.waiting) > 0 && len(t.holders) > 0 && time.Since(t.holders[0].since) >= patience {
		t.revoke(t.holders[0])
		t.passOn()
	}
	t.arm()
}
