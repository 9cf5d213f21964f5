package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func withPassword(s *server) { s.cfg.password = "secret" }

func TestWithoutThePasswordNothingIsDone(t *testing.T) {
	s := startServer(t, withPassword)
	c := dial(t, s)
	for _, line := range []string{"GET k", "CONFIG GET *", "CLIENT LIST", "SUBSCRIBE a", "MONITOR", "SHUTDOWN"} {
		c.expect(line, "-NOAUTH Authentication required.")
	}
	c.expect("HELLO 3", "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> "+
		"option can be used to authenticate the client and select the RESP protocol version at the same time")
	c.expect("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.")
	c.expect("AUTH nobody secret", "-WRONGPASS invalid username-password pair or user is disabled.")
	c.expect("HELLO 3 AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled.")
	c.expect("GET k", "-NOAUTH Authentication required.")
	c.expect("AUTH secret", "+OK")
	c.expect("GET k", "$-1")
	c.expect("RESET", "+RESET")
	c.expect("GET k", "-NOAUTH Authentication required.")
	if got := c.cmd("HELLO 3 AUTH default secret SETNAME me"); !strings.HasPrefix(got, "%7 ") {
		t.Error(got)
	}
	c.expect("CLIENT GETNAME", "$2 me")
	c.expect("QUIT", "+OK")
}

func TestAStrangerCannotAnnounceMuch(t *testing.T) {
	s := startServer(t, withPassword)
	for input, want := range map[string]string{
		"*11\r\n":           "-ERR Protocol error: unauthenticated multibulk length",
		"*1\r\n$16385\r\n":  "-ERR Protocol error: unauthenticated bulk length",
		"*10\r\n$0\r\n\r\n": "",
	} {
		c := dial(t, s)
		c.send(input)
		if want != "" {
			c.receive(want)
			c.expectEnd()
		}
	}
	c := dial(t, s)
	c.expect("AUTH secret", "+OK")
	c.send(array("SET", "k", strings.Repeat("v", 20_000)))
	c.receive("+OK")
}

func TestWithoutAPasswordNobodyIsAStranger(t *testing.T) {
	s := startServer(t, withPassword)
	c, admin := dial(t, s), dial(t, s)
	admin.expect("AUTH secret", "+OK")
	admin.send(array("CONFIG", "SET", "requirepass", ""))
	admin.receive("+OK")
	c.send(array("SET", "k", strings.Repeat("v", 20_000)) + array(strings.Fields("MGET"+strings.Repeat(" k", 20))...))
	c.receive("+OK")
	c.reply()
	admin.expect("CONFIG SET requirepass secret", "+OK")
	c.expect("GET k", "-NOAUTH Authentication required.") // it has never given one
	c.send("*11\r\n")
	c.receive("-ERR Protocol error: unauthenticated multibulk length")
}

func TestClientsOverTheMaximumAreTurnedAway(t *testing.T) {
	s := startServer(t)
	first := dial(t, s)
	first.expect("CONFIG SET maxclients 2", "+OK")
	second := dial(t, s)
	second.expect("PING", "+PONG")
	third := dial(t, s)
	third.receive("-ERR max number of clients reached")
	third.expectEnd()

	second.Close()
	for n := -1; n != 1; {
		s.do(t, func() { n = len(s.clients) })
	}
	dial(t, s).expect("PING", "+PONG")
	if got := first.cmd("INFO stats"); !strings.Contains(got, "rejected_connections:1 ") {
		t.Error(got)
	}
}

