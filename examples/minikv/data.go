package main

import (
	"time"

	"github.com/aeloop/ae"
)

// data maps keys to values, some of which expire. A key whose time has come is removed
// when somebody asks for it: nobody ever sees it. What nobody asks for has to go too,
// and to look at all keys at once would make the clients wait: sweep looks at a few.
type data struct {
	now     time.Time // in the middle of a command no key changes its mind
	values  map[string][]byte
	expires map[string]time.Time // has the keys that do
}

func (d *data) get(key string) (value []byte, ok bool) {
	if at, expires := d.expires[key]; expires && !d.now.Before(at) {
		d.del(key)
	}
	value, ok = d.values[key]
	return value, ok
}

func (d *data) del(key string) {
	delete(d.values, key)
	delete(d.expires, key)
}

// sweep is the time event that removes keys nobody asks for any more. It comes again
// soon if there are many, and goes away with the last: an idle server sleeps.
func (s *server) sweep(el *ae.EventLoop, _ ae.TimeEventID) time.Duration {
	const looks = 100
	looked, removed := 0, 0
	for key, at := range s.data.expires { // begins anywhere, so each time it looks at others
		if looked++; looked > looks {
			break
		}
		if !el.Now().Before(at) {
			s.data.del(key)
			removed++
		}
	}
	s.sweeping = len(s.data.expires) > 0
	switch {
	case !s.sweeping:
		return ae.NoMore
	case removed > looks/4:
		return time.Millisecond
	}
	return sweepPause
}
