package main

import (
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// expect sends a command and fails unless the replies come back, one or several.
func (c *conn) expect(line string, replies ...string) {
	c.t.Helper()
	c.send(array(words(line)...))
	c.receive(replies...)
}

func (c *conn) receive(replies ...string) {
	c.t.Helper()
	for _, want := range replies {
		if got := c.reply(); got != want {
			c.t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMessagesReachSubscribersOfChannelsAndPatterns(t *testing.T) {
	s := startServer(t)
	sub, pub := dial(t, s), dial(t, s)

	sub.expect("SUBSCRIBE a b a", "*3 $9 subscribe $1 a :1", "*3 $9 subscribe $1 b :2", "*3 $9 subscribe $1 a :2")
	sub.expect("PSUBSCRIBE a* [xy]", "*3 $10 psubscribe $2 a* :3", "*3 $10 psubscribe $4 [xy] :4")
	pub.expect("PUBLISH a hello", ":2")
	sub.receive("*3 $7 message $1 a $5 hello", "*4 $8 pmessage $2 a* $1 a $5 hello")
	pub.expect("PUBLISH x hello", ":1")
	sub.receive("*4 $8 pmessage $4 [xy] $1 x $5 hello")
	pub.expect("PUBLISH nobody hello", ":0")

	pub.expect("PUBSUB NUMSUB a b c", "*6 $1 a :1 $1 b :1 $1 c :0")
	pub.expect("PUBSUB NUMPAT", ":2")
	pub.expect("PUBSUB CHANNELS [bc]", "*1 $1 b")

	sub.expect("UNSUBSCRIBE a none", "*3 $11 unsubscribe $1 a :3", "*3 $11 unsubscribe $4 none :3")
	sub.expect("UNSUBSCRIBE", "*3 $11 unsubscribe $1 b :2")
	sub.expect("UNSUBSCRIBE", "*3 $11 unsubscribe $-1 :2")
	sub.expect("PUNSUBSCRIBE [xy]", "*3 $12 punsubscribe $4 [xy] :1")
	sub.expect("PUNSUBSCRIBE", "*3 $12 punsubscribe $2 a* :0")
	pub.expect("PUBLISH a hello", ":0")
	sub.expect("PING", "+PONG")
}

func TestASubscriberCanOnlyChangeItsSubscriptionsInVersion2(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	c.expect("SUBSCRIBE a", "*3 $9 subscribe $1 a :1")
	c.expect("PING", "*2 $4 pong $0 ")
	c.expect("PING hi", "*2 $4 pong $2 hi")
	c.expect("GET k", "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	c.expect("CONFIG GET save", "-ERR Can't execute 'config|get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	c.expect("RESET", "+RESET")
	c.expect("GET k", "$-1")
}

func TestInVersion3MessagesArePushedBetweenReplies(t *testing.T) {
	s := startServer(t)
	c, pub := dial(t, s), dial(t, s)
	if got := c.cmd("HELLO 3"); !strings.HasPrefix(got, "%7 $6 server $5 redis $7 version") {
		t.Error(got)
	}
	c.expect("SUBSCRIBE a", ">3 $9 subscribe $1 a :1")
	c.expect("GET k", "_")
	c.expect("PING", "+PONG")
	pub.expect("PUBLISH a hello", ":1")
	c.receive(">3 $7 message $1 a $5 hello")
	c.expect("PUBLISH a self", ">3 $7 message $1 a $4 self", ":1")
	c.expect("CONFIG GET save", "%1 $4 save $0 ")
	c.expect("INFO modules", "=15 txt:# Modules ")
	c.expect("CLIENT TRACKING ON OPTIN", "+OK")
	c.expect("CLIENT TRACKING ON", "-ERR only CLIENT TRACKING ON OPTIN, in version 3 of the protocol, and OFF are supported")
	c.expect("CLIENT TRACKING OFF", "+OK")
	c.expect("HELLO 2", fmt.Sprintf("*14 $6 server $5 redis $7 version $%d %s $5 proto :2 $2 id :1 $4 mode $10 standalone $4 role $6 master $7 modules *0",
		len(redisVersion), redisVersion))
}

func TestASubscriberThatLeavesIsForgotten(t *testing.T) {
	s := startServer(t)
	sub, pub := dial(t, s), dial(t, s)
	sub.expect("SUBSCRIBE a", "*3 $9 subscribe $1 a :1")
	sub.expect("PSUBSCRIBE b", "*3 $10 psubscribe $1 b :2")
	sub.Close()
	for n := -1; n != 1; {
		s.do(t, func() { n = len(s.clients) })
	}
	pub.expect("PUBLISH a hello", ":0")
	s.do(t, func() {
		if len(s.channels) > 0 || len(s.patterns) > 0 {
			t.Errorf("%d channels and %d patterns are left", len(s.channels), len(s.patterns))
		}
	})
}

// A subscriber that never reads is closed when too much waits for it; the one who
// publishes and the other subscribers do not notice.
func TestASubscriberThatNeverReadsIsDroppedAndNobodyElseHeldUp(t *testing.T) {
	const message, count = 100_000, 300
	s := startServer(t)
	lazy, good, pub := dial(t, s), dial(t, s), dial(t, s)
	pub.expect("CONFIG SET client-output-buffer-limit pubsub%", "-ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit')"+
		" - Wrong number of arguments in buffer limit configuration.")
	pub.send(array("CONFIG", "SET", "client-output-buffer-limit", "pubsub 4mb 0 0"))
	pub.receive("+OK")
	lazy.expect("SUBSCRIBE c", "*3 $9 subscribe $1 c :1")
	good.expect("SUBSCRIBE c", "*3 $9 subscribe $1 c :1")

	payload := strings.Repeat("m", message)
	dropped := false
	for range count {
		pub.send(array("PUBLISH", "c", payload))
		if got := pub.reply(); got == ":1" {
			dropped = true
		} else if got != ":2" || dropped {
			t.Fatal(got)
		}
		if got := good.reply(); len(got) < message {
			t.Fatalf("a message of %d bytes", len(got))
		}
	}
	if !dropped {
		t.Error("it was never dropped")
	}
}

// More than the limit may come in one iteration: who takes it is fast enough. Who
// does not is closed. (29)
func TestTheOutputLimitIsForWhatTheKernelDoesNotTake(t *testing.T) {
	const patterns, messages = 20, 20 // 60 kB at a time
	s := startServer(t)
	fast, lazy, pub := dial(t, s), dial(t, s), dial(t, s)
	pub.send(array("CONFIG", "SET", "client-output-buffer-limit", "normal 100000 0 0 pubsub 30000 0 0"))
	pub.receive("+OK")
	for i := range patterns {
		for _, c := range []*conn{fast, lazy} {
			c.send(array("PSUBSCRIBE", "c"+strings.Repeat("*", i)))
			c.reply()
		}
	}

	round := strings.Repeat(array("PUBLISH", "c", strings.Repeat("m", 100)), messages)
	dropped := false
	for range 1000 {
		pub.send(round)
		for range messages {
			if pub.reply() != ":40" {
				dropped = true
			}
		}
		for range patterns * messages {
			fast.reply()
		}
		if dropped {
			break
		}
	}
	if !dropped {
		t.Error("who does not read is never dropped")
	}
	pub.expect("PUBLISH c m", ":20") // and the other is still there

	// Others than subscribers have the same.
	pub.send(array("SET", "key", strings.Repeat("v", 150_000)))
	pub.receive("+OK")
	for range 10 {
		if got := len(pub.cmd("GET key")); got < 150_000 {
			t.Errorf("a reply of %d bytes", got)
		}
	}
}

// A client that watches and does not read costs no more than one that subscribes.
func TestAMonitorThatNeverReadsIsDropped(t *testing.T) {
	s := startServer(t)
	lazy, c := dial(t, s), dial(t, s)
	c.send(array("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"))
	c.receive("+OK")
	lazy.expect("MONITOR", "+OK")
	watched := true
	for n := 0; watched; n++ {
		c.send(array("SET", "key", strings.Repeat("v", 1<<18)))
		c.receive("+OK")
		s.do(t, func() {
			watched = len(s.monitors) > 0
			for m := range s.monitors {
				if waiting := m.waiting(); waiting > 1<<20 {
					t.Errorf("%d bytes wait", waiting)
				}
			}
		})
		if n == 200 {
			t.Fatal("it is never dropped")
		}
	}
	c.expect("CLIENT LIST TYPE pubsub", "$0 ")
}

func TestASubscriberOverItsSoftLimitIsDroppedAfterAWhile(t *testing.T) {
	clock := newClock()
	s := startServer(t, clock.install)
	lazy, pub := dial(t, s), dial(t, s)
	pub.send(array("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 1mb 10"))
	pub.receive("+OK")
	lazy.expect("SUBSCRIBE c", "*3 $9 subscribe $1 c :1")

	subscribers := func() (n int) {
		s.do(t, func() { n = len(s.channels["c"]) })
		return n
	}
	over := false
	for payload := strings.Repeat("m", 1<<20); !over; {
		pub.send(array("PUBLISH", "c", payload))
		pub.receive(":1")
		s.do(t, func() {
			for c := range s.channels["c"] {
				over = c.softSince > 0
			}
		})
	}
	clock.advance(9 * time.Second)
	for range 20 {
		s.do(t, func() { s.checkClients(nil, 0) })
	}
	if subscribers() != 1 {
		t.Fatal("dropped before its time")
	}
	clock.advance(time.Second)
	for range 20 {
		s.do(t, func() { s.checkClients(nil, 0) })
	}
	for end := deadline(); subscribers() != 0; {
		if time.Now().After(end) {
			t.Fatal("not dropped")
		}
	}
}

func TestMonitorShowsCommandsThatWereExecuted(t *testing.T) {
	s := startServer(t, newClock().install)
	m, c := dial(t, s), dial(t, s)
	m.expect("MONITOR", "+OK")
	c.expect("SELECT 3", "+OK")
	c.send(array("set", "k", "a \"b\"\\\r\n\t\a\b\x00é"))
	c.receive("+OK")
	c.expect("CONFIG GET save", "*2 $4 save $0 ") // an administrator's command is not shown
	c.expect("AUTH secret word", "-WRONGPASS invalid username-password pair or user is disabled.")
	c.expect("nonsense", "-ERR unknown command 'nonsense', with args beginning with: ")
	c.expect("PING", "+PONG")

	local := c.LocalAddr().String()
	m.receive(
		fmt.Sprintf(`+1700000000.000000 [3 %s] "SELECT" "3"`, local),
		fmt.Sprintf(`+1700000000.000000 [3 %s] "set" "k" "a \"b\"\\\r\n\t\a\b\x00\xc3\xa9"`, local),
		fmt.Sprintf(`+1700000000.000000 [3 %s] "AUTH" "(redacted)" "(redacted)"`, local),
		fmt.Sprintf(`+1700000000.000000 [3 %s] "PING"`, local))
	m.expect("RESET", "+RESET")
	c.expect("PING", "+PONG")
	m.expect("PING", "+PONG")
}

// What a client that watches may do, and what it sees of it, is what it is in Redis.
func TestAMonitorIsServedAsByRedisServer(t *testing.T) {
	redis := startRedis(t)
	kv := filepath.Join(shortDir(t), "kv.sock")
	startServerOn(t, "unix:"+kv)
	where := regexp.MustCompile(`(?m)^\+[0-9.]+ \[(\d+) .*?\]`)
	for _, lines := range [][]string{
		{"MONITOR", "MONITOR", "PING", "GET k", "SET k v", "DBSIZE", "KEYS *", "PUBLISH c m", "FLUSHALL", "SELECT 3", "CLIENT ID x", "CLIENT GETNAME",
			"AUTH default wrong", "ECHO x", "COMMAND COUNT x", "nonsense", "GET", "QUIT"},
		{"MONITOR", "RESET", "GET k", "QUIT"},
	} {
		replies := func(path string) string {
			c := dialTo(t, "unix", path)
			for _, line := range lines {
				c.send(array(words(line)...))
			}
			all, err := io.ReadAll(c.r)
			if err != nil {
				t.Fatal(err)
			}
			return where.ReplaceAllString(string(all), "+TIME [$1 PEER]")
		}
		if diff := cmp.Diff(replies(redis), replies(kv)); diff != "" {
			t.Error("- redis, + kv:", diff)
		}
	}
}
