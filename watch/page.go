package watch

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aeloop/ae"
)

// Page shows loops: a page for browsers that updates itself, text for curl, JSON
// for programs. It is a handler to mount where one likes, at any path; nothing
// registers itself.
//
//	/            the page
//	/?text       the same as text, since New; with &for=5s of the next five seconds
//	/?json       a Update, likewise
//	/?events     Updates as server-sent events
//	/?lanes=NAME the Lanes of a loop; with &after=N those from number N on
//
// It is served by goroutines of its own, so a loop that is blocked can be looked at.
// While nobody does, it does nothing.
//
// What it shows is nobody else's business: mount it on a listener of the loopback
// interface, or behind whatever else keeps strangers out. Requests whose Host is a
// name are refused, unless that is localhost or one of Hosts, so that no web site
// can make a browser ask under a name of its own; and so are those with a foreign
// Origin.
type Page struct {
	Hosts []string // names, without a port, by which the page may be asked for; set before it serves

	watchers []*Watcher
	hub      hub
}

// NewPage returns a page of these loops.
func NewPage(ws ...*Watcher) *Page {
	p := &Page{watchers: slices.Clone(ws)}
	p.hub.page = p
	return p
}

// Update is what a page is told twice a second.
type Update struct {
	Backend string       `json:"backend"` // ae.APIName
	Every   int64        `json:"every"`   // milliseconds from update to update
	Updates uint64       `json:"updates"` // how many there were
	Tabs    int          `json:"tabs"`    // how many look at them
	Loops   []LoopUpdate `json:"loops"`
}

// LoopUpdate is one loop in a Update.
type LoopUpdate struct {
	Snapshot           // since New
	Recent   Snapshot  `json:"recent"`   // of the last ten seconds, or since somebody looks
	Parts    []Part    `json:"parts"`    // of Recent
	Verdicts []Verdict `json:"verdicts"` // on Recent
}

func loopUpdate(now Snapshot, old *Snapshot) LoopUpdate {
	f := LoopUpdate{Snapshot: now, Recent: now}
	if old != nil {
		f.Recent = now.Sub(old)
	}
	f.Parts, f.Verdicts = f.Recent.Parts(), f.Recent.Verdicts()
	f.Recent.Stalls = nil // the page shows all
	return f
}

//go:embed page.html
var html []byte

const (
	maxFor       = time.Minute
	writeTimeout = 10 * time.Second // for a tab that does not take what it is sent
)

func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	q := r.URL.Query()
	switch {
	case !p.mayAsk(r):
		http.Error(w, "this page is not for that host or origin", http.StatusForbidden)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "GET it", http.StatusMethodNotAllowed)
	case q.Has("events"):
		p.hub.serve(w, r)
	case q.Has("lanes"):
		p.serveLanes(w, q)
	case q.Has("text"), q.Has("json"):
		p.serveOnce(w, r, q)
	default:
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.Write(html)
	}
}

// mayAsk reports whether a request comes from where it may: not from a web site
// that has a name point here.
func (p *Page) mayAsk(r *http.Request) bool {
	if !p.hosted(hostname(r.Host)) {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func (p *Page) hosted(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost") ||
		slices.ContainsFunc(p.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// hostname returns a Host header without its port.
func hostname(host string) string {
	u := url.URL{Host: host}
	return u.Hostname()
}

// serveOnce serves text or JSON.
func (p *Page) serveOnce(w http.ResponseWriter, r *http.Request, q url.Values) {
	old := make([]*Snapshot, len(p.watchers))
	if q.Has("for") {
		d, err := time.ParseDuration(q.Get("for"))
		if err != nil || d <= 0 || d > maxFor {
			http.Error(w, fmt.Sprintf("for wants a duration up to %v, such as 5s", maxFor), http.StatusBadRequest)
			return
		}
		for i, watcher := range p.watchers {
			s := watcher.Snapshot()
			old[i] = &s
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + writeTimeout))
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}

	f := p.hub.newUpdate()
	for i, watcher := range p.watchers {
		f.Loops = append(f.Loops, loopUpdate(watcher.Snapshot(), old[i]))
	}
	if q.Has("json") {
		writeJSON(w, f)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for i, watcher := range p.watchers {
		s := watcher.Snapshot()
		if old[i] != nil {
			s = s.Sub(old[i])
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		s.WriteText(w)
	}
}

func (p *Page) serveLanes(w http.ResponseWriter, q url.Values) {
	i := slices.IndexFunc(p.watchers, func(w *Watcher) bool { return w.Name() == q.Get("lanes") })
	if i < 0 {
		http.Error(w, "no loop is called so", http.StatusNotFound)
		return
	}
	after, _ := strconv.ParseUint(q.Get("after"), 10, 64) // without one, all
	writeJSON(w, p.watchers[i].Lanes(after))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (h *hub) newUpdate() Update {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Update{Backend: ae.APIName(), Every: updateEvery.Milliseconds(), Updates: h.updates, Tabs: h.tabs, Loops: []LoopUpdate{}}
}
