package anet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestUnixSocketConnects(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln := must(t)(Listen("unix", path))
	wantFlags(t, "listener", ln)
	wantFamily(t, ln, unix.AF_UNIX)
	client, server := connected(t, ln, "unix", path)
	wantFlags(t, "client", client)
	wantFlags(t, "server", server)

	if s := LocalString(ln); s != path {
		t.Errorf("LocalString of the listener: %q", s)
	}
	if s := PeerString(client); s != path {
		t.Errorf("PeerString of the client: %q", s)
	}
	if s := PeerString(server); s != "unix" {
		t.Errorf("PeerString of the server: %q", s)
	}
	if addr, err := PeerAddr(server); addr.IsValid() || err != nil {
		t.Errorf("PeerAddr: %v, %v", addr, err)
	}
}

func TestAbstractNames(t *testing.T) {
	if runtime.GOOS != "linux" {
		for _, name := range []string{"@x", "\x00x", ""} {
			_, err := Listen("unix", name)
			wantIs(t, name, err, errors.ErrUnsupported)
		}
		return
	}

	unique := filepath.Base(shortDir(t))
	for _, name := range []string{"@" + unique, "\x00" + unique, "@" + unique + strings.Repeat("x", 106-len(unique))} {
		ln := must(t)(ListenConfig{Perm: 0o600, Replace: true}.Listen("unix", name))
		want := "@" + name[1:]
		if s := LocalString(ln); s != want {
			t.Errorf("LocalString: %q, want %q", s, want)
		}
		connected(t, ln, "unix", want)
		if _, err := (ListenConfig{Replace: true}).Listen("unix", name); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a second listener: %v", err)
		}
		closeNow(t, ln)
	}

	ln := must(t)(Listen("unix", ""))
	name := LocalString(ln)
	if len(name) != 6 || name[0] != '@' {
		t.Errorf("the system's own name is %q", name)
	}
	connected(t, ln, "unix", name)

	_, err := Connect("unix", "")
	wantIs(t, "connect to no name", err, unix.EINVAL)
	_, err = Connect("unix", "@"+unique)
	wantIs(t, "connect to a name that is gone", err, unix.ECONNREFUSED)
}

