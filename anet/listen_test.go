package anet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listenTable is what Listen makes of each form of address. reach says which
// loopback addresses lead to the socket.
var listenTable = []struct {
	network, address string
	family           int
	v6only           int // of an IPv6 socket
	v4, v6           bool
}{
	{"tcp", ":0", unix.AF_INET6, 0, true, true},
	{"tcp", "*:0", unix.AF_INET6, 0, true, true},
	{"tcp", ":", unix.AF_INET6, 0, true, true},
	{"tcp", "0.0.0.0:0", unix.AF_INET, 0, true, false},
	{"tcp", "[::]:0", unix.AF_INET6, 1, false, true},
	{"tcp", "127.0.0.1:0", unix.AF_INET, 0, true, false},
	{"tcp", "[::1]:0", unix.AF_INET6, 1, false, true},
	{"tcp", "[::ffff:127.0.0.1]:0", unix.AF_INET, 0, true, false},
	{"tcp", "localhost:0", unix.AF_INET, 0, true, false},
	{"tcp4", ":0", unix.AF_INET, 0, true, false},
	{"tcp4", "*:0", unix.AF_INET, 0, true, false},
	{"tcp4", "localhost:0", unix.AF_INET, 0, true, false},
	{"tcp6", ":0", unix.AF_INET6, 1, false, true},
	{"tcp6", "*:0", unix.AF_INET6, 1, false, true},
	{"tcp6", "[::1]:0", unix.AF_INET6, 1, false, true},
	{"udp", ":0", unix.AF_INET6, 0, true, true},
	{"udp", "127.0.0.1:0", unix.AF_INET, 0, true, false},
	{"udp", "[::]:0", unix.AF_INET6, 1, false, true},
	{"udp4", ":0", unix.AF_INET, 0, true, false},
	{"udp6", ":0", unix.AF_INET6, 1, false, true},
}

func TestListenTakesEveryFormOfAddress(t *testing.T) {
	for _, tt := range listenTable {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) {
			fd := must(t)(Listen(tt.network, tt.address))
			wantFlags(t, "listener", fd)

			local, err := LocalAddr(fd)
			noError(t, err)
			if local.Port() == 0 {
				t.Error("the port is 0")
			}

			stream := strings.HasPrefix(tt.network, "tcp")
			wantOption(t, fd, optReuseAddr, boolInt(stream))
			if tt.family == unix.AF_INET6 && dualStack {
				wantOption(t, fd, optV6Only, tt.v6only)
			}
			wantFamily(t, fd, tt.family)

			for _, to := range []struct {
				host string
				want bool
			}{{"127.0.0.1", tt.v4}, {"::1", tt.v6}} {
				address := net.JoinHostPort(to.host, fmt.Sprint(local.Port()))
				if stream && dualStack {
					wantReach(t, fd, address, to.want)
				}
			}
		})
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wantOption checks an option of SOL_SOCKET and the like with getsockopt
// itself.
func wantOption(t testing.TB, fd int, o sockopt, want int) {
	t.Helper()
	got, err := unix.GetsockoptInt(fd, o.level, o.name)
	if err != nil || got != want && !(want == 1 && got != 0) {
		t.Errorf("%s is %d, %v; want %d", o.text, got, err, want)
	}
}

func wantFamily(t testing.TB, fd, want int) {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	noError(t, err)

	got := 0
	switch sa.(type) {
	case *unix.SockaddrInet4:
		got = unix.AF_INET
	case *unix.SockaddrInet6:
		got = unix.AF_INET6
	case *unix.SockaddrUnix:
		got = unix.AF_UNIX
	}
	if got != want && (dualStack || want == unix.AF_UNIX) {
		t.Errorf("address family %d, want %d", got, want)
	}
}

// wantReach checks whether a connection to address comes out at ln.
func wantReach(t testing.TB, ln int, address string, want bool) {
	t.Helper()
	if !want {
		wantIs(t, "connect to "+address, connectResult(t, address), unix.ECONNREFUSED)
		return
	}
	fd := must(t)(Connect("tcp", address))
	await(t, fd, unix.POLLOUT)
	noError(t, SocketError(fd))
	server, peer := accepted(t, ln)
	wantFlags(t, "accepted", server)

	local, err := LocalAddr(fd)
	noError(t, err)
	if peer != local || !peer.Addr().IsLoopback() || peer.Addr().Is4In6() {
		t.Errorf("accepted from %v, want %v", peer, local)
	}
	if again, err := PeerAddr(server); again != peer || err != nil {
		t.Errorf("PeerAddr %v, %v; want %v", again, err, peer)
	}
	if s := PeerString(server); s != peer.String() {
		t.Errorf("PeerString %q", s)
	}
}

