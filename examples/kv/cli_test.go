package main

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
)

// tool returns a command of Redis's tools, connected to the server.
func tool(t *testing.T, s *testServer, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := requireTool(t, name)
	ctx, cancel := context.WithDeadline(context.Background(), deadline())
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, append([]string{"-p", s.addr[len("127.0.0.1:"):]}, args...)...)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, &stderr)
	}
	return string(out)
}

// until starts a tool that runs until it is stopped, and stops it when it has
// printed a line that contains text. Behind each other line it calls again, if that
// is given.
func until(t *testing.T, cmd *exec.Cmd, text string, again func()) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var seen strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		seen.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), text) {
			return
		}
		if again != nil {
			again()
		}
	}
	t.Errorf("%v ended without %q:\n%s", cmd.Args, text, &seen)
}

func TestRedisCliFindsNothingOdd(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if got := output(t, tool(t, s, "redis-cli", "-3", "SET", "k", "v", "EX", "100")); got != "OK\n" {
		t.Errorf("SET: %q", got)
	}
	if got := output(t, tool(t, s, "redis-cli", "--scan", "--pattern", "k*")); got != "k\n" {
		t.Errorf("--scan: %q", got)
	}
	if got := output(t, tool(t, s, "redis-cli", "--raw", "INFO", "server")); !strings.Contains(got, "redis_version:") {
		t.Errorf("INFO: %q", got)
	}
	if got := output(t, tool(t, s, "redis-cli", "--no-raw", "CONFIG", "GET", "save")); got != "1) \"save\"\n2) \"\"\n" {
		t.Errorf("CONFIG GET: %q", got)
	}

	until(t, tool(t, s, "redis-cli", "--stat", "-i", "0.05"), "1         ", nil)
	c := dial(t, s)
	until(t, tool(t, s, "redis-cli", "MONITOR"), `"PING" "seen"`, func() { c.expect("PING seen", "$4 seen") })
	until(t, tool(t, s, "redis-cli", "SUBSCRIBE", "c"), "hello", func() { c.cmd("PUBLISH c hello") })
}

func TestRedisCliMeasuresTheLatency(t *testing.T) {
	s := startServer(t)
	// min max avg samples
	if got := output(t, tool(t, s, "redis-cli", "--raw", "-i", "0.1", "--latency")); len(strings.Fields(got)) != 4 {
		t.Errorf("%q", got)
	}
}

func TestRedisBenchmarkProbesTheServerAndRuns(t *testing.T) {
	s := startServer(t)
	cmd := tool(t, s, "redis-benchmark", "-n", "2000", "-c", "10", "-P", "4", "-q", "-t", "ping,set,get,incr,mset")
	got := output(t, cmd) // it warns on stderr if CONFIG GET gives it nothing
	for _, name := range []string{"PING_INLINE", "SET", "GET", "INCR", "MSET"} {
		if !strings.Contains(got, name) || strings.Contains(got, "rror") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
