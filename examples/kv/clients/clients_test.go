// Package clients tests kv with the clients that Go programs use, each with its
// default settings. It is a module of its own, for nobody else to need them.
package clients

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

var program string // kv

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kv-clients")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)

	program = filepath.Join(dir, "kv")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = ".." // where another go.mod rules
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building kv:", err)
		return 1
	}
	return m.Run()
}

// startKV runs a server until the test ends.
func startKV(t *testing.T, args ...string) (addr string) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("kv: %v", err)
		}
	})

	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, stdout)
	return strings.TrimSpace(strings.TrimPrefix(line, "kv: listening on "))
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func check[T comparable](t *testing.T, what string, got T, err error, want T) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
	}
}

func TestGoRedis(t *testing.T) {
	ctx := testContext(t)
	c := goredis.NewClient(&goredis.Options{Addr: startKV(t)})
	defer c.Close()

	pong, err := c.Ping(ctx).Result()
	check(t, "PING", pong, err, "PONG")
	ok, err := c.Set(ctx, "k", "v", time.Minute).Result()
	check(t, "SET", ok, err, "OK")
	v, err := c.Get(ctx, "k").Result()
	check(t, "GET", v, err, "v")
	if err := c.Get(ctx, "none").Err(); err != goredis.Nil {
		t.Errorf("GET of no key: %v", err)
	}
	ttl, err := c.TTL(ctx, "k").Result()
	check(t, "TTL", ttl, err, time.Minute)
	first, err := c.SetNX(ctx, "k", "w", 0).Result()
	check(t, "SETNX", first, err, false)
	f, err := c.IncrByFloat(ctx, "f", 1.5).Result()
	check(t, "INCRBYFLOAT", f, err, 1.5)
	if _, err := c.Do(ctx, "NONSENSE").Result(); err == nil || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("an unknown command: %v", err)
	}

	save, err := c.ConfigGet(ctx, "save").Result()
	check(t, "CONFIG GET", len(save), err, 1)
	commands, err := c.Command(ctx).Result()
	if err != nil || commands["get"] == nil || !commands["get"].ReadOnly || commands["set"].FirstKeyPos != 1 {
		t.Errorf("COMMAND: %v, %v", commands["get"], err)
	}
	info, err := c.Info(ctx, "server").Result()
	check(t, "INFO", strings.Contains(info, "redis_version:"), err, true)
	if list, err := c.ClientList(ctx).Result(); err != nil || !strings.Contains(list, "lib-name=go-redis") {
		t.Errorf("CLIENT LIST: %q, %v", list, err)
	}
	if _, err := c.SlowLogGet(ctx, 10).Result(); err != nil {
		t.Errorf("SLOWLOG: %v", err)
	}

	_, err = c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := range 1000 {
			p.Set(ctx, fmt.Sprint("key:", i), i, 0)
		}
		return nil
	})
	check(t, "a pipeline", true, err, true)
	seen := make(map[string]bool)
	for it := c.Scan(ctx, 0, "key:*", 50).Iterator(); it.Next(ctx); {
		seen[it.Val()] = true
	}
	check(t, "SCAN", len(seen), nil, 1000)

	sub := c.PSubscribe(ctx, "ch*")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	n, err := c.Publish(ctx, "chan", "hello").Result()
	check(t, "PUBLISH", n, err, 1)
	m, err := sub.ReceiveMessage(ctx)
	if err != nil || m.Pattern != "ch*" || m.Channel != "chan" || m.Payload != "hello" {
		t.Errorf("a message: %v, %v", m, err)
	}
	check(t, "PING while subscribed", true, sub.Ping(ctx), true)
}

func TestGoRedisWithManyGoroutines(t *testing.T) {
	ctx := testContext(t)
	c := goredis.NewClient(&goredis.Options{Addr: startKV(t)})
	defer c.Close()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if err := c.Incr(ctx, "n").Err(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n, err := c.Get(ctx, "n").Int()
	check(t, "n", n, err, 5000)
}

func TestGoRedisWithAPassword(t *testing.T) {
	ctx := testContext(t)
	addr := startKV(t, "-requirepass", "secret")
	c := goredis.NewClient(&goredis.Options{Addr: addr, Password: "secret", ClientName: "me", DB: 3})
	defer c.Close()
	name, err := c.ClientGetName(ctx).Result()
	check(t, "the name", name, err, "me")

	wrong := goredis.NewClient(&goredis.Options{Addr: addr, Password: "wrong"})
	defer wrong.Close()
	if err := wrong.Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestRedigo(t *testing.T) {
	c, err := redis.Dial("tcp", startKV(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ok, err := redis.String(c.Do("SET", "k", "v", "EX", 100))
	check(t, "SET", ok, err, "OK")
	v, err := redis.String(c.Do("GET", "k"))
	check(t, "GET", v, err, "v")
	if _, err := redis.String(c.Do("GET", "none")); !errors.Is(err, redis.ErrNil) {
		t.Errorf("GET of no key: %v", err)
	}
	pairs, err := redis.StringMap(c.Do("CONFIG", "GET", "databases"))
	check(t, "CONFIG GET", pairs["databases"], err, "16")

	for range 1000 {
		c.Send("INCR", "n")
	}
	c.Flush()
	for i := range 1000 {
		n, err := redis.Int(c.Receive())
		check(t, "INCR", n, err, i+1)
	}

	psc := redis.PubSubConn{Conn: c}
	if err := psc.Subscribe("c"); err != nil {
		t.Fatal(err)
	}
	if got, ok := psc.Receive().(redis.Subscription); !ok || got.Count != 1 {
		t.Errorf("SUBSCRIBE: %v", got)
	}
	if err := psc.Ping("hi"); err != nil {
		t.Fatal(err)
	}
	if got, ok := psc.Receive().(redis.Pong); !ok || got.Data != "hi" {
		t.Errorf("PING: %v", got)
	}
}

func TestRueidis(t *testing.T) {
	ctx := testContext(t)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{startKV(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ok, err := c.Do(ctx, c.B().Set().Key("k").Value("v").Ex(time.Minute).Build()).ToString()
	check(t, "SET", ok, err, "OK")
	v, err := c.Do(ctx, c.B().Get().Key("k").Build()).ToString()
	check(t, "GET", v, err, "v")
	if err := c.Do(ctx, c.B().Get().Key("none").Build()).Error(); !rueidis.IsRedisNil(err) {
		t.Errorf("GET of no key: %v", err)
	}

	// Its client-side caching needs transactions, which kv does not have: it must
	// say so, and not hand out what may be stale.
	if err := c.DoCache(ctx, c.B().Get().Key("k").Cache(), time.Minute).Error(); err == nil {
		t.Error("a cached GET was answered")
	}

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 100 {
				if err := c.Do(ctx, c.B().Incr().Key("n").Build()).Error(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n, err := c.Do(ctx, c.B().Get().Key("n").Build()).AsInt64()
	check(t, "n", n, err, 2000)

	entry, err := c.Do(ctx, c.B().Scan().Cursor(0).Count(1000).Build()).AsScanEntry()
	check(t, "SCAN", len(entry.Elements), err, 2)

	got := make(chan string)
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	go c.Receive(receiving, c.B().Subscribe().Channel("c").Build(), func(m rueidis.PubSubMessage) {
		select {
		case got <- m.Message:
		case <-receiving.Done():
		}
	})
	for {
		n, err := c.Do(ctx, c.B().Publish().Channel("c").Message("hello").Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			break
		}
	}
	select {
	case m := <-got:
		check(t, "a message", m, nil, "hello")
	case <-ctx.Done():
		t.Error("no message came")
	}
}
