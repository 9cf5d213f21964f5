package watch_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/watch"
)

// browser is a Chromium, driven through chromedriver with the protocol of
// WebDriver, which is a few requests of JSON.
type browser struct {
	t       testing.TB
	session string // its URL
}

// newBrowser starts one for the test. The tests with a browser run where AE_BROWSER
// is set.
func newBrowser(t testing.TB, args ...string) *browser {
	t.Helper()
	if os.Getenv("AE_BROWSER") == "" {
		t.Skip("AE_BROWSER is not set")
	}
	cmd := exec.Command("chromedriver", "--port=0")
	addrs, _ := testutil.Spawn(t, cmd, 4, cmd.StdoutPipe)
	b := &browser{t: t, session: "http://127.0.0.1:" + strings.Trim(addrs[3], ".")}
	options := map[string]any{"args": append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-first-run", "--hide-scrollbars", "--window-size=1240,1000"}, args...)}
	var created struct{ SessionID string }
	b.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome", "goog:chromeOptions": options}}}, &created)
	b.session += "/session/" + created.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) })
	return b
}

// call makes one request of the protocol.
func (b *browser) call(method, path string, in, out any) {
	b.t.Helper()
	if err := b.try(method, path, in, out); err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (b *browser) try(method, path string, in, out any) error {
	if in == nil {
		in = map[string]any{}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, b.session+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 3 * testutil.Patience}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct{ Value json.RawMessage }{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(answer.Value))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, out)
}

func (b *browser) open(url string) { b.call("POST", "/url", map[string]any{"url": url}, nil) }

// eval runs a script in the page and decodes what it returns.
func (b *browser) eval(out any, script string) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}}, out)
}

// text returns what an element shows.
func (b *browser) text(id string) (s string) {
	b.t.Helper()
	b.eval(&s, fmt.Sprintf("return document.getElementById(%q).innerText", id))
	return s
}

// devtools sends a command of the DevTools protocol.
func (b *browser) devtools(cmd string, params map[string]any) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": cmd, "params": params}, nil)
}

// newWindow opens a window beside the one that is there, so that both are seen, and
// goes there; tab goes to a window or a tab.
func (b *browser) newWindow() {
	b.t.Helper()
	var tab struct{ Handle string }
	b.call("POST", "/window/new", map[string]any{"type": "window"}, &tab)
	b.tab(tab.Handle)
}

func (b *browser) tab(handle string) {
	b.t.Helper()
	b.call("POST", "/window", map[string]any{"handle": handle}, nil)
}

func (b *browser) thisTab() (handle string) {
	b.t.Helper()
	b.call("GET", "/window", nil, &handle)
	return handle
}

// size makes the page so wide and high, on a screen that is dark or not.
func (b *browser) size(width, height int, dark bool) {
	b.t.Helper()
	b.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false})
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.devtools("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}})
}

// screenshot writes the page to a file.
func (b *browser) screenshot(file string) {
	b.t.Helper()
	var text string
	b.call("GET", "/screenshot", nil, &text)
	png, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// pageState is what a page knows, from a look inside.
type pageState struct {
	Update watch.Update
	Open   bool // its EventSource
	Hidden bool
	Shown  string // the text of the status
}

func (b *browser) state() (s pageState) {
	b.t.Helper()
	b.eval(&s, `return {Update: update || {}, Open: !!source && source.readyState !== 2, Hidden: document.hidden, Shown: document.getElementById("status").innerText}`)
	return s
}

// wait waits until cond, which it asks now and then.
func (b *browser) wait(what string, cond func() bool) {
	b.t.Helper()
	for end := testutil.Deadline(); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain for %s; the page says %q", what, b.text("status"))
		}
	}
}

// firstUpdate waits for one.
func (b *browser) firstUpdate() {
	b.t.Helper()
	b.wait("an update", func() bool { return b.state().Update.Updates > 0 })
}

// TestBrowser looks at the page in a real browser, one for all.
func TestBrowser(t *testing.T) {
	b := newBrowser(t, "--host-resolver-rules=MAP evil.example.com 127.0.0.1")
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b *browser)
	}{
		{"ShowsWhatStatsSays", browserShowsWhatStatsSays},
		{"ShowsASlowCallbackByName", browserShowsASlowCallbackByName},
		{"EndsTheStreamOfAHiddenTab", browserEndsTheStreamOfAHiddenTab},
		{"TabsShareOneCollector", browserTabsShareOneCollector},
		{"IsRefusedUnderAForeignName", browserIsRefusedUnderAForeignName},
		{"GoesOnWhileTheLoopIsBlocked", browserGoesOnWhileTheLoopIsBlocked},
		{"LanesByKeyboard", browserLanesByKeyboard},
		{"FitsAPhone", browserFitsAPhone},
	} {
		t.Run(test.name, func(t *testing.T) {
			here := &browser{t, b.session}
			test.run(t, here)
			here.open("about:blank")
		})
	}
}

