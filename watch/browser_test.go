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

	"github.com/aeloop/ae/internal/testutil"
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
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-first-run", "--window-size=1240,1000"}, args...)}
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

// newTab opens a tab, goes there, and returns its name; tab goes to one.
func (b *browser) newTab() string {
	b.t.Helper()
	var tab struct{ Handle string }
	b.call("POST", "/window/new", map[string]any{"type": "tab"}, &tab)
	b.tab(tab.Handle)
	return tab.Handle
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
	b.eval(nil, `document.getElementById("record").click(); select(spans.findLastIndex(s => s.kind === "accept"))`)
	for _, dark := range []bool{false, true} {
		name := map[bool]string{false: "light", true: "dark"}[dark]
		b.size(1240, 800, dark)
		b.eval(nil, `scrollTo(0, 0)`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/page-" + name + ".png")
		b.eval(nil, `document.getElementById("h-l").scrollIntoView()`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/lanes-" + name + ".png")
		b.size(390, 3000, dark)
		b.eval(nil, `scrollTo(0, 0)`)
		time.Sleep(time.Second)
		b.screenshot(dir + "/phone-" + name + ".png")
	}
	b.size(1240, 800, false)
	b.eval(nil, `document.getElementById("order").click(); document.getElementById("h-l").scrollIntoView()`)
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
