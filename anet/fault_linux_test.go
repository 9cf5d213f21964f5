package anet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

const (
	opVar  = "ANET_TEST_OP"
	dirVar = "ANET_TEST_DIR"
)

// An op is a call to fail. prepare, if any, runs before the descriptors are
// counted.
type op struct {
	prepare func() error
	call    func() error
}

func childPath(name string) string { return filepath.Join(os.Getenv(dirVar), name) }

// keep makes a call of one that returns a descriptor. A child needs not close
// it.
func keep(_ int, err error) error { return err }

var (
	childListener, childClient int
	childAddress               string // of the listener
	childReads, childWrites    int
)

var ops = map[string]op{
	"listen tcp4": {call: func() error { return keep(Listen("tcp", "127.0.0.1:0")) }},
	"listen tcp6": {call: func() error { return keep(Listen("tcp", "[::1]:0")) }},
	"listen udp":  {call: func() error { return keep(ListenConfig{ReusePort: true}.Listen("udp", "127.0.0.1:0")) }},
	"listen any": {call: func() error {
		fd, err := Listen("tcp", ":0")
		if err == nil && strings.HasPrefix(LocalString(fd), "0.0.0.0:") {
			fmt.Println("on IPv4 alone")
		}
		return err
	}},
	"listen unix": {call: func() error {
		err := keep(ListenConfig{Perm: 0o600}.Listen("unix", childPath("s")))
		if _, statErr := os.Lstat(childPath("s")); err != nil && statErr == nil {
			return fmt.Errorf("the socket's file is left behind: %v", err)
		}
		return err
	}},
	"replace unix": {
		prepare: deadSocketInChild,
		call:    func() error { return keep(ListenConfig{Replace: true}.Listen("unix", childPath("s"))) },
	},
	"connect": {
		prepare: listenInChild,
		call:    func() error { return keep(Connect("tcp", childAddress)) },
	},
	"connect from": {
		prepare: listenInChild,
		call: func() error {
			return keep(ConnectConfig{Source: netip.MustParseAddrPort("127.0.0.1:0")}.Connect("tcp", childAddress))
		},
	},
	"accept": {
		prepare: connectInChild,
		call: func() error {
			fd, _, err := Accept(childListener)
			for _, kind := range []error{ErrAborted, ErrExhausted, ErrWouldBlock} {
				if errors.Is(err, kind) {
					fmt.Println("kind:", kind)
				}
			}
			if err != nil { // the listener is none the worse
				fd, _, again := Accept(childListener)
				return errors.Join(err, again, Close(fd))
			}
			return keep(fd, err)
		},
	},
	"pipe":           {call: func() error { _, _, err := Pipe(); return err }},
	"socketpair":     {call: func() error { _, _, err := SocketPair(); return err }},
	"echo":           {prepare: connectInChild, call: echoInChild},
	"read a socket":  {prepare: pairInChild(SocketPair), call: func() error { return readInChild(childReads, "x") }},
	"read a pipe":    {prepare: pairInChild(Pipe), call: func() error { return readInChild(childReads, "x") }},
	"write a socket": {prepare: pairInChild(SocketPair), call: func() error { return keep(Write(childWrites, []byte("x"))) }},
	"write a pipe":   {prepare: pairInChild(Pipe), call: func() error { return keep(Write(childWrites, []byte("x"))) }},
	"close": {call: func() error {
		fd, err := unix.Open(childPath("f"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return Close(fd)
	}},
	"replace at once": {prepare: deadSocketInChild, call: replaceAtOnce},
	"short writev": {prepare: pairInChild(SocketPair), call: func() error {
		n, err := Writev(childWrites, slices.Repeat([][]byte{[]byte("x")}, 100)) // two calls' worth
		fmt.Println("wrote", n)
		return err
	}},
	"permissions": {call: func() error { return connectWhileListening(childPath("s"), 10) }},
}

func deadSocketInChild() error {
	fd, err := Listen("unix", childPath("s"))
	return errors.Join(err, Close(fd))
}

// replaceAtOnce has two servers find the same dead socket, of which one may
// replace it.
func replaceAtOnce() error {
	results := make(chan error)
	for range 2 {
		go func() { results <- keep(ListenConfig{Replace: true}.Listen("unix", childPath("s"))) }()
	}
	first, second := <-results, <-results
	if first != nil {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, unix.EADDRINUSE) {
		return fmt.Errorf("two servers: %v; %v", first, second)
	}
	return nil
}

func listenInChild() (err error) {
	childListener, err = Listen("tcp", "127.0.0.1:0")
	childAddress = LocalString(childListener)
	return err
}

func connectInChild() error {
	if err := listenInChild(); err != nil {
		return err
	}

	var err error
	if childClient, err = Connect("tcp", LocalString(childListener)); err != nil {
		return err
	}
	return untilReadable(childListener)
}

// untilReadable keeps a descriptor from being read in vain, a number of times
// that is not the same in each run.
func untilReadable(fd int) error {
	for {
		if ok, err := isReadable(fd); ok || err != nil {
			return err
		}
	}
}

// pairInChild opens what a byte waits in.
func pairInChild(open func() (int, int, error)) func() error {
	return func() (err error) {
		if childReads, childWrites, err = open(); err != nil {
			return err
		}
		return keep(Write(childWrites, []byte("x")))
	}
}

// echoInChild moves bytes by each of the calls of the data path.
func echoInChild() (err error) {
	var open []int
	defer func() {
		for _, fd := range open {
			err = errors.Join(err, Close(fd))
		}
	}()
	server, _, err := Accept(childListener)
	if err != nil {
		return err
	}
	open = append(open, server)
	r, w, err := Pipe()
	if err != nil {
		return err
	}
	open = append(open, r, w)
	udp, err := Listen("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	open = append(open, udp)

	_, err1 := Write(childClient, []byte("ab"))
	_, err2 := Writev(childClient, [][]byte{[]byte("cd"), []byte("ef")})
	_, err3 := Write(w, []byte("ab"))
	_, err4 := Writev(w, [][]byte{[]byte("cd"), []byte("ef")})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	for _, fd := range []int{server, r} {
		if err := readInChild(fd, "abcdef"); err != nil {
			return err
		}
	}
	return datagramInChild(udp)
}

func readInChild(fd int, want string) error {
	got := []byte{}
	for len(got) < len(want) {
		if err := untilReadable(fd); err != nil {
			return err
		}
		buf := make([]byte, len(want))
		n, err := Read(fd, buf)
		if err != nil && err != ErrWouldBlock {
			return err
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != want {
		return fmt.Errorf("read %q", got)
	}
	return nil
}

// datagramInChild sends a datagram to where it comes from.
func datagramInChild(fd int) error {
	to, err := LocalAddr(fd)
	if err != nil {
		return err
	}
	if err := SendTo(fd, []byte("x"), to); err != nil {
		return err
	}
	if err := untilReadable(fd); err != nil {
		return err
	}
	n, from, err := RecvFrom(fd, make([]byte, 4))
	if err == nil && (n != 1 || from != to) {
		return fmt.Errorf("received %d from %v", n, from)
	}
	return err
}

func init() {
	if os.Getenv(childVar) == "op" {
		// strace counts the calls of each thread apart: all are to be the main
		// thread's, which a main goroutine that is locked here keeps.
		runtime.LockOSThread()
	}
	children["op"] = func() error {
		o := ops[os.Getenv(opVar)]
		if o.prepare != nil {
			if err := o.prepare(); err != nil {
				return fmt.Errorf("prepare: %w", err)
			}
		}

		before, err := openDescriptors()
		if err != nil {
			return err
		}
		unix.Write(-1, []byte("begin")) // marks for who reads the trace
		callErr := o.call()
		unix.Write(-1, []byte("end"))
		after, err := openDescriptors()
		if err != nil {
			return err
		}

		if callErr == nil {
			fmt.Println("no error")
			return nil
		}
		var errno unix.Errno
		errors.As(callErr, &errno)
		fmt.Printf("errno %s: %v\n", unix.ErrnoName(errno), callErr)
		if !slices.Equal(before, after) && os.Getenv(opVar) != "close" { // the fault keeps the descriptor open
			return fmt.Errorf("descriptors before %q, after %q", before, after)
		}
		return nil
	}
}

// runOp plays op in a child with a fault, and wants want in what it prints.
func runOp(t *testing.T, op, inject string, want ...string) {
	t.Run(op+" "+inject, func(t *testing.T) {
		t.Setenv(opVar, op)
		t.Setenv(dirVar, shortDir(t))
		call, _, _ := strings.Cut(inject, ":")
		out := runChild(t, "op", testutil.Strace(t, os.DevNull, "trace="+call, "inject="+inject)...)
		for _, s := range want {
			if !strings.Contains(out, s) {
				t.Errorf("no %q in: %s", s, out)
			}
		}
	})
}

func TestFailedCallsLeakNoDescriptor(t *testing.T) {
	for _, tt := range []struct{ op, inject, errno string }{
		{"listen tcp4", "socket:error=EMFILE:when=1", "EMFILE"},
		{"listen tcp4", "setsockopt:error=ENOMEM:when=1", "ENOMEM"},
		{"listen tcp4", "bind:error=EACCES:when=1", "EACCES"},
		{"listen tcp4", "listen:error=EADDRINUSE:when=1", "EADDRINUSE"},
		{"listen tcp6", "setsockopt:error=EINVAL:when=1", "EINVAL"},
		{"listen tcp6", "setsockopt:error=ENOMEM:when=2", "ENOMEM"},
		{"listen any", "socket:error=EMFILE:when=1", "EMFILE"},
		{"listen any", "socket:error=EAFNOSUPPORT:when=1+", "EAFNOSUPPORT"},
		{"listen any", "bind:error=EADDRINUSE:when=1", "EADDRINUSE"},
		{"listen udp", "setsockopt:error=ENOPROTOOPT:when=1", "ENOPROTOOPT"},
		{"listen udp", "bind:error=EACCES:when=1", "EACCES"},
		{"listen unix", "socket:error=ENFILE:when=1", "ENFILE"},
		{"listen unix", "bind:error=EADDRINUSE:when=1", "EADDRINUSE"},
		{"listen unix", "fchmodat:error=EPERM:when=1", "EPERM"},
		{"listen unix", "listen:error=ENOBUFS:when=1", "ENOBUFS"},
		{"replace unix", "socket:error=EMFILE:when=3", "EMFILE"}, // the probe
		{"replace unix", "connect:error=EACCES:when=1", "EADDRINUSE"},
		{"replace unix", "connect:error=EAGAIN:when=1", "EADDRINUSE"},
		{"replace unix", "unlinkat:error=EACCES:when=1", "EACCES"},
		{"replace unix", "bind:error=ENOSPC:when=2", "ENOSPC"},
		{"connect", "socket:error=EMFILE:when=2", "EMFILE"},
		{"connect", "connect:error=ENETUNREACH:when=1", "ENETUNREACH"},
		{"connect", "connect:error=EAGAIN:when=1", "EAGAIN"},
		{"connect from", "setsockopt:error=ENOMEM:when=2", "ENOMEM"},
		{"connect from", "bind:error=EADDRNOTAVAIL:when=2", "EADDRNOTAVAIL"},
		{"connect from", "connect:error=EADDRNOTAVAIL:when=1", "EADDRNOTAVAIL"},
		{"pipe", "pipe2:error=EMFILE:when=1", "EMFILE"},
		{"socketpair", "socketpair:error=ENFILE:when=1", "ENFILE"},
	} {
		runOp(t, tt.op, tt.inject, "errno "+tt.errno+":")
	}
}

func TestListenOnAnyAddressDoesWithoutIPv6(t *testing.T) {
	runOp(t, "listen any", "socket:error=EAFNOSUPPORT:when=1", "on IPv4 alone", "no error")
	runOp(t, "listen any", "bind:error=EADDRNOTAVAIL:when=1", "on IPv4 alone", "no error")
}

func TestAcceptTellsItsErrorsApart(t *testing.T) {
	for _, name := range []string{"ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH"} {
		runOp(t, "accept", "accept4:error="+name+":when=1", "kind: "+ErrAborted.Error(), "errno "+name+":")
	}
	for _, name := range []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EACCES"} {
		runOp(t, "accept", "accept4:error="+name+":when=1", "kind: "+ErrExhausted.Error(), "errno "+name+":")
	}
	runOp(t, "accept", "accept4:error=EOPNOTSUPP:when=1", "kind: "+ErrAborted.Error(), "errno ENOTSUP:") // its other name
	runOp(t, "accept", "accept4:error=EAGAIN:when=1", "kind: "+ErrWouldBlock.Error(), "errno EAGAIN:")
}

func TestEINTRIsRetried(t *testing.T) {
	runOp(t, "accept", "accept4:error=EINTR:when=1..3", "no error")
	runOp(t, "connect", "connect:error=EINTR:when=1", "no error")
	runOp(t, "echo", "recvfrom,sendto,sendmsg,recvmsg,writev:error=EINTR:when=1", "no error")
	for _, op := range []string{"read a pipe", "write a pipe"} { // a dynamic linker reads too: when differs
		for _, c := range callsOf(t, op) {
			runOp(t, op, fmt.Sprintf("%s:error=EINTR:when=%d", c.Name, c.N), "no error")
		}
	}
}

func TestCloseIsNotRetried(t *testing.T) {
	dir := shortDir(t)
	t.Setenv(opVar, "close")
	t.Setenv(dirVar, dir)
	output := filepath.Join(dir, "trace")
	command := append(testutil.Strace(t, output, "trace=close", "inject=close:error=EINTR"), "-P", filepath.Join(dir, "f"))
	out := runChild(t, "op", command...)
	if !strings.Contains(out, "errno EINTR:") {
		t.Errorf("no EINTR in: %s", out)
	}

	trace, err := os.ReadFile(output)
	noError(t, err)
	if n := strings.Count(string(trace), "close("); n != 1 {
		t.Errorf("close was called %d times", n)
	}
}

// With the chmod made slow, a client that could connect before it would.
func TestUnixPermissionsAreSetBeforeAClientCanConnectHoweverLongThatTakes(t *testing.T) {
	runOp(t, "permissions", "fchmodat:delay_enter=20000", "no error")
}

// With the removal made slow, a second server would find the dead socket before
// the first has removed it.
func TestOfServersThatReplaceAtOnceOneListensHoweverLongThatTakes(t *testing.T) {
	runOp(t, "replace at once", "unlinkat:delay_enter=100000", "no error")
}

// What comes after a short write would leave a gap, if there was room for it.
func TestWritevEndsWithAShortWrite(t *testing.T) {
	runOp(t, "short writev", "sendmsg:retval=10:when=1", "wrote 10\n", "no error")
}

func init() {
	children["exhausted"] = func() error {
		if err := connectInChild(); err != nil {
			return err
		}
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		limit.Cur = 64
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}

		var taken []int
		for {
			fd, err := unix.Dup(0)
			if err == unix.EMFILE {
				break
			}
			if err != nil {
				return err
			}
			taken = append(taken, fd)
		}

		if err := exhaustedCalls(); err != nil {
			return err
		}

		// One descriptor is enough to go on.
		Close(taken[len(taken)-1])
		fd, _, err := Accept(childListener)
		return errors.Join(err, Close(fd))
	}
}

// exhaustedCalls makes the calls that need descriptors when there is none.
func exhaustedCalls() error {
	if _, _, err := Accept(childListener); !errors.Is(err, ErrExhausted) || !errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("accept: %v", err)
	}

	_, _, pipeErr := Pipe()
	_, _, pairErr := SocketPair()
	_, lockErr := lockDir(".")
	for name, err := range map[string]error{
		"listen":     keep(Listen("tcp", "127.0.0.1:0")),
		"connect":    keep(Connect("tcp", "127.0.0.1:1")),
		"descriptor": keep(Descriptor(os.Stdin)),
		"pipe":       pipeErr,
		"socketpair": pairErr,
		"lock":       lockErr,
	} {
		if !errors.Is(err, unix.EMFILE) {
			return fmt.Errorf("%s: %v", name, err)
		}
	}

	if _, err := NetConn(childClient); !errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("NetConn: %v", err)
	}
	if _, err := PeerAddr(childClient); err != nil {
		return fmt.Errorf("NetConn failed and closed the descriptor: %v", err)
	}
	return nil
}

func TestOutOfDescriptorsIsAnErrorAndPasses(t *testing.T) {
	runChild(t, "exhausted")
}