func browserShowsWhatStatsSays(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	w := start(t, el, watch.Options{Name: "figures"})
	a, _ := aetest.SocketPair(t)
	aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {})
	url := servePage(t, w)
	run(t, el)
	b.open(url)
	b.firstUpdate()
	for range 4321 {
		el.Post(nothing)
	}
	want := func() ae.Stats { return w.Snapshot().Stats }
	await(t, "the loop to have called them", func() bool { return w.Snapshot().Asleep && want().Posted == 4321 })
	seen := b.state().Update.Updates
	b.wait("an update", func() bool { return b.state().Update.Updates > seen+1 })
	if got := b.state().Update.Loops[0].Stats; got != want() {
		t.Errorf("the page has %+v, want %+v", got, want())
	}
	if got := b.text("facts"); !strings.Contains(got, "watched for reading\n1") {
		t.Errorf("the page shows %q", got)
	}
	if got := b.text("title"); got != "figures" {
		t.Errorf("the page is of %q", got)
	}
	var posted string
	b.eval(&posted, `return document.getElementById("durations").rows[3].innerText`)
	if !strings.HasPrefix(posted, "posted") {
		t.Errorf("the third row is %q", posted)
	}
}

//go:noinline
func napOf300ms(*ae.EventLoop) { time.Sleep(300 * time.Millisecond) }

func browserShowsASlowCallbackByName(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	run(t, el)
	b.open(url)
	b.firstUpdate()
	begin := time.Now()
	el.Post(napOf300ms)
	b.wait("its name", func() bool { return strings.Contains(b.text("stalls"), "watch_test.napOf300ms") })
	t.Logf("it was there after %v", time.Since(begin))
	b.wait("the verdict", func() bool { return strings.Contains(b.text("verdicts"), "posted: watch_test.napOf300ms") })
	b.eval(nil, `document.querySelector("#stalls summary").click()`)
	if text := b.text("stalls"); !strings.Contains(text, "time.Sleep") || !strings.Contains(text, "browser_test.go:") {
		t.Errorf("its stack is %q", text)
	}
}

func browserEndsTheStreamOfAHiddenTab(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	run(t, el)
	b.open(url)
	b.firstUpdate()
	first := b.thisTab()
	b.call("POST", "/window/minimize", nil, nil)
	if s := b.state(); !s.Hidden || s.Open {
		t.Errorf("a minimized page: hidden %v, stream open %v", s.Hidden, s.Open)
	}
	tabs := func() int {
		var u watch.Update
		getJSON(t, url+"?json", &u)
		return u.Tabs
	}
	await(t, "the stream to end", func() bool { return tabs() == 0 })
	b.call("POST", "/window/rect", map[string]any{"width": 1000, "height": 800}, nil)
	b.tab(first)
	b.wait("the stream to be back", func() bool { return b.state().Open && tabs() == 1 })
}

func browserTabsShareOneCollector(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	run(t, el)
	b.open(url)
	b.firstUpdate()
	first := b.thisTab()
	b.newWindow()
	b.open(url)
	b.firstUpdate()
	begin, from := time.Now(), b.state().Update.Updates
	b.wait("two tabs, and updates", func() bool { u := b.state().Update; return u.Tabs == 2 && u.Updates > from+6 })
	u := b.state().Update
	if most := uint64(time.Since(begin).Milliseconds()/u.Every) + 2; u.Updates-from > most {
		t.Errorf("%d updates in the time of %d", u.Updates-from, most)
	}
	b.call("DELETE", "/window", nil, nil)
	b.tab(first)
	b.wait("one tab", func() bool { s := b.state(); return s.Open && s.Update.Tabs == 1 })
}

func browserIsRefusedUnderAForeignName(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	b.open(strings.Replace(url, "127.0.0.1", "evil.example.com", 1))
	var body string
	b.eval(&body, `return document.body.innerText`)
	if !strings.Contains(body, "not for that host") {
		t.Errorf("the browser is shown %q", body)
	}
	b.open(strings.Replace(url, "127.0.0.1", "localhost", 1))
	b.firstUpdate()
}

