package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startProxy runs nutcracker in front of the servers, as the README says, and
// returns its socket.
func startProxy(t *testing.T, servers []*process) (path string) {
	t.Helper()
	dir := shortDir(t)
	path = filepath.Join(dir, "proxy")
	conf := fmt.Sprintf("kv:\n  listen: %s\n  redis: true\n  hash: murmur\n  distribution: ketama\n  auto_eject_hosts: false\n"+
		"  timeout: 2000\n  servers:\n", path)
	for i, p := range servers {
		conf += fmt.Sprintf("   - %s:1 kv%d\n", p.addr, i)
	}
	file := filepath.Join(dir, "nutcracker.yml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}

	// It insists on a port for its statistics: one that is free now.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.Command("nutcracker", "-c", file, "-o", filepath.Join(dir, "log"), "-p", filepath.Join(dir, "pid"), "-a", "127.0.0.1", "-s", port)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})

	for end := deadline(); time.Now().Before(end); {
		select {
		case <-exited:
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("nutcracker ended: %s\n%s\n%s", out, log, conf)
		default:
		}
		if canConnect(path) {
			return path
		}
	}
	t.Fatal("nutcracker does not listen")
	return ""
}

func TestTwemproxySpreadsTheKeysAndAKilledServerComesBackWithItsOwn(t *testing.T) {
	requireTool(t, "nutcracker")
	const keys = 300
	servers := make([]*process, 3)
	args := make([][]string, len(servers))
	for i := range servers {
		args[i] = []string{"-appendonly", "yes", "-appendfilename", tempFile(t), "-appendfsync", "always"}
		servers[i] = startProcess(t, 0, "127.0.0.1:0", args[i]...)
	}
	path := startProxy(t, servers)

	proxy := dialTo(t, "unix", path)
	for i := range keys {
		if reply := proxy.cmd(fmt.Sprintf("SET key:%d %d", i, i)); reply != "+OK" {
			t.Fatal(reply)
		}
	}
	direct := func(i int) *conn { return dialTo(t, "tcp", servers[i].addr) }
	sizes := make([]int, len(servers))
	for i := range servers {
		sizes[i] = atoi(t, strings.TrimPrefix(direct(i).cmd("DBSIZE"), ":"))
	}
	if min(sizes[0], sizes[1], sizes[2]) == 0 || sizes[0]+sizes[1]+sizes[2] != keys {
		t.Fatalf("the keys are spread as %v", sizes)
	}
	t.Logf("the keys are spread as %v", sizes)

	// Without one of them its keys are missed, and nobody else's.
	servers[0].Process.Kill()
	servers[0].Wait()
	there, failed := 0, 0
	for i := range keys {
		switch reply := proxy.cmd(fmt.Sprintf("GET key:%d", i)); {
		case strings.HasSuffix(reply, fmt.Sprintf(" %d", i)):
			there++
		case strings.HasPrefix(reply, "-"):
			failed++
		default:
			t.Errorf("key:%d: %q", i, reply)
		}
	}
	if there != sizes[1]+sizes[2] || failed != sizes[0] {
		t.Errorf("%d keys are there and %d are not, of %v", there, failed, sizes)
	}

	// Back at the same address, it has them all.
	servers[0] = startProcess(t, 0, servers[0].addr, args[0]...)
	for i := range keys {
		want := fmt.Sprintf(" %d", i)
		reply := ""
		for end := deadline(); !strings.HasSuffix(reply, want) && time.Now().Before(end); {
			reply = proxy.cmd(fmt.Sprintf("GET key:%d", i))
		}
		if !strings.HasSuffix(reply, want) {
			t.Fatalf("key:%d: %q", i, reply)
		}
	}
	if reply := proxy.cmd("MGET key:1 key:2 key:3 key:4"); reply != "*4 $1 1 $1 2 $1 3 $1 4" {
		t.Errorf("MGET over several servers: %q", reply)
	}
	if reply := proxy.cmd("DEL key:1 key:2 key:3 key:4"); reply != ":4" {
		t.Errorf("DEL over several servers: %q", reply)
	}
}
