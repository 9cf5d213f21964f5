package tlsstream

// Waiting returns how many handshakes wait for their turn.
func (e *Endpoint) Waiting() (n int) {
	e.slots.mu.Lock()
	defer e.slots.mu.Unlock()
	for y := e.slots.first; y != nil; y = y.next {
		n++
	}
	return n
}

// Computing returns how many handshakes compute.
func (e *Endpoint) Computing() int {
	e.computing.mu.Lock()
	defer e.computing.mu.Unlock()
	return len(e.computing.holders)
}
