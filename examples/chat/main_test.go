package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
)

// chat is a server that runs in this process until the test ends.
type chat struct {
	addr, url string
	stop      func() error // ends it earlier, and returns what serve returned
}

func start(t testing.TB, idle time.Duration, limit int) chat {
	t.Helper()
	addrs, stop := testutil.Serve(t, 2, func(ctx context.Context, out io.Writer) error {
		return serve(ctx, "127.0.0.1:0", "127.0.0.1:0", "", idle, limit, out)
	})
	return chat{addrs[0], url(addrs[1]), stop}
}

func url(addr string) string { return "http://" + addr + "/" }

// peer is a client.
type peer struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, testutil.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(testutil.Deadline())
	return &peer{c, t, bufio.NewReader(c)}
}

// guests returns n clients, guest1 and so on, who have all heard of each other.
func guests(t testing.TB, addr string, n int) []*peer {
	t.Helper()
	var all []*peer
	for i := range n {
		all = append(all, dial(t, addr))
		if i == 0 {
			all[0].send("/nobody\n") // who is answered is in the room
			all[0].hears("* no such command")
			continue
		}
		for _, p := range all[:i] {
			p.hears(fmt.Sprintf("* guest%d joined", i+1))
		}
	}
	return all
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// hears fails the test unless these are the next lines.
func (p *peer) hears(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		got, err := p.in.ReadString('\n')
		if err != nil || got != want+"\n" {
			p.t.Fatalf("heard %q, %v; want %q", got, err, want)
		}
	}
}

// ends fails the test unless the end comes next.
func (p *peer) ends() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Fatalf("heard %q, %v; want the end", rest, err)
	}
}