func TestProtectedModeServesOnlyThisMachine(t *testing.T) {
	s, err := newServer(defaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, tt := range []struct {
		peer string
		ok   bool
	}{{"127.0.0.1:1", true}, {"127.9.9.9:1", true}, {"[::1]:1", true}, {"[::ffff:127.0.0.1]:1", true}, {"10.0.0.1:1", false}, {"[2001:db8::1]:1", false}} {
		if got := s.refuse(netip.MustParseAddrPort(tt.peer)); (got == "") != tt.ok || got != "" && !strings.HasPrefix(got, "-DENIED ") {
			t.Errorf("%s: %q", tt.peer, got)
		}
	}
	if got := s.refuse(netip.AddrPort{}); got != "" {
		t.Errorf("unix: %q", got)
	}

	stranger := netip.MustParseAddrPort("10.0.0.1:1")
	s.cfg.password = "secret"
	if got := s.refuse(stranger); got != "" {
		t.Errorf("with a password: %q", got)
	}
	s.cfg.password, s.cfg.protected = "", false
	if got := s.refuse(stranger); got != "" {
		t.Errorf("without protection: %q", got)
	}
}

func TestIdleClientsAreClosedButNotThoseWhoWait(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	idle, sub, mon := dial(t, s), dial(t, s), dial(t, s)
	sub.expect("SUBSCRIBE c", "*3 $9 subscribe $1 c :1")
	mon.expect("MONITOR", "+OK")
	began := time.Now()
	idle.expect("CONFIG SET timeout 1", "+OK")
	idle.expectEnd()
	if took := time.Since(began); took < time.Second {
		t.Errorf("closed after %v", took)
	}
	last := dial(t, s)
	last.expect("PUBLISH c m", ":1")
	last.expect("CONFIG SET timeout 0", "+OK")
	s.do(t, func() {
		if len(s.clients) != 3 {
			t.Errorf("%d clients are left", len(s.clients))
		}
	})
}

// Who takes a long reply is not idle, however long ago it was asked for. (8)
func TestAClientThatIsReceivingIsNotIdle(t *testing.T) {
	t.Parallel()
	const size, pieces = 32 << 20, 12
	s := startServer(t)
	c := dial(t, s)
	c.expect("CONFIG SET timeout 2", "+OK")
	c.expect(fmt.Sprint("SETRANGE key ", size-1, " v"), fmt.Sprint(":", size))
	c.send(array("GET", "key"))
	for got := range pieces {
		time.Sleep(250 * time.Millisecond) // not to wait for anything: it is slow
		if _, err := io.CopyN(io.Discard, c.r, size/pieces); err != nil {
			t.Fatalf("after %d pieces: %v", got, err)
		}
	}

	// Who takes nothing is.
	c.send(array("GET", "key"))
	for n := -1; n != 0; {
		s.do(t, func() { n = len(s.clients) })
	}
}

func TestACommandThatGrowsWithoutEndIsCutOff(t *testing.T) {
	s := startServer(t)
	admin := dial(t, s)
	admin.expect("CONFIG SET client-query-buffer-limit 1mb", "+OK")
	admin.expect("CONFIG SET client-query-buffer-limit 1kb", "-ERR CONFIG SET failed (possibly related to argument 'client-query-buffer-limit')"+
		" - argument must be between 1048576 and 9223372036854775807 inclusive")
	for _, arg := range []string{"", strings.Repeat("x", 1000), strings.Repeat("x", 100_000)} {
		c := dial(t, s)
		go func() {
			io.WriteString(c, "*1000000\r\n")
			args := strings.Repeat(fmt.Sprintf("$%d\r\n%s\r\n", len(arg), arg), max(1, 1000/(1+len(arg))))
			for n := 0; n < 500_000; n += strings.Count(args, "$") { // no more than was announced
				if _, err := io.WriteString(c, args); err != nil {
					return
				}
			}
		}()
		if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it got a reply, or was left alone:", err)
		}
	}
	admin.expect("PING", "+PONG")
}

func TestWithoutMemoryLeftOnlyWhatStoresIsRefused(t *testing.T) {
	const oom = "-OOM command not allowed when used memory > 'maxmemory'."
	s := startServer(t)
	c := dial(t, s)
	c.expect("CONFIG SET maxmemory 1mb", "+OK")
	value, full := strings.Repeat("v", 1000), -1
	for i := range 2000 {
		c.send(array("SET", fmt.Sprint("k", i), value))
		if got := c.reply(); got == oom {
			full = i
			break
		}
	}
	if full < 900 || full > 1100 {
		t.Fatalf("full after %d values of 1000 bytes", full)
	}
	c.expect("APPEND k0 v", oom)
	c.expect("STRLEN k0", ":1000")
	c.expect("EXPIRE k0 100", ":1")
	c.expect("DEL k0 k1 k2", ":3")
	c.expect("SET k0 v", "+OK")
	c.expect("CONFIG SET maxmemory 0", "+OK")
	c.expect("APPEND k0 v", ":2")
}

// There are no replicas, but those who configure servers need not know.
func TestReplicasMayHaveALimit(t *testing.T) {
	c := dial(t, startServer(t))
	name := "*2 $26 client-output-buffer-limit "
	c.expect("CONFIG GET client-output-buffer-limit", name+"$67 normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60")
	for _, class := range []string{"replica", "SLAVE"} {
		c.send(array("CONFIG", "SET", "client-output-buffer-limit", class+" 1mb 2mb 3"))
		c.receive("+OK")
		c.expect("CONFIG GET client-output-buffer-limit", name+"$63 normal 0 0 0 slave 1048576 2097152 3 pubsub 33554432 8388608 60")
	}
	c.send(array("CONFIG", "SET", "client-output-buffer-limit", "master 0 0 0"))
	c.receive("-ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - Invalid client class specified in buffer limit configuration.")
	c.expect("CLIENT LIST TYPE replica", "$0 ")
}