func TestListenReportsBadAddresses(t *testing.T) {
	isAddrError := func(err error) bool { var e *net.AddrError; return errors.As(err, &e) }
	isDNSError := func(err error) bool { var e *net.DNSError; return errors.As(err, &e) }
	isUnknown := func(err error) bool { var e net.UnknownNetworkError; return errors.As(err, &e) }
	is := func(errno error) func(error) bool { return func(err error) bool { return errors.Is(err, errno) } }

	for _, tt := range []struct {
		lc               ListenConfig
		network, address string
		ok               func(error) bool
	}{
		{ListenConfig{}, "", "127.0.0.1:0", isUnknown},
		{ListenConfig{}, "tcp5", "127.0.0.1:0", isUnknown},
		{ListenConfig{}, "unixgram", "/tmp/x", isUnknown},
		{ListenConfig{}, "tcp", "127.0.0.1", isAddrError},
		{ListenConfig{}, "tcp", "", isAddrError},
		{ListenConfig{}, "tcp", "::1:0:", isAddrError},
		{ListenConfig{}, "tcp", "127.0.0.1:65536", isAddrError},
		{ListenConfig{}, "tcp", "127.0.0.1:-1", isAddrError},
		{ListenConfig{}, "tcp", "127.0.0.1:no-such-service", isDNSError},
		{ListenConfig{}, "tcp4", "[::1]:0", isAddrError},
		{ListenConfig{}, "tcp6", "127.0.0.1:0", isAddrError},
		{ListenConfig{}, "tcp", "192.0.2.1:0", is(unix.EADDRNOTAVAIL)},
		{ListenConfig{}, "udp", "192.0.2.1:0", is(unix.EADDRNOTAVAIL)},
		{ListenConfig{}, "tcp6", "[fe80::1%no-such-interface]:0", func(err error) bool { return err != nil }},
		{ListenConfig{Backlog: -1}, "tcp", "127.0.0.1:0", is(unix.EINVAL)},
		{ListenConfig{}, "unix", "/no/such/directory/sock", is(unix.ENOENT)},
		{ListenConfig{}, "unix", "a\x00b", is(unix.EINVAL)},
		{ListenConfig{Perm: os.ModeDir | 0o700}, "unix", "/tmp/x", is(unix.EINVAL)},
	} {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) {
			_, _ = tt.lc.Listen(tt.network, tt.address) // whatever the resolver opens once
			check := noLeak(t)
			fd, err := tt.lc.Listen(tt.network, tt.address)
			if fd != -1 || !tt.ok(err) {
				t.Errorf("%d, %v", fd, err)
			}
			check()
		})
	}
}

func TestListenOnATakenAddressIsEADDRINUSE(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		fd := must(t)(Listen(network, "127.0.0.1:0"))
		check := noLeak(t)
		_, err := Listen(network, LocalString(fd))
		wantIs(t, network, err, unix.EADDRINUSE)
		check()
	}
}

func TestReusePortSpreadsConnections(t *testing.T) {
	lc := ListenConfig{ReusePort: true}
	if optReusePort.lacking() {
		_, err := lc.Listen("tcp", "127.0.0.1:0")
		wantIs(t, "ReusePort", err, errors.ErrUnsupported)
		return
	}

	a := must(t)(lc.Listen("tcp", "127.0.0.1:0"))
	b := must(t)(lc.Listen("tcp", LocalString(a)))
	wantOption(t, a, optReusePort, 1)

	for range 64 {
		fd := must(t)(Connect("tcp", LocalString(a)))
		await(t, fd, unix.POLLOUT)
	}
	for _, ln := range []int{a, b} {
		if _, _, err := Accept(ln); err != nil {
			t.Errorf("one of two listeners got none of 64 connections: %v", err)
		}
	}
}

func TestResolve(t *testing.T) {
	addrs := func(list ...string) (out []netip.AddrPort) {
		for _, s := range list {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}

	for _, tt := range []struct {
		network, address string
		flags            ResolveFlags
		want             []netip.AddrPort // nil: an error
	}{
		{"tcp", "192.0.2.1:80", 0, addrs("192.0.2.1:80")},
		{"tcp", "[2001:db8::1]:80", NumericOnly, addrs("[2001:db8::1]:80")},
		{"tcp", "[::ffff:192.0.2.1]:80", NumericOnly, addrs("192.0.2.1:80")},
		{"tcp", "[fe80::1%2]:80", NumericOnly, addrs("[fe80::1%2]:80")},
		{"tcp", ":http", 0, addrs("[::]:80")},
		{"tcp4", "*:80", 0, addrs("0.0.0.0:80")},
		{"udp", ":domain", 0, addrs("[::]:53")},
		{"tcp", ":http", NumericOnly, nil},
		{"tcp", "localhost:80", NumericOnly, nil},
		{"tcp4", "localhost:80", 0, addrs("127.0.0.1:80")},
		{"tcp6", "192.0.2.1:80", 0, nil},
		{"ip", "192.0.2.1:80", 0, nil},
		{"unix", "/x", 0, nil},
		{"tcp", "192.0.2.1", 0, nil},
	} {
		got, err := Resolve(context.Background(), tt.network, tt.address, tt.flags)
		if (err != nil) != (tt.want == nil) || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s %s: %v, %v; want %v", tt.network, tt.address, got, err, tt.want)
		}
	}
}

