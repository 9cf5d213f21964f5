package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/internal/resp/resptest"
	"github.com/aeloop/ae/internal/testutil"
)

func start(t testing.TB) (addr string, stop func() error) {
	t.Helper()
	addrs, stop := testutil.Serve(t, 1, func(ctx context.Context, out io.Writer) error {
		return serve(ctx, "127.0.0.1:0", out)
	})
	return addrs[0], stop
}

// client sees replies as they are on the wire.
type client struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, testutil.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, t, bufio.NewReaderSize(c, 64<<10)}
}

func (c *client) send(s string) {
	c.t.Helper()
	c.SetDeadline(testutil.Deadline())
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// reads fails unless that is the next reply, with spaces for line ends.
func (c *client) reads(want string) {
	c.t.Helper()
	if got := c.reply(); got != want {
		c.t.Fatalf("got %q, want %q", got, want)
	}
}

func (c *client) reply() string {
	c.t.Helper()
	c.SetDeadline(testutil.Deadline())
	var raw bytes.Buffer
	if err := resptest.ReadReply(c.in, &raw); err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(raw.String(), "\r\n", " "))
}

// does sends a command and checks its reply.
func (c *client) does(command, want string) {
	c.t.Helper()
	c.send(resptest.Command(strings.Fields(command)...))
	if got := c.reply(); got != want {
		c.t.Fatalf("%s: got %q, want %q", command, got, want)
	}
}

// skips reads a reply of n bytes without looking at them.
func (c *client) skips(n int) {
	c.t.Helper()
	c.SetDeadline(testutil.Deadline())
	head := fmt.Sprintf("$%d\r\n", n)
	line, err := c.in.ReadString('\n')
	if err == nil && line == head {
		_, err = c.in.Discard(n)
	}
	if end, _ := c.in.Peek(2); err != nil || line != head || string(end) != "\r\n" {
		c.t.Fatalf("got %q, %q and %v, want %q", line, end, err, head)
	}
	c.in.Discard(2)
}

func (c *client) ends() {
	c.t.Helper()
	c.SetDeadline(testutil.Deadline())
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Fatalf("got %q and %v, want the end", rest, err)
	}
}

func TestCommands(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, addr)
	for _, step := range [][2]string{
		{"PING", "+PONG"}, {"ping", "+PONG"},
		{"GET a", "$-1"}, {"SET a 1", "+OK"}, {"GET a", "$1 1"},
		{"INCR a", ":2"}, {"INCR new", ":1"}, {"GET a", "$1 2"},
		{"SET text x", "+OK"}, {"INCR text", "-" + notInteger},
		{"SET max 9223372036854775807", "+OK"}, {"INCR max", "-ERR increment or decrement would overflow"},
		{"EXISTS a a text none", ":3"}, {"DEL a text none", ":2"}, {"DEL a", ":0"}, {"EXISTS a", ":0"},

		{"TTL none", ":-2"}, {"TTL new", ":-1"}, {"EXPIRE none 10", ":0"}, {"EXPIRE new x", "-" + notInteger},
		{"EXPIRE new 9223372036854775807", "-ERR invalid expire time in 'expire' command"},
		{"EXPIRE new -9223372036854775807", "-ERR invalid expire time in 'expire' command"},
		{"EXPIRE new 100", ":1"}, {"TTL new", ":100"}, {"INCR new", ":2"}, {"TTL new", ":100"},
		{"SET new x", "+OK"}, {"TTL new", ":-1"},
		{"EXPIRE new 9000000000", ":1"}, {"GET new", "$1 x"},
		{"EXPIRE new 0", ":1"}, {"GET new", "$-1"}, {"TTL new", ":-2"},
		{"SET new x", "+OK"}, {"EXPIRE new -1", ":1"}, {"EXISTS new", ":0"}, {"DEL new", ":0"},

		{"GET", "-ERR wrong number of arguments for 'get' command"},
		{"get a b", "-ERR wrong number of arguments for 'get' command"},
		{"DEL", "-ERR wrong number of arguments for 'del' command"},
		{"NOSUCH a", "-ERR unknown command 'nosuch'"},
	} {
		c.does(step[0], step[1])
	}
	c.send("\r\n*0\r\nset line \"a b\"\r\nget line\n")
	c.reads("+OK")
	c.reads("$3 a b")
}

func TestCommandsComeInPiecesOrManyAtOnce(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, addr)
	for _, b := range resptest.Command("SET", "key", "a\r\nb") {
		c.send(string(b))
	}
	c.reads("+OK")
	const n = 10_000
	c.send(strings.Repeat(resptest.Command("INCR", "n"), n))
	for i := range n {
		c.reads(fmt.Sprint(":", i+1))
	}
	big := strings.Repeat("xyz", 1<<20)
	c.send(resptest.Command("SET", "big", big) + resptest.Command("GET", "big"))
	c.reads("+OK")
	c.reads(fmt.Sprint("$", len(big), " ", big))
}

