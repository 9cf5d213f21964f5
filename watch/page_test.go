package watch_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/watch"
)

// servePage serves a page of these loops until the test ends.
func servePage(t testing.TB, ws ...*watch.Watcher) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: watch.NewPage(ws...)}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() }) // unlike httptest's, without waiting for streams
	return "http://" + ln.Addr().String() + "/"
}

// get asks for something, and returns the status and the body.
func get(t testing.TB, url string, change func(r *http.Request)) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	client := http.Client{Timeout: testutil.Patience}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// getJSON asks for JSON.
func getJSON(t testing.TB, url string, v any) {
	t.Helper()
	status, body := get(t, url, nil)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", url, status, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatal(err)
	}
}

// events is a tab's stream of updates.
type events struct {
	t    testing.TB
	body io.ReadCloser
	in   *bufio.Reader
}

func listen(t testing.TB, url string) *events {
	t.Helper()
	resp, err := http.Get(url + "?events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the stream is %q", got)
	}
	return &events{t, resp.Body, bufio.NewReader(resp.Body)}
}

// next returns the next update, or false at the end.
func (s *events) next() (u watch.Update, ok bool) {
	s.t.Helper()
	defer testutil.Guard(s.t, testutil.Patience, "no update comes")()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return u, false
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(data), &u); err != nil {
			s.t.Fatal(err)
		}
		return u, true
	}
}

func TestOnlyThisMachineAndKnownNamesMayAsk(t *testing.T) {
	el := aetest.Loop(t)
	page := watch.NewPage(start(t, el, watch.Options{}))
	page.Hosts = []string{"ops.example.com"}
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:8000", "", 200},
		{"[::1]:8000", "", 200},
		{"192.168.7.7", "", 200},
		{"localhost:8000", "", 200},
		{"LOCALHOST", "", 200},
		{"ops.example.com:8000", "", 200},
		{"evil.example.com", "", 403},
		{"localhost.evil.example.com:8000", "", 403},
		{"127.0.0.1.evil.example.com", "", 403},
		{"", "", 403},
		{"127.0.0.1:8000", "http://127.0.0.1:8000", 200},
		{"127.0.0.1:8000", "http://127.0.0.1:9000", 403},
		{"127.0.0.1:8000", "http://evil.example.com", 403},
		{"127.0.0.1:8000", "null", 403},
	} {
		for _, query := range []string{"/", "/?text", "/?json", "/?lanes=loop", "/deep/in/a/mux/?json"} {
			r := httptest.NewRequest("GET", query, nil)
			r.Host = c.host
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			page.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%s for host %q from origin %q: %d, want %d", query, c.host, c.origin, w.Code, c.want)
			}
		}
	}

	r := httptest.NewRequest("POST", "http://localhost/", nil)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestThePageAsksForNothingOutside(t *testing.T) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	_, body := get(t, url, nil)
	body = strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "") // a name
	for _, s := range []string{"http:", "https:", "//cdn", "src=", "@import", "innerHTML"} {
		if strings.Contains(body, s) {
			t.Errorf("the page has %q in it", s)
		}
	}
}

func TestTextAndJSONAgreeWithTheLoop(t *testing.T) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{Name: "main loop"})
	other := start(t, aetest.Loop(t), watch.Options{Name: "other"})
	url := servePage(t, w, other)
	for range 1234 {
		el.Post(func(*ae.EventLoop) {})
	}
	aetest.Poll(t, el)
	el.Stats() // publishes

	var u watch.Update
	getJSON(t, url+"?json", &u)
	if len(u.Loops) != 2 || u.Loops[0].Loop != "main loop" || u.Loops[0].Stats.Posted != 1234 || u.Backend != ae.APIName() {
		t.Errorf("JSON has %+v", u)
	}
	if h := u.Loops[0].Callbacks[ae.KindPosted]; h.Count != 1234 {
		t.Errorf("JSON has a histogram of %d posted functions", h.Count)
	}
	_, text := get(t, url+"?text", nil)
	for _, s := range []string{"loop main loop,", "loop other,", "1,234", "posted"} {
		if !strings.Contains(text, s) {
			t.Errorf("the text has no %q:\n%s", s, text)
		}
	}

	getJSON(t, url+"?json&for=1ms", &u)
	if n := u.Loops[0].Recent.Callbacks[ae.KindPosted].Count; n != 0 {
		t.Errorf("%d functions in a millisecond in which there were none", n)
	}
	for _, d := range []string{"", "x", "-1s", "0s", "2h"} {
		if status, _ := get(t, url+"?text&for="+d, nil); status != http.StatusBadRequest {
			t.Errorf("for=%s: %d", d, status)
		}
	}
}