func TestAddressesKeepTheirZone(t *testing.T) {
	for _, s := range []string{"fe80::1%2", "fe80::1", "2001:db8::1"} {
		addr := netip.MustParseAddr(s)
		sa, _, err := sockaddr(netip.AddrPortFrom(addr, 80))
		noError(t, err)
		in := sa.(*unix.SockaddrInet6)
		if got := from16(in.Addr, in.ZoneId); got != addr {
			t.Errorf("%v became %v", addr, got)
		}
	}
}

func TestPreferenceOrdersAndKeeps(t *testing.T) {
	a4, b4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a6, b6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")

	for flags, want := range map[ResolveFlags][]netip.Addr{
		0:          {a6, a4, b6, b4},
		PreferIPv4: {a4, b4, a6, b6},
		PreferIPv6: {a6, b6, a4, b4},
	} {
		got := []netip.Addr{a6, a4, b6, b4}
		prefer(got, flags)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("flags %d: %v, want %v", flags, got, want)
		}
	}
}

func TestResolveEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	if _, err := Resolve(ctx, "tcp", "name.invalid:80", 0); err == nil {
		t.Error("a name was resolved by a context that had ended")
	}
}

// FuzzResolve compares with net.ResolveTCPAddr, on addresses without names:
// those that need no resolver.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"1.2.3.4:5", "[::1]:0", ":80", "*:80", "[::ffff:1.2.3.4]:80", "[fe80::1%lo]:1", "1.2.3.4:",
		"1.2.3.4:65536", "1.2.3.4:+80", "[::1]", "::1:80", "[::1]:-0", "01.2.3.4:80", "[]:80", "[1.2.3.4]:80", "[::1%]:80",
		"1.2.3:80", ":", "", "[::1]:080", "0x7f.1:80", "[::ffff:1.2.3.4%2]:80", "1.2.3.4: 80", "[:]:1"} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, address string) {
		host, port, err := net.SplitHostPort(address)
		_, hostErr := netip.ParseAddr(host)
		numeric := err == nil && (host == "" || hostErr == nil) && strings.Trim(port, "0123456789") == ""
		if err == nil && !numeric {
			// A name: NumericOnly refuses it, without looking anything up. ("*"
			// is a name to net alone.)
			if got, err := Resolve(context.Background(), "tcp", address, NumericOnly); err == nil && host != "*" {
				t.Fatalf("%q became %v", address, got)
			}
			return
		}

		for _, network := range []string{"tcp", "tcp4", "tcp6"} {
			if ip, err := netip.ParseAddr(host); network == "tcp4" && err == nil && ip.WithZone("") == netip.IPv6Unspecified() {
				continue // net takes :: for 0.0.0.0 here; in this package an address means itself
			}
			want, wantErr := net.ResolveTCPAddr(network, address)
			got, err := Resolve(context.Background(), network, address, NumericOnly)
			if address == "" {
				wantErr = errors.New("net takes the empty address for none")
			}
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("%s %q: %v, %v; net: %v, %v", network, address, got, err, want, wantErr)
			}
			if err == nil {
				compareAddr(t, network, host, got[0], want)
			}
		}
	})
}

func compareAddr(t *testing.T, network, host string, got netip.AddrPort, want *net.TCPAddr) {
	t.Helper()
	addr := want.AddrPort()
	if want.IP == nil {
		any := netip.IPv6Unspecified()
		if network == "tcp4" {
			any = netip.IPv4Unspecified()
		}
		addr = netip.AddrPortFrom(any, addr.Port())
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())

	if got != addr {
		t.Fatalf("%s %q: %v; net: %v", network, host, got, addr)
	}
}

func FuzzUnixName(f *testing.F) {
	f.Add("/tmp/x")
	f.Add("@x")
	f.Add("\x00x")
	f.Add("")
	f.Add(strings.Repeat("x", 108))

	f.Fuzz(func(t *testing.T, address string) {
		name, err := unixName(address)
		if err != nil {
			return
		}

		if len(name) >= len(unix.RawSockaddrUnix{}.Path) || !isAbstract(name) && strings.Contains(name, "\x00") {
			t.Fatalf("%q became %q", address, name)
		}
		if runtime.GOOS != "linux" && (name == "" || isAbstract(name)) {
			t.Fatalf("%q passed", address)
		}
	})
}