func TestWhoBreaksTheProtocolReadsWhy(t *testing.T) {
	addr, _ := start(t)
	for _, m := range resptest.Malformed {
		c := dial(t, addr)
		c.send(resptest.Command("PING") + m.Input)
		c.reads("+PONG")
		c.reads("-ERR Protocol error: " + strings.ReplaceAll(m.Error, "\r", " "))
		c.ends()
	}
}

func TestACommandOfAnySizeIsNotKept(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, addr)
	c.send(fmt.Sprintf("*2\r\n$3\r\nGET\r\n$%d\r\n", resp.MaxBulk))
	piece := strings.Repeat("x", 1<<20)
	c.SetDeadline(testutil.Deadline())
	for range maxCommand>>20 + 16 {
		if _, err := io.WriteString(c, piece); err != nil {
			break // it has lingered long enough
		}
	}
	c.reads("-ERR Protocol error: too big a command")
}

// The commands of a client that does not read its replies wait.
func TestWhoDoesNotReadIsNotReadFrom(t *testing.T) {
	addr, _ := start(t)
	slow, other := dial(t, addr), dial(t, addr)
	const n, size = 50, 1 << 20 // more than the buffers of any system
	other.send(resptest.Command("SET", "big", strings.Repeat("x", size)))
	other.reads("+OK")
	slow.send(strings.Repeat(resptest.Command("INCR", "n")+resptest.Command("GET", "big"), n))
	other.does("PING", "+PONG")
	other.send(resptest.Command("GET", "n"))
	if got := other.reply(); strings.HasSuffix(got, fmt.Sprint(" ", n)) {
		t.Errorf("all %d replies of %d bytes wait", n, size)
	}
	for i := range n {
		slow.reads(fmt.Sprint(":", i+1))
		slow.skips(size)
	}
	slow.does("PING", "+PONG")
}

func TestAKeyThatExpiresIsGone(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, addr)
	c.does("SET k v", "+OK")
	c.does("EXPIRE k 1", ":1")
	began := time.Now()
	for c.send("GET k\r\n"); c.reply() != "$-1"; c.send("GET k\r\n") {
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("after %v", took)
	}
}

func TestKeysThatNobodyAsksForExpireToo(t *testing.T) {
	el, err := ae.New(64)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	s := &server{el: el, data: data{now: el.Now(), values: map[string][]byte{}, expires: map[string]time.Time{}}}
	for i := range 2000 {
		key := []byte(fmt.Sprint(i))
		s.set([][]byte{nil, key, key})
		if i%2 == 0 {
			s.expire([][]byte{nil, key, []byte("-1")})
		}
	}
	for end := testutil.Deadline(); s.sweeping && time.Now().Before(end); {
		if _, err := el.ProcessEvents(ae.AllEvents); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.data.values) != 1000 || len(s.data.expires) != 0 {
		t.Errorf("%d keys are left, of which %d expire", len(s.data.values), len(s.data.expires))
	}
	if n, err := el.ProcessEvents(ae.AllEvents | ae.DontWait); n != 0 || err != nil {
		t.Errorf("%d events and %v with nothing to do", n, err)
	}
	s.out.Buf = nil
	s.expire([][]byte{nil, []byte("1"), []byte("100")})
	if !s.sweeping || string(s.out.Buf) != ":1\r\n" {
		t.Errorf("the time event does not come back; %q", s.out.Buf)
	}
}

func TestTheEndLosesNoReply(t *testing.T) {
	addr, stop := start(t)
	idle, slow := dial(t, addr), dial(t, addr)
	idle.does("PING", "+PONG")
	const size = 8 << 20
	slow.does("SET big "+strings.Repeat("x", size), "+OK")
	slow.send(resptest.Command("GET", "big"))
	if _, err := slow.in.Peek(1); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	idle.ends()
	slow.skips(size)
	slow.ends()
	idle.Close()
	slow.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func BenchmarkPipeline(b *testing.B) {
	addr, _ := start(b)
	c := dial(b, addr)
	c.does("SET k v", "+OK")
	const depth = 16
	batch := strings.Repeat(resptest.Command("GET", "k"), depth)
	reply := make([]byte, depth*len("$1\r\nv\r\n"))
	for range b.N {
		c.send(batch)
		if _, err := io.ReadFull(c.in, reply); err != nil {
			b.Fatal(err)
		}
	}
}