func TestTheLoopCanBeWatched(t *testing.T) {
	addrs, _ := testutil.Serve(t, 2, func(ctx context.Context, out io.Writer) error {
		return serve(ctx, "127.0.0.1:0", "", "127.0.0.1:0", time.Minute, 1<<20, out)
	})
	c := dial(t, addrs[0])
	io.WriteString(c, "/quit\n")
	io.ReadAll(c)
	for end := testutil.Deadline(); ; {
		resp, err := http.Get(addrs[1] + "?text")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if _, ended, _ := strings.Cut(string(text), "ended map["); strings.Contains(ended, "closed:") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the page does not count who has gone:\n%s", text)
		}
		c := dial(t, addrs[0]) // the loop tells when it is awake
		io.WriteString(c, "/quit\n")
		io.ReadAll(c)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestALineGoesToTheOthersOfTheRoom(t *testing.T) {
	g := guests(t, start(t, 0, 0).addr, 3)
	g[0].send("hello\n")
	g[1].hears("guest1: hello")
	g[2].hears("guest1: hello")
	g[1].send(" * two  words \n")
	g[0].hears("guest2:  * two  words ") // and not its own line
	g[2].hears("guest2:  * two  words ")
}

func TestWhoComesAndGoesIsToldToTheOthersOfThatRoom(t *testing.T) {
	g := guests(t, start(t, 0, 0).addr, 3)
	g[0].send("/join go\nanybody?\n")
	g[1].hears("* guest1 left")
	g[2].hears("* guest1 left")
	g[1].send("/join go\n")
	g[0].hears("* guest2 joined")
	g[2].hears("* guest2 left")
	g[1].send("hello\n")
	g[0].hears("guest2: hello")
	g[2].send("alone\n/join go\n")
	g[0].hears("* guest3 joined")
	g[1].hears("* guest3 joined")
	g[2].send("/join go\nhere already\n") // is silent: there is nothing to do
	g[0].hears("guest3: here already")
	g[0].Close()
	g[1].hears("guest3: here already", "* guest1 left")
	g[2].hears("* guest1 left")
}

func TestNames(t *testing.T) {
	addr := start(t, 0, 0).addr
	g := guests(t, addr, 2)
	long := strings.Repeat("x", 32)
	for _, step := range []struct{ send, answer, says string }{
		{"/nick ann", "", "ann"},
		{"/nick ann", "", "ann"},
		{"/nick guest2", "* name is taken", "ann"},
		{"/nick http", "* name is taken", "ann"},
		{"/nick", "* bad name", "ann"},
		{"/nick ", "* bad name", "ann"},
		{"/nick two words", "* bad name", "ann"},
		{"/nick a:b", "* bad name", "ann"},
		{"/nick *", "* bad name", "ann"},
		{"/nick a\xff", "* bad name", "ann"},
		{"/nick " + long + "x", "* bad name", "ann"},
		{"/nick  " + long + " ", "", long},
		{"/nick J\u00fcrgen-2_", "", "J\u00fcrgen-2_"},
		{"/join a/b", "* bad name", "J\u00fcrgen-2_"},
		{"/join", "* bad name", "J\u00fcrgen-2_"},
		{"/nick guest3", "", "guest3"},
	} {
		g[0].send(step.send + "\r\nhello\r\n")
		if step.answer != "" {
			g[0].hears(step.answer)
		}
		g[1].hears(step.says + ": hello")
	}

	dial(t, addr) // guest3 is somebody else
	g[1].hears("* guest4 joined")
	g[0].hears("* guest4 joined")
	g[0].Close()
	g[1].hears("* guest3 left")
	g[1].send("/nick guest3\n/nobody\n") // who goes leaves his name
	g[1].hears("* no such command")
}

func TestLinesArriveInAnyPieces(t *testing.T) {
	g := guests(t, start(t, 0, 0).addr, 2)
	for _, b := range []byte("one\r\n\r\n\n/nothing\r\ntwo\n") {
		g[0].send(string(b))
	}
	g[0].hears("* no such command")
	g[1].hears("guest1: one", "guest1: two")

	const many = 5000
	var text, want []string
	for i := range many {
		text = append(text, fmt.Sprintf("line %d\n", i))
		want = append(want, fmt.Sprintf("guest1: line %d", i))
	}
	go io.WriteString(g[0], strings.Join(text, ""))
	g[1].hears(want...)

	// What is no line is dropped, and what was said before is not.
	g[0].send("last\nno line")
	g[0].Conn.(*net.TCPConn).CloseWrite()
	g[1].hears("guest1: last", "* guest1 left")
	g[0].ends()
}

func TestALineTooLongIsTheLast(t *testing.T) {
	addr := start(t, 0, 0).addr
	most := strings.Repeat("x", maxLine)
	g := guests(t, addr, 4)
	g[0].send(most + "\n" + most + "\r\n")
	g[3].hears("guest1: "+most, "guest1: "+most)
	g[1].hears("guest1: "+most, "guest1: "+most)
	g[2].hears("guest1: "+most, "guest1: "+most)
	for i, text := range []string{most + "x\nmore\n", most + "x\r\n", most + "x"} {
		g[i].send(text)
		g[i].hears("* line too long")
		g[i].ends()
		for _, p := range g[i+1:] {
			p.hears(fmt.Sprintf("* guest%d left", i+1))
		}
	}
}

// The others do not wait until the one who quits has closed his side.
func TestQuit(t *testing.T) {
	g := guests(t, start(t, 0, 0).addr, 2)
	g[0].send("going\n/quit\nnot any more\n")
	g[1].hears("guest1: going", "* guest1 left")
	g[0].hears("* bye")
	g[0].ends()
	g[1].send("/nick guest1\n/nobody\n")
	g[1].hears("* no such command")
	g[0].Close()
	g[1].send("/quit now\n")
	g[1].hears("* bye")
	g[1].ends()
}

func TestWhoIdlesHasALastWord(t *testing.T) {
	const idle = time.Second
	addr := start(t, idle, 0).addr
	began := time.Now()
	p := dial(t, addr)
	p.hears("* idle for too long")
	if took := time.Since(began); took < idle {
		t.Errorf("idle after %v, before %v", took, idle)
	}
	p.ends()

	// Who sends does not idle, and he who only listens to that does not either.
	g := []*peer{dial(t, addr), dial(t, addr)}
	g[0].hears("* guest3 joined")
	for began := time.Now(); time.Since(began) < 2*idle; {
		g[0].send("x\n")
		g[1].hears("guest2: x")
	}
}

// pitfall 29: who does not read is dropped, and not who reads.
func TestWhoDoesNotReadIsDroppedAndTheOthersGetEverything(t *testing.T) {
	g := guests(t, start(t, 0, 256<<10).addr, 3)
	fast, sender := g[1], g[2]
	text := strings.Repeat("x", 1000)
	dropped := false
	for i := 0; !dropped; i++ {
		if i == 100_000 {
			t.Fatal("100 MB wait for one who does not read")
		}
		sender.send(fmt.Sprintf("%d %s\n", i, text))
		for said := false; !said; { // it keeps up
			line, err := fast.in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			switch line {
			case "* guest1 left\n":
				dropped = true
			case fmt.Sprintf("guest3: %d %s\n", i, text):
				said = true
			default:
				t.Fatalf("heard %.60q after line %d", line, i)
			}
		}
	}
	sender.hears("* guest1 left")
	if _, err := io.Copy(io.Discard, g[0].in); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who was dropped reads %v: his text looks complete", err)
	}
}

// post returns the status and the answer.
func post(t testing.TB, url, text string) string {
	t.Helper()
	c := http.Client{Timeout: testutil.Patience}
	r, err := c.Post(url, "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", r.StatusCode, strings.TrimSpace(string(body)))
}