// Whoever takes the text of an address for a name must get that name: a socket
// called "@" was once printed as "unix", and a file of that name removed.
func TestNamesAreToldApart(t *testing.T) {
	dir := shortDir(t)
	t.Chdir(dir)
	id := filepath.Base(dir)
	seen := map[string]string{"unix": "no name", "?": "no address"}

	names := []string{"unix", "?", "127.0.0.1:80", "[", `"quoted"`, "a b", "é", "line\nbreak", "\xff", ".hidden",
		"./dotted", "../" + id + "/up", dir + "/absolute"}
	if onLinux {
		names = append(names, "@", "@"+id, "@"+id+"\x00", "@"+id+"\x00b", "@"+id+"\n", "@unix"+id)
	}
	for _, name := range names {
		ln := must(t)(Listen("unix", name))
		text := LocalString(ln)
		if other, ok := seen[text]; ok {
			t.Errorf("%q and %q are both %s", name, other, text)
		}
		seen[text] = name

		again := text
		if text[0] == '"' {
			var err error
			again, err = strconv.Unquote(text)
			noError(t, err)
		}
		client, _ := connected(t, ln, "unix", again)
		if s := PeerString(client); s != text {
			t.Errorf("%q: LocalString %s, the client's PeerString %s", name, text, s)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(text) {
			t.Errorf("%q: %q is not for a log", name, text)
		}
	}

	ln := must(t)(Listen("unix", "dot"))
	if s := LocalString(ln); s != "./dot" {
		t.Errorf("a relative path: %q", s)
	}
	a, _ := socketPairT(t)
	if s := LocalString(a) + PeerString(a); s != "unixunix" {
		t.Errorf("no name: %q", s)
	}
	if r, _ := pipeT(t, 0, 0); LocalString(r) != "?" {
		t.Errorf("no socket: %q", LocalString(r))
	}
}

func TestUnixPathLengths(t *testing.T) {
	most := len(unix.RawSockaddrUnix{}.Path) - 1 // 107 on Linux
	dir := shortDir(t) + "/"

	path := dir + strings.Repeat("x", most-len(dir))
	ln := must(t)(Listen("unix", path))
	if s := LocalString(ln); s != path {
		t.Errorf("LocalString: %q", s)
	}
	connected(t, ln, "unix", path)

	check := noLeak(t)
	_, err := Listen("unix", path+"x")
	wantIs(t, "listen", err, unix.ENAMETOOLONG)
	_, err = Connect("unix", path+"x")
	wantIs(t, "connect", err, unix.ENAMETOOLONG)
	if runtime.GOOS == "linux" {
		_, err = Listen("unix", "@"+strings.Repeat("x", 108))
		wantIs(t, "listen on an abstract name", err, unix.ENAMETOOLONG)
	}
	check()
}

func TestUnixPermissions(t *testing.T) {
	for _, perm := range []os.FileMode{0o600, 0o660, 0o777} {
		path := filepath.Join(shortDir(t), "s")
		must(t)(ListenConfig{Perm: perm}.Listen("unix", path))
		info, err := os.Stat(path)
		noError(t, err)
		if info.Mode().Perm() != perm {
			t.Errorf("mode %v, want %v", info.Mode().Perm(), perm)
		}
	}
}

func TestUnixPermissionsAreSetBeforeAClientCanConnect(t *testing.T) {
	noError(t, connectWhileListening(filepath.Join(shortDir(t), "s"), 200))
}

// connectWhileListening listens on path with permissions again and again, while
// a client tries to connect, and looks at the mode as soon as it is in.
func connectWhileListening(path string, times int) error {
	const perm = 0o600

	for range times {
		seen := make(chan error)
		go func() {
			fd, err := connectUnix(path)
			for err != nil {
				fd, err = connectUnix(path)
			}
			info, err := os.Stat(path)
			if err == nil && info.Mode().Perm() != perm {
				err = fmt.Errorf("connected while the mode was %v", info.Mode().Perm())
			}
			Close(fd)
			seen <- err
		}()

		fd, err := ListenConfig{Perm: perm}.Listen("unix", path)
		if err != nil {
			return err
		}
		if err := errors.Join(<-seen, os.Remove(path), Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// deadSocket leaves the file of a socket that nobody listens on.
func deadSocket(t testing.TB, path string) {
	t.Helper()
	fd, err := Listen("unix", path)
	noError(t, err)
	noError(t, Close(fd))
}

func TestADeadSocketIsReplacedOnlyWhenAsked(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	deadSocket(t, path)

	_, err := Listen("unix", path)
	wantIs(t, "without Replace", err, unix.EADDRINUSE)

	ln := must(t)(ListenConfig{Replace: true, Perm: 0o600}.Listen("unix", path))
	connected(t, ln, "unix", path)
}

func TestWhatIsNoDeadSocketIsNeverReplaced(t *testing.T) {
	dir := shortDir(t)
	replace := ListenConfig{Replace: true}

	living := filepath.Join(dir, "living")
	ln := must(t)(Listen("unix", living))

	full := filepath.Join(dir, "full")
	must(t)(ListenConfig{Backlog: 1}.Listen("unix", full))
	for {
		fd, err := Connect("unix", full)
		if err != nil {
			break
		}
		closeAtEnd(t, fd)
	}

	datagram := filepath.Join(dir, "datagram")
	conn, err := net.ListenPacket("unixgram", datagram)
	noError(t, err)
	defer conn.Close()

	file := filepath.Join(dir, "file")
	noError(t, os.WriteFile(file, []byte("keep"), 0o600))

	dead := filepath.Join(dir, "dead")
	deadSocket(t, dead)
	link := filepath.Join(dir, "link")
	noError(t, os.Symlink(dead, link))

	// Between bind and listen, with the address of a server that will be.
	bound := filepath.Join(dir, "bound")
	fd := must(t)(socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	noError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: bound}))

	for _, path := range []string{living, full, bound, datagram, file, link, dir} {
		before, err := os.Lstat(path)
		noError(t, err)

		check := noLeak(t)
		_, err = replace.Listen("unix", path)
		wantIs(t, path, err, unix.EADDRINUSE)
		check()

		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%s is not what it was: %v", path, err)
		}
	}

	if _, _, err := Accept(ln); err != ErrWouldBlock {
		t.Errorf("the probe came to the living server: %v", err)
	}
	connected(t, ln, "unix", living)
}

func TestOfServersThatReplaceAtOnceOneListens(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")

	for range 20 {
		deadSocket(t, path)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				fd, err := ListenConfig{Replace: true}.Listen("unix", path)
				if err == nil {
					won.Add(1)
					closeAtEnd(t, fd)
				} else if !errors.Is(err, unix.EADDRINUSE) {
					t.Error(err)
				}
			})
		}
		wg.Wait()

		if n := won.Load(); n != 1 {
			t.Errorf("%d servers listen on one path", n)
		}
		noError(t, os.Remove(path))
	}
}

func TestReplaceWaitsNotForEverForTheLock(t *testing.T) {
	dir := shortDir(t)
	unlock, err := lockDir(dir)
	noError(t, err)
	defer unlock()

	if runtime.GOOS == "solaris" || runtime.GOOS == "illumos" || runtime.GOOS == "aix" {
		return // no lock there
	}
	within(t, "Listen in a locked directory", func() {
		_, err := ListenConfig{Replace: true}.Listen("unix", filepath.Join(dir, "s"))
		wantIs(t, "Listen in a locked directory", err, unix.EWOULDBLOCK)
	})
}

func TestConnectToAFullUnixBacklogWouldBlock(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln := must(t)(ListenConfig{Backlog: 1}.Listen("unix", path))

	var err error
	for range 1000 { // OpenBSD's backlog of 1 is 80
		var fd int
		check := noLeak(t)
		if fd, err = Connect("unix", path); err != nil {
			check()
			break
		}
		closeAtEnd(t, fd)
	}
	if runtime.GOOS == "linux" {
		wantIs(t, "a full backlog", err, ErrWouldBlock)
	} else if err == nil {
		t.Error("a backlog of 1 took 1000 connections")
	}

	accepted(t, ln)
	must(t)(Connect("unix", path))
}

func TestPeerCredentials(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln := must(t)(Listen("unix", path))
	client, server := connected(t, ln, "unix", path)

	for _, fd := range []int{client, server} {
		c, err := PeerCredentials(fd)
		switch runtime.GOOS {
		case "linux", "darwin", "freebsd":
			noError(t, err)
			if c.UID != os.Geteuid() || c.GID != os.Getegid() || c.PID != os.Getpid() && runtime.GOOS != "freebsd" {
				t.Errorf("%+v", c)
			}
		default:
			wantIs(t, "PeerCredentials", err, errors.ErrUnsupported)
		}
	}

	tcp, _ := tcpPair(t)
	if c, err := PeerCredentials(tcp); err == nil {
		t.Errorf("of a TCP socket: %+v", c)
	}
}