func TestClientListDescribesClients(t *testing.T) {
	s := startServer(t)
	c, sub := dial(t, s), dial(t, s)
	c.expect("CLIENT SETNAME me", "+OK")
	c.expect("CLIENT SETINFO LIB-NAME lib", "+OK")
	c.expect("CLIENT SETINFO lib-ver 1.2", "+OK")
	c.expect("CLIENT SETINFO lib-foo 1.2", "-ERR Unrecognized option 'lib-foo'")
	c.send(array("CLIENT", "SETINFO", "LIB-NAME", "a b"))
	c.receive("-ERR lib-name cannot contain spaces, newlines or special characters.")
	c.expect("SELECT 5", "+OK")
	c.expect("CLIENT ID", ":1")
	sub.expect("SUBSCRIBE a b", "*3 $9 subscribe $1 a :1", "*3 $9 subscribe $1 b :2")
	sub.expect("PSUBSCRIBE p", "*3 $10 psubscribe $1 p :3")

	got := c.cmd("CLIENT INFO")
	for _, want := range []string{"id=1 ", "addr=" + c.LocalAddr().String() + " ", "laddr=" + s.addr + " ", " name=me ", " age=0 ", " flags=N ", " db=5 ",
		" cmd=client|info ", " resp=2 ", " lib-name=lib ", " lib-ver=1.2\n", " events=r "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if got := c.cmd("CLIENT LIST TYPE pubsub"); !strings.Contains(got, "id=2 ") || strings.Contains(got, "id=1 ") || !strings.Contains(got, " flags=P db=0 sub=2 psub=1 ") {
		t.Error(got)
	}
	if got := c.cmd("CLIENT LIST ID 1 7"); !strings.Contains(got, "id=1 ") || strings.Contains(got, "id=2 ") {
		t.Error(got)
	}
	if got := c.cmd("CLIENT LIST"); strings.Count(got, "id=") != 2 {
		t.Error(got)
	}
}

func TestClientKillClosesOthersAtOnceAndItselfBehindTheReply(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	a, b, sub := dial(t, s), dial(t, s), dial(t, s)
	b.expect("PING", "+PONG")
	sub.expect("SUBSCRIBE x", "*3 $9 subscribe $1 x :1")
	c.expect("CLIENT KILL "+a.LocalAddr().String(), "+OK")
	a.expectEnd()
	c.expect("CLIENT KILL TYPE pubsub LADDR "+s.addr, ":1")
	sub.expectEnd()
	c.expect("CLIENT KILL ADDR "+c.LocalAddr().String(), ":0")
	c.expect("CLIENT KILL ID 3 SKIPME yes USER default", ":1")
	b.expectEnd()
	c.expect("CLIENT KILL ADDR "+c.LocalAddr().String()+" SKIPME no", ":1")
	c.expectEnd()
}

func TestNoClientHasAnEmptyAddress(t *testing.T) {
	s := startServer(t)
	c, other := dial(t, s), dial(t, s)
	c.expect(`CLIENT KILL ""`, "-ERR No such client")
	c.expect(`CLIENT KILL ADDR ""`, ":0")
	c.expect(`CLIENT KILL LADDR ""`, ":0")
	c.expect(`CLIENT KILL ID 2 ADDR ""`, ":0")
	other.expect("PING", "+PONG")
}

func TestCommandsOfAContainerAreListedByHelp(t *testing.T) {
	c := dial(t, startServer(t))
	got := c.cmd("SLOWLOG HELP")
	if want := "*4 +SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are: +GET [count] +LEN +RESET"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestSlowCommandsAreLogged(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	c.expect("SLOWLOG RESET", "+OK")
	c.expect("CLIENT SETNAME me", "+OK")
	c.expect("DEBUG SLEEP 0.02", "+OK")
	c.expect("SLOWLOG LEN", ":1")
	got := strings.Fields(c.cmd("SLOWLOG GET"))
	want := strings.Fields("*1 *6 :0 :when :took *3 $5 DEBUG $5 SLEEP $4 0.02 $15 " + c.LocalAddr().String() + " $2 me")
	if len(got) != len(want) {
		t.Fatal(got)
	}
	for i := range want {
		if want[i][0] != ':' && want[i][0] != '$' && got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}

	// With 0 everything is slow, and only so many are kept.
	c.expect("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3", "+OK")
	for range 5 {
		c.expect("PING", "+PONG")
	}
	c.send(array(append([]string{"MGET"}, strings.Fields(strings.Repeat("k ", 40))...)...))
	c.reply()
	c.send(array("ECHO", strings.Repeat("x", 200)))
	c.reply()
	c.expect("SLOWLOG LEN", ":3")
	text := c.cmd("SLOWLOG GET 10")
	for _, want := range []string{"... (10 more arguments)", strings.Repeat("x", 128) + "... (72 more bytes)", "$7 SLOWLOG $3 LEN"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if got := c.cmd("SLOWLOG GET 1"); !strings.HasPrefix(got, "*1 ") {
		t.Error(got)
	}
	c.expect("CONFIG SET slowlog-log-slower-than -1", "+OK")
	c.expect("SLOWLOG RESET", "+OK")
	c.expect("DEBUG SLEEP 0.011", "+OK")
	c.expect("SLOWLOG LEN", ":0")
}

func TestTheSlowLogTellsNoPasswords(t *testing.T) {
	s := startServer(t, withPassword)
	c := dial(t, s)
	c.expect("AUTH secret", "+OK")
	c.expect("CONFIG SET slowlog-log-slower-than 0", "+OK")
	c.expect("SLOWLOG RESET", "+OK")
	lines := []string{"AUTH secret", "auth default secret", "AUTH a secret secret", "HELLO 3 AUTH default secret SETNAME a", "HELLO 2 setname auth auth default secret",
		"HELLO 2 AUTH secret", "CONFIG SET timeout 0 requirepass secret", "config set REQUIREPASS secret maxmemory 0", "CONFIG SET requirepass secret nothing 1"}
	for _, line := range lines {
		c.cmd(line)
	}
	got := c.cmd("SLOWLOG GET 100")
	if strings.Contains(got, "secret") || strings.Count(got, " (redacted) ") < len(lines) {
		t.Error(got)
	}
	for _, want := range []string{"*3 $4 auth $10 (redacted) $10 (redacted) ", "*7 $5 HELLO $1 3 $4 AUTH $10 (redacted) $10 (redacted) $7 SETNAME $1 a ",
		"*6 $6 config $3 set $11 REQUIREPASS $10 (redacted) $9 maxmemory $1 0 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

func TestShutdownEndsTheProgramCleanly(t *testing.T) {
	p := startProcess(t, 0, "127.0.0.1:0")
	c, other := dialTo(t, "tcp", p.addr), dialTo(t, "tcp", p.addr)
	other.expect("PING", "+PONG")
	c.send(array("SHUTDOWN", "NOSAVE"))
	c.expectEnd()
	other.expectEnd()
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &p.stderr)
	}
}

func TestASignalEndsASleep(t *testing.T) {
	t.Parallel()
	p := startProcess(t, 0, "127.0.0.1:0")
	c, other := dialTo(t, "tcp", p.addr), dialTo(t, "tcp", p.addr)
	c.send(array("DEBUG", "SLEEP", "999999") + array("PING"))
	for err := error(nil); err == nil; { // until it sleeps
		other.send("PING\r\n")
		other.SetReadDeadline(time.Now().Add(time.Second))
		_, err = other.r.ReadString('\n')
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.receive("+OK", "+PONG")
	c.expectEnd()
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &p.stderr)
	}
}

// A signal does not cut off replies that a client is still taking.
func TestASignalLetsRepliesFinish(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	p := startProcess(t, 0, "127.0.0.1:0")
	c, idle := dialTo(t, "tcp", p.addr), dialTo(t, "tcp", p.addr)
	c.send(array("SET", "key", strings.Repeat("v", size)))
	c.receive("+OK")
	idle.expect("PING", "+PONG")
	c.send(array("GET", "key"))
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	idle.expectEnd() // so the signal has come
	if got := len(c.reply()); got != size+len("$16777216 ") {
		t.Errorf("a reply of %d bytes", got)
	}
	c.expectEnd()
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &p.stderr)
	}
}

func TestALimitForOtherClientsClosesOneThatDoesNotRead(t *testing.T) {
	s := startServer(t)
	lazy, c := dial(t, s), dial(t, s)
	c.send(array("CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"))
	c.receive("+OK")
	c.send(array("SET", "key", strings.Repeat("v", 16<<20)))
	c.receive("+OK")
	lazy.send(array("GET", "key"))
	for n := -1; n != 1; {
		s.do(t, func() { n = len(s.clients) })
	}
	c.expect("STRLEN key", ":16777216")
}
