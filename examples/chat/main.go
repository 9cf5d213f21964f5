// Command chat is a chat server: rooms of clients that send lines to each other.
// It shows what package stream does for a server on the loop: a client that does
// not read is dropped while the others get everything, a client that idles gets a
// last word, and goroutines of net/http send lines too.
//
//	go run ./examples/chat -http 127.0.0.1:8001
//	nc 127.0.0.1 7001
//	curl -d 'lunch!' http://127.0.0.1:8001/lobby
//
// A client is guest1, guest2 and so on, and starts in the room lobby. Lines end
// in \n or \r\n; what stands after the last one when a client ends is dropped, and
// so are empty lines. A line goes to the others of the room as "guest1: text",
// unless it begins with a slash:
//
//	/join room   leaves the room for another one, which need not exist
//	/nick name   takes a name that nobody has
//	/quit        is answered "* bye"
//
// What comes from the server begins with "* ". Only the others of the room hear
// "* guest1 joined" and "* guest1 left". A command that works is silent; one that
// does not is answered "* no such command", "* bad name" or "* name is taken".
// Names, also of rooms, are 1 to 32 bytes: letters, digits, - and _. Nobody can be
// http. "* idle for too long", "* line too long" (over 1,024 bytes, without its
// end) and "* the server is closing" are last words, and the connection ends.
//
// POST /room sends each line of its body to the room, as "http: text", and is
// answered with the number of clients there; empty lines are dropped. It is 400 for
// a bad name, 413 for a line or a body that is too long, and 503 once the server
// has ended.
//
// SIGINT and SIGTERM end the server: requests that are under way are answered, and
// clients have 5 s to take what was sent to them, and of these a second to close. A
// second signal does not wait.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/watch"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7001", "accept clients on `host:port`")
	web := flag.String("http", "", "accept HTTP on `host:port`, if any")
	watchAddr := flag.String("watch", "", "show the loop at work on a page on `host:port`, if any")
	idle := flag.Duration("idle", 10*time.Minute, "end a client that neither sends nor is sent anything for so long; 0 is never")
	limit := flag.Int("limit", 1<<20, "drop a client for which more `bytes` wait")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "chat: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // the next signal kills
	signal.Ignore(syscall.SIGPIPE) // what net/http logs must not, when nobody takes it

	if err := serve(ctx, *listen, *web, *watchAddr, *idle, *limit, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

const (
	maxLine = 1024
	maxBody = 64 << 10
	grace   = 5 * time.Second
)

// server belongs to the loop's goroutine, so nothing in it needs a lock.
type server struct {
	el     *ae.EventLoop
	rooms  map[string]map[*client]bool
	names  map[string]bool   // those taken
	guests int               // how many there ever were
	ended  map[string]uint64 // how many have gone, by reason
}

type client struct {
	*stream.Conn
	name, room string // room is empty once the client has left
}

// serve runs the server until ctx is done and the clients have gone.
func serve(ctx context.Context, listen, httpListen, watchAddr string, idle time.Duration, limit int, log io.Writer) error {
	el, err := ae.New(1 << 20)
	if err != nil {
		return err
	}
	defer el.Close()
	loop := stream.On(el)
	defer loop.Close()

	s := &server{el: el, rooms: map[string]map[*client]bool{}, names: map[string]bool{"http": true}, ended: map[string]uint64{}}
	ln, err := loop.Listen("tcp", listen, stream.ListenConfig{}, &stream.Handler{
		Open:     s.onOpen,
		Data:     s.onData,
		EOF:      func(c *stream.Conn) { s.end(of(c), "") },
		Idled:    func(c *stream.Conn) { s.end(of(c), "idle for too long") },
		Shutdown: s.onShutdown,
		Close: func(c *stream.Conn, err error) {
			if c, ok := c.Data.(*client); ok { // else its Open was never called
				s.end(c, "")
			}
			s.ended[reason(err)]++
		},
		Idle:   idle,
		Limit:  limit,
		Linger: time.Second,
	})
	if err != nil {
		return err
	}

	at := fmt.Sprintln("listening on", ln.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{room}", s.onPost)
	web := http.Server{Handler: mux, ReadTimeout: grace}
	defer web.Close()
	if httpListen != "" {
		ln, err := net.Listen("tcp", httpListen)
		if err != nil {
			return err
		}
		at += fmt.Sprintln("http on", ln.Addr())
		go web.Serve(ln)
	}
	if watchAddr != "" {
		url, stop, err := watch.Serve(watchAddr, watch.New(el, watch.Options{Name: "chat", Conns: func() watch.Conns {
			return watch.ConnsOf(loop.All(), s.ended)
		}}))
		if err != nil {
			return err
		}
		defer stop()
		at += fmt.Sprintln("watch it on", url)
	}
	io.WriteString(log, at)

	context.AfterFunc(ctx, func() {
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		web.Shutdown(soon) // first, while there is a loop to answer its requests
		el.Post(func(*ae.EventLoop) { loop.Shutdown(grace, el.Stop) })
	})
	return el.Main()
}

func of(c *stream.Conn) *client { return c.Data.(*client) }

func (s *server) onOpen(c *stream.Conn) {
	cl := &client{Conn: c}
	c.Data = cl
	for cl.name == "" || s.names[cl.name] { // somebody may have named himself so
		s.guests++
		cl.name = fmt.Sprint("guest", s.guests)
	}
	s.names[cl.name] = true
	s.move(cl, "lobby")
}

// onData takes the lines that are complete. The rest comes again, with more.
func (s *server) onData(c *stream.Conn, p []byte) (used int) {
	for c.Open() {
		line, _, complete := bytes.Cut(p[used:], []byte("\n"))
		size := len(line) + 1
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > maxLine {
			s.end(of(c), "line too long")
			break
		}
		if !complete {
			break
		}
		s.onLine(of(c), string(line))
		used += size
	}
	return used
}

func (s *server) onLine(c *client, line string) {
	command, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimSpace(arg)
	switch {
	case line == "":
	case line[0] != '/':
		s.tell(c.room, c, c.name+": "+line)
	case command == "/quit":
		s.end(c, "bye")
	case command != "/join" && command != "/nick":
		c.say("no such command")
	case !good(arg):
		c.say("bad name")
	case command == "/join" && arg != c.room:
		s.move(c, arg)
	case command == "/nick" && arg != c.name && s.names[arg]:
		c.say("name is taken")
	case command == "/nick":
		delete(s.names, c.name)
		c.name = arg
		s.names[c.name] = true
	}
}

// good reports whether a name, of a client or a room, is one.
func good(name string) bool {
	return 0 < len(name) && len(name) <= 32 && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
	})
}