func TestPost(t *testing.T) {
	c := start(t, 0, 0)
	g := guests(t, c.addr, 2)
	g[1].send("/join go\n/nobody\n")
	g[1].hears("* no such command")
	g[0].hears("* guest2 left")
	most := strings.Repeat("x", maxLine)
	for _, step := range []struct{ room, text, answer string }{
		{"lobby", "hello", "200 1"},
		{"lobby", "", "200 1"},
		{"lobby", "one\r\n\r\ntwo\nguest2: three\n", "200 1"},
		{"lobby", most + "\r\n", "200 1"},
		{"lobby", "none of this\n" + most + "x", "413 line too long"},
		{"lobby", strings.Repeat("x\n", maxBody/2+1), "413 line too long"},
		{"go", "gophers", "200 1"},
		{"%67o", "escaped", "200 1"},
		{"empty", "hello?", "200 0"},
		{"a%2Fb", "hello", "400 bad name"},
		{"", "hello", "404 404 page not found"},
		{"a/b", "hello", "404 404 page not found"},
	} {
		if got := post(t, c.url+step.room, step.text); got != step.answer {
			t.Errorf("POST /%s %.20q is answered %q, want %q", step.room, step.text, got, step.answer)
		}
	}
	g[0].hears("http: hello", "http: one", "http: two", "http: guest2: three", "http: "+most)
	g[1].hears("http: gophers", "http: escaped")
	if r, err := http.Get(c.url + "lobby"); err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", r, err)
	}
}

func TestPostsFromManyGoroutines(t *testing.T) {
	const posters, each = 8, 50
	c := start(t, 0, 0)
	g := guests(t, c.addr, 1)
	var wg sync.WaitGroup
	for i := range posters {
		wg.Go(func() {
			for n := range each {
				if got := post(t, c.url+"lobby", fmt.Sprintf("%d %d", i, n)); got != "200 1" {
					t.Errorf("answered %q", got)
				}
			}
		})
	}
	var next [posters]int
	for range posters * each {
		line, err := g[0].in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var i, n int
		if _, err := fmt.Sscanf(line, "http: %d %d\n", &i, &n); err != nil || n != next[i] {
			t.Fatalf("heard %q, %v; want number %d", line, err, next[i])
		}
		next[i]++
	}
	wg.Wait()
}

// Every request that reached the server is answered, before, while and after it
// shuts down. A connection that it closes first has had none.
func TestPostsWhileTheServerEnds(t *testing.T) {
	for range 20 {
		c := start(t, 0, 0)
		g := guests(t, c.addr, 3)
		var wg sync.WaitGroup
		going := make(chan bool, 4)
		for range 4 {
			wg.Go(func() {
				client := http.Client{Timeout: testutil.Patience, Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for n := 0; ; n++ {
					r, err := client.Post(c.url+"lobby", "text/plain", strings.NewReader("hello"))
					if err != nil {
						if os.IsTimeout(err) {
							t.Error("a request was never answered")
						}
						return
					}
					io.Copy(io.Discard, r.Body)
					r.Body.Close()
					if r.StatusCode != 200 && r.StatusCode != 503 {
						t.Errorf("answered %s", r.Status)
					}
					if n == 5 {
						going <- true
					}
				}
			})
		}
		<-going
		for _, p := range g {
			go func() { // goes when the server does
				io.Copy(io.Discard, p)
				p.Close()
			}()
		}
		if err := c.stop(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

func TestTheServerEndsWithALastWord(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	c := start(t, 0, 0)
	g := guests(t, c.addr, 5)
	g[4].send("/join elsewhere\n/nobody\n")
	g[4].hears("* no such command")
	ended := make(chan error, 1)
	go func() { ended <- c.stop() }()
	for i, p := range g {
		if i < 4 {
			p.hears("* guest5 left")
		}
		p.hears("* the server is closing") // and not who else left
		p.ends()
		p.Close()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	testutil.GoroutinesComeTo(t, goroutines)
}

func TestSignalsEndTheProcessWell(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := testutil.Command(nil, "chat", "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-idle", "1m", "-limit", "100000")
		addrs, _ := testutil.Spawn(t, cmd, 2, cmd.StderrPipe)
		g := guests(t, addrs[0], 2)
		if got := post(t, url(addrs[1])+"lobby", "hello"); got != "200 2" {
			t.Errorf("answered %q", got)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		for _, p := range g {
			p.hears("http: hello", "* the server is closing")
			p.ends()
			p.Close()
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

func TestBadArguments(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		code int
		args string
	}{
		{2, "-listen 127.0.0.1:0 more"},
		{2, "-nothing"},
		{1, "-listen nonsense"},
		{1, "-listen 127.0.0.1:0 -idle -1s"},
		{1, "-listen 127.0.0.1:0 -limit -1"},
		{1, "-listen " + taken.Addr().String()},
		{1, "-listen 127.0.0.1:0 -http " + taken.Addr().String()},
	} {
		code, out := testutil.Exit(t, testutil.Command(nil, "chat", strings.Fields(c.args)...))
		if code != c.code || out == "" {
			t.Errorf("chat %s: exit code %d, %q; want %d", c.args, code, out, c.code)
		}
	}
}

func TestMain(m *testing.M) { testutil.Main(m) }

func init() { testutil.Child("chat", main) }
