package prom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/watch"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const patience = 30 * time.Second

// scrapable is a loop at work, and where it can be scraped.
func scrapable(t *testing.T) (w *watch.Watcher, addr string) {
	t.Helper()
	el, err := ae.New(100)
	if err != nil {
		t.Fatal(err)
	}
	w = watch.New(el, watch.Options{Name: "main", Slow: 10 * time.Millisecond, Conns: func() watch.Conns {
		return watch.Conns{Open: 3, Queued: 4096, Closed: map[string]uint64{"idle": 2}}
	}})
	el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration { return 5 * time.Millisecond })
	for range 1000 {
		el.Post(func(*ae.EventLoop) {})
	}
	el.Post(func(*ae.EventLoop) { time.Sleep(20 * time.Millisecond) })
	ended := make(chan error, 1)
	go func() { ended <- el.Main() }()

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(w))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(func() {
		server.Close()
		el.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		w.Close()
		el.Close()
	})

	for end := time.Now().Add(patience); w.Snapshot().SlowCallbacks == 0 || w.Snapshot().Conns == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the loop does not do its work")
		}
	}
	return w, strings.TrimPrefix(server.URL, "http://")
}

func TestAScrapeHasEveryMetric(t *testing.T) {
	w, addr := scrapable(t)
	text := scrape(t, addr)
	for _, want := range []string{
		`ae_callbacks_total{kind="posted",loop="main"} 1001`,
		`ae_callback_duration_seconds_count{kind="posted",loop="main"} 1001`,
		`ae_callback_duration_seconds_bucket{kind="posted",loop="main",le="1.024e-06"}`,
		`ae_callback_duration_seconds_bucket{kind="posted",loop="main",le="+Inf"} 1001`,
		`ae_callbacks_total{kind="time_event",loop="main"}`,
		`ae_post_queue_length{loop="main"} 0`,
		`ae_timers{loop="main"}`,
		`ae_descriptors{interest="readable",loop="main"} 0`,
		`ae_output_bytes{loop="main"} 4096`,
		`ae_conns_closed_total{loop="main",reason="idle"} 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape has no %s", want)
		}
	}
	for _, d := range descriptions {
		name := strings.Split(d.String(), `"`)[1]
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("the scrape has no %s", name)
		}
	}
	if w.Snapshot().Stats.Readers != 0 {
		t.Error("there are readers now") // or the test above says little
	}
}

// promtool is Prometheus's own judge of names, types and help.
func TestPromtoolIsContent(t *testing.T) {
	needs(t, "promtool")
	_, addr := scrapable(t)
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, addr))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// A real Prometheus scrapes, and is asked what it has got.
func TestPrometheusScrapesALiveLoop(t *testing.T) {
	needs(t, "prometheus")
	w, addr := scrapable(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 500ms}\nscrape_configs: [{job_name: ae, static_configs: [{targets: ['%s']}]}]\n", addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	var log bytes.Buffer
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:"+port)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", log.Bytes())
		}
	}()

	ask := func(query string) (float64, bool) { return query1("http://127.0.0.1:"+port, query) }
	for _, c := range []struct {
		query string
		good  func(v float64) bool
	}{
		{`up{job="ae"}`, func(v float64) bool { return v == 1 }},
		{`ae_callbacks_total{loop="main",kind="posted"}`, func(v float64) bool { return v == 1001 }},
		{`ae_slow_callbacks_total`, func(v float64) bool { return v >= 1 }},
		{`rate(ae_iterations_total[10s])`, func(v float64) bool { return v > 0 }},
		{`histogram_quantile(0.5, ae_callback_duration_seconds_bucket{kind="posted"})`, func(v float64) bool { return v < 0.01 }},
		{`ae_busy_seconds_total`, func(v float64) bool { return v >= 0.02 && v <= w.Snapshot().Busy.Seconds() }},
	} {
		var v float64
		var ok bool
		for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			if v, ok = ask(c.query); ok && c.good(v) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s is %v, %v", c.query, v, ok)
			}
		}
	}
}

// needs skips a test without that command, except where CI is set.
func needs(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func scrape(t *testing.T, addr string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %s: %s", err, resp.Status, all)
	}
	return string(all)
}

// freePort returns a port that is free now: Prometheus cannot choose one itself.
func freePort(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// query1 asks Prometheus for one value.
func query1(base, query string) (float64, bool) {
	resp, err := http.Get(base + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil || len(answer.Data.Result) != 1 {
		return 0, false
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}