// move takes a client out of its room, if it is in one, and into another, unless
// that is "".
func (s *server) move(c *client, room string) {
	if c.room != "" {
		delete(s.rooms[c.room], c)
		if len(s.rooms[c.room]) == 0 {
			delete(s.rooms, c.room)
		}
		s.tell(c.room, c, "* "+c.name+" left")
	}
	c.room = room
	if room != "" {
		s.tell(room, c, "* "+c.name+" joined")
		if s.rooms[room] == nil {
			s.rooms[room] = map[*client]bool{}
		}
		s.rooms[room][c] = true
	}
}

// end closes a client, with a last word if there is one, or notes that it is
// closed. The others need not wait until it has taken what was sent to it.
func (s *server) end(c *client, last string) {
	if last != "" {
		c.say(last)
	}
	c.Close()
	if c.room != "" {
		s.move(c, "")
		delete(s.names, c.name)
	}
}

// reason says in a word or two why a connection has ended.
func reason(err error) string {
	if err == nil {
		return "closed"
	}
	return strings.TrimPrefix(err.Error(), "stream: ")
}

// onShutdown does not tell who left: everybody does.
func (s *server) onShutdown(c *stream.Conn) {
	delete(s.rooms, of(c).room)
	of(c).say("the server is closing")
	c.Close()
}

func (c *client) say(text string) { io.WriteString(c, "* "+text+"\n") }

// tell sends a line to a room, but not to whom it comes from. A write that fails,
// or ends a client that does not read, calls nothing back: there is time for that
// when everybody has the line.
func (s *server) tell(room string, from *client, line string) {
	p := []byte(line + "\n")
	for c := range s.rooms[room] {
		if c != from {
			c.Write(p)
		}
	}
}

// onPost runs on a goroutine of net/http, and must not touch the server: the loop
// does that for it.
func (s *server) onPost(w http.ResponseWriter, r *http.Request) {
	room := r.PathValue("room")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	lines := strings.FieldsFunc(string(body), func(r rune) bool { return r == '\n' || r == '\r' })
	tooLong := func(line string) bool { return len(line) > maxLine }

	answer := make(chan int, 1)
	text := "http: " + strings.Join(lines, "\nhttp: ") // in one write for each client: many lines to many are slow
	post := func(*ae.EventLoop) {
		if len(lines) > 0 {
			s.tell(room, nil, text)
		}
		answer <- len(s.rooms[room])
	}
	switch {
	case err != nil || slices.ContainsFunc(lines, tooLong):
		http.Error(w, "line too long", http.StatusRequestEntityTooLarge)
	case !good(room):
		http.Error(w, "bad name", http.StatusBadRequest)
	case s.el.Post(post) != nil:
		http.Error(w, "the server is closing", http.StatusServiceUnavailable)
	default: // the answer comes, also from a loop that ends
		fmt.Fprintln(w, <-answer)
	}
}