func browserGoesOnWhileTheLoopIsBlocked(t *testing.T, b *browser) {
	el := aetest.Loop(t)
	url := servePage(t, start(t, el, watch.Options{}))
	run(t, el)
	b.open(url)
	b.firstUpdate()
	blocked := newBlocker()
	el.Post(blocked.hold)
	<-blocked.entered
	b.wait("five seconds of silence", func() bool {
		u := b.state().Update
		return u.Loops[0].Blocked > 5*time.Second
	})
	status, verdict := b.text("status"), b.text("verdicts")
	if !strings.Contains(status, "has not answered for") || !strings.Contains(verdict, "(*blocker).hold") {
		t.Errorf("the page says %q and %q", status, verdict)
	}
	b.open(url) // a page that is opened now
	b.wait("the same from a new page", func() bool { return strings.Contains(b.text("status"), "has not answered for") })
	close(blocked.goOn)
	b.wait("the end", func() bool { return !strings.Contains(b.text("status"), "has not answered") })
}

func browserLanesByKeyboard(t *testing.T, b *browser) {
	s := newScene(t)
	b.open(s.url)
	b.firstUpdate()
	b.eval(nil, `document.getElementById("record").focus(); document.activeElement.click()`)
	kinds := func() (all []string) { b.eval(&all, `return [...new Set(spans.map(s => s.kind))]`); return all }
	b.wait("some of each kind", func() bool {
		return len(kinds()) == len([]string{"poll", "accept", "readable", "writable", "posted", "time event", "hook"})
	})
	b.eval(nil, `document.getElementById("record").click(); document.getElementById("lanes").focus()`)
	press := func(key string) {
		b.eval(nil, fmt.Sprintf(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: %q, bubbles: true}))`, key))
	}
	press("End")
	var last, selected int
	b.eval(&last, `return spans.length - 1`)
	press("ArrowLeft")
	press("ArrowLeft")
	b.eval(&selected, `return selected`)
	if selected != last-2 {
		t.Errorf("End and twice to the left selects %d of %d", selected, last)
	}
	if text := b.text("detail"); !strings.Contains(text, "took") {
		t.Errorf("the detail is %q", text)
	}
	press("Home")
	b.eval(&selected, `return selected`)
	if selected != 0 {
		t.Errorf("Home selects %d", selected)
	}
	var errors []string
	b.eval(&errors, `return window.failures || []`)
	if len(errors) > 0 {
		t.Errorf("errors in the page: %q", errors)
	}
}

// A page that is as wide as a phone does not scroll sideways.
func browserFitsAPhone(t *testing.T, b *browser) {
	s := newScene(t)
	for _, dark := range []bool{false, true} {
		b.size(390, 800, dark)
		b.open(s.url)
		b.firstUpdate()
		var wide int
		b.eval(&wide, `return document.documentElement.scrollWidth`)
		if wide > 390 {
			t.Errorf("dark %v: the page is %d wide", dark, wide)
		}
	}
}

// TestScreenshots writes pictures of the page to the directory AE_SCREENSHOTS.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("AE_SCREENSHOTS")
	if dir == "" {
		t.Skip("AE_SCREENSHOTS is not set")
	}
	s := newScene(t)
	b := newBrowser(t)
	b.size(1240, 1000, false)
	b.open(s.url)
	wait := 20 * time.Second
	if d, err := time.ParseDuration(os.Getenv("AE_SCENE")); err == nil {
		wait = d
	}
	time.Sleep(wait)
	b.eval(nil, `document.getElementById("record").click()`)
	time.Sleep(3 * time.Second)
	b.eval(nil, `document.getElementById("record").click(); select(spans.findLastIndex((s, i) => s.kind === "accept" && i < spans.length - 30))`)
	for _, dark := range []bool{false, true} {
		name := map[bool]string{false: "light", true: "dark"}[dark]
		b.size(1180, 860, dark)
		b.eval(nil, `scrollTo(0, 0)`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/page-" + name + ".png")
		b.size(1180, 700, dark)
		b.eval(nil, `document.getElementById("h-l").scrollIntoView(); scrollBy(0, -30)`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/lanes-" + name + ".png")
		b.size(390, 1500, dark)
		b.eval(nil, `scrollTo(0, 0)`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/phone-" + name + ".png")
	}
	b.size(1240, 800, false)
	b.eval(nil, `select(spans.findLastIndex(s => s.took >= 25e6 && s.kind === "posted")); document.getElementById("h-l").scrollIntoView()`)
	time.Sleep(time.Second)
	b.screenshot(dir + "/slow-light.png")
	b.eval(nil, `document.getElementById("order").click()`)
	time.Sleep(time.Second)
	b.screenshot(dir + "/time-light.png")
	resp, err := http.Get(s.url + "?text")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	t.Logf("%s", text)
}