func TestTwoTabsShareOneCollector(t *testing.T) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	run(t, el)
	before := runtime.NumGoroutine()

	var u watch.Update
	getJSON(t, url+"?json", &u)
	if u.Tabs != 0 || u.Updates != 0 {
		t.Errorf("before anybody looks: %d tabs, %d updates", u.Tabs, u.Updates)
	}
	a, b := listen(t, url), listen(t, url)
	begin := time.Now()
	first, _ := b.next()
	for range 4 {
		a.next()
		u, _ = b.next()
	}
	if most := uint64(time.Since(begin).Milliseconds()/u.Every) + 2; u.Tabs != 2 || u.Updates-first.Updates > most {
		t.Errorf("%d tabs, and %d updates in the time of %d", u.Tabs, u.Updates-first.Updates, most)
	}
	a.body.Close()
	await(t, "one tab to be left", func() bool { getJSON(t, url+"?json", &u); return u.Tabs == 1 })
	b.body.Close()
	await(t, "no tab to be left", func() bool { getJSON(t, url+"?json", &u); return u.Tabs == 0 })
	http.DefaultClient.CloseIdleConnections()
	testutil.GoroutinesComeTo(t, before)
	if u, ok := listen(t, url).next(); !ok || u.Tabs != 1 {
		t.Errorf("a tab that comes later gets %v, %+v", ok, u)
	}
}

func TestAPageOfABlockedLoopGoesOnAndSaysSo(t *testing.T) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{Slow: 10 * time.Millisecond}))
	run(t, el)
	b := newBlocker()
	defer close(b.goOn)
	el.Post(b.hold)
	<-b.entered
	s := listen(t, url)
	first, _ := s.next()
	second, _ := s.next()
	third, _ := s.next()
	if second.Loops[0].Blocked <= first.Loops[0].Blocked || third.Loops[0].Blocked <= second.Loops[0].Blocked {
		t.Errorf("blocked for %v, %v, %v", first.Loops[0].Blocked, second.Loops[0].Blocked, third.Loops[0].Blocked)
	}
	v := third.Loops[0].Verdicts[0]
	if v.Level != watch.Bad || !strings.Contains(v.Text, "has not answered for") || !strings.Contains(v.Text, "(*blocker).hold") {
		t.Errorf("the verdict is %v", v)
	}
	_, text := get(t, url+"?text", nil)
	if !strings.Contains(text, "has not answered for") {
		t.Errorf("the text does not say so:\n%s", text)
	}
}

func TestStreamsEndWhenNobodyWatchesAnyMore(t *testing.T) {
	el := aetest.Loop(t)
	w := watch.New(el, watch.Options{})
	url := servePage(t, w)
	s := listen(t, url)
	s.next()
	w.Close()
	closed := false
	for {
		u, ok := s.next()
		if !ok {
			break
		}
		closed = u.Loops[0].Closed
	}
	if !closed {
		t.Error("the last update does not say that the watching has ended")
	}
}

func TestServeEndsWithEverythingItBegan(t *testing.T) {
	testutil.StartPoller()
	http.DefaultClient.CloseIdleConnections()
	before, open := runtime.NumGoroutine(), testutil.OpenDescriptors()
	el, err := ae.New(100)
	if err != nil {
		t.Fatal(err)
	}
	url, stop, err := watch.Serve("127.0.0.1:0", watch.New(el, watch.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	s := listen(t, url)
	s.next()
	if _, _, err := watch.Serve(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"), watch.New(el, watch.Options{})); err == nil {
		t.Error("the address was served twice")
	}
	stop()
	for ok := true; ok; {
		_, ok = s.next()
	}
	el.Close()
	http.DefaultClient.CloseIdleConnections()
	testutil.GoroutinesComeTo(t, before)
	await(t, "the descriptors to be closed", func() bool { // those of earlier tests may go meanwhile
		return !slices.ContainsFunc(testutil.OpenDescriptors(), func(fd int) bool { return !slices.Contains(open, fd) })
	})
}

func TestConnsAreAskedForOnTheLoopAndOnlyWhileSomebodyLooks(t *testing.T) {
	el := aetest.Loop(t)
	asked := 0 // on the loop's goroutine
	w := start(t, el, watch.Options{Conns: func() watch.Conns {
		asked++
		return watch.Conns{Open: 7, Queued: 70}
	}})
	for range 10 {
		aetest.Poll(t, el)
	}
	if asked != 0 {
		t.Errorf("asked %d times with nobody looking", asked)
	}
	w.Snapshot()
	for range 10 {
		aetest.Poll(t, el)
	}
	if c := w.Snapshot().Conns; asked != 1 || c == nil || c.Open != 7 {
		t.Errorf("asked %d times, and told %+v", asked, c)
	}
}
