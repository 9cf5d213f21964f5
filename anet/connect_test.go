package anet

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refusedAddress is an address that nobody listens on: that of a listener which
// is closed. (OpenBSD drops a SYN to a socket that is bound and does not
// listen.)
func refusedAddress(t testing.TB) string {
	t.Helper()
	fd, err := Listen("tcp4", "127.0.0.1:0")
	noError(t, err)
	address := LocalString(fd)
	noError(t, Close(fd))
	return address
}

// connectResult connects over TCP, and returns what came of it: the BSDs refuse
// in Connect what Linux refuses afterwards.
func connectResult(t testing.TB, address string) error {
	t.Helper()
	fd, err := Connect("tcp", address)
	if err != nil {
		return err
	}
	defer Close(fd)
	await(t, fd, unix.POLLOUT)
	err = SocketError(fd)
	if again := SocketError(fd); again != nil {
		t.Errorf("the error was not cleared: %v", again)
	}
	return err
}

func TestConnectTellsSuccessFromFailureByTheSocketError(t *testing.T) {
	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	fd := must(t)(Connect("tcp", LocalString(ln)))
	wantFlags(t, "client", fd)
	await(t, fd, unix.POLLOUT)
	noError(t, SocketError(fd))

	wantIs(t, "refused", connectResult(t, refusedAddress(t)), unix.ECONNREFUSED)

	_, err := Connect("unix", "/no/such/socket")
	wantIs(t, "no such path", err, unix.ENOENT)
	wantIs(t, "SocketError of nothing", SocketError(-1), unix.EBADF)
}

func TestAThousandFailedConnectsLeakNothing(t *testing.T) {
	address := refusedAddress(t)
	check := noLeak(t)

	count := 1000
	if !onLinux {
		count = 100 // OpenBSD resets no more than that in a second
	}
	for range count {
		wantIs(t, "refused", connectResult(t, address), unix.ECONNREFUSED)
	}
	check()
}

func TestConnectToAnyAddressIsThisMachine(t *testing.T) {
	for _, tt := range []struct{ network, listen, host string }{
		{"tcp", "127.0.0.1:0", ""},
		{"tcp", "127.0.0.1:0", "*"},
		{"tcp", "127.0.0.1:0", "0.0.0.0"},
		{"tcp4", "127.0.0.1:0", ""},
		{"tcp6", "[::1]:0", ""},
		{"tcp", "[::1]:0", "::"},
		{"tcp", "127.0.0.1:0", "localhost"},
	} {
		ln := must(t)(Listen("tcp", tt.listen))
		addr, err := LocalAddr(ln)
		noError(t, err)
		_, port, _ := net.SplitHostPort(addr.String())

		network := tt.network
		if tt.host == "localhost" {
			network = "tcp4" // this machine may call ::1 so too
		}
		client, _ := connected(t, ln, network, net.JoinHostPort(tt.host, port))
		if peer, err := PeerAddr(client); peer != addr || err != nil {
			t.Errorf("%+v: connected to %v, %v", tt, peer, err)
		}
	}
}

func TestConnectTCPTakesAnAddressAsItIs(t *testing.T) {
	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	addr, err := LocalAddr(ln)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.AddrPort{addr, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())} {
		fd := must(t)(ConnectTCP(to))
		wantFlags(t, "ConnectTCP", fd)
		accepted(t, ln)
		if peer, err := PeerAddr(fd); peer != addr || err != nil {
			t.Errorf("connected to %v, %v; want %v", peer, err, addr)
		}
	}
	if fd, err := ConnectTCP(netip.AddrPort{}); fd != -1 || err == nil {
		t.Errorf("no address: %d, %v", fd, err)
	}
}

func TestConnectFromASourceAddress(t *testing.T) {
	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	address := LocalString(ln)

	good := netip.MustParseAddrPort("127.0.0.1:0")
	foreign := netip.MustParseAddrPort("192.0.2.1:0")
	otherFamily := netip.MustParseAddrPort("[::1]:0")

	fd := must(t)(ConnectConfig{Source: good}.Connect("tcp", address))
	if local, err := LocalAddr(fd); err != nil || local.Addr() != good.Addr() {
		t.Errorf("connected from %v, %v", local, err)
	}

	check := noLeak(t)
	_, err := ConnectConfig{Source: foreign}.Connect("tcp", address)
	wantIs(t, "a source that is not ours", err, unix.EADDRNOTAVAIL)
	_, err = ConnectConfig{Source: otherFamily}.Connect("tcp", address)
	wantIs(t, "a source of the other family", err, unix.EAFNOSUPPORT)
	check()

	for _, source := range []netip.AddrPort{good, foreign, otherFamily} {
		fd := must(t)(ConnectConfig{Source: source, BestEffort: true}.Connect("tcp", address))
		await(t, fd, unix.POLLOUT)
		noError(t, SocketError(fd))
	}
}

func TestConnectFromASourcePort(t *testing.T) {
	free, err := Listen("tcp4", "127.0.0.1:0")
	noError(t, err)
	source, err := LocalAddr(free)
	noError(t, err)
	noError(t, Close(free))

	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	fd := must(t)(ConnectConfig{Source: source}.Connect("tcp", LocalString(ln)))
	if local, err := LocalAddr(fd); local != source || err != nil {
		t.Errorf("connected from %v, %v; want %v", local, err, source)
	}
}

func TestConnectReportsBadAddresses(t *testing.T) {
	var addrErr *net.AddrError
	var unknown net.UnknownNetworkError

	if _, err := Connect("tcp", "127.0.0.1"); !errors.As(err, &addrErr) {
		t.Errorf("no port: %v", err)
	}
	if _, err := Connect("sctp", "127.0.0.1:1"); !errors.As(err, &unknown) {
		t.Errorf("unknown network: %v", err)
	}
	if _, err := Connect("tcp4", "[::1]:1"); !errors.As(err, &addrErr) || !strings.Contains(err.Error(), "connect tcp4 [::1]:1") {
		t.Errorf("wrong family: %v", err)
	}
}

func TestConnectGoesOnToTheNextAddress(t *testing.T) {
	ln := must(t)(Listen("tcp4", "127.0.0.1:0"))
	addr, err := LocalAddr(ln)
	noError(t, err)

	// A link-local address on an interface that is not there: the connect
	// cannot begin.
	bad := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%4000000"), addr.Port())
	fd := must(t)(connectFirst("tcp", []netip.AddrPort{bad, addr}, netip.AddrPort{}))
	await(t, fd, unix.POLLOUT) // before, the BSDs know no peer
	if peer, err := PeerAddr(fd); peer != addr || err != nil {
		t.Errorf("connected to %v, %v", peer, err)
	}

	check := noLeak(t)
	if fd, err := connectFirst("tcp", []netip.AddrPort{bad, bad}, netip.AddrPort{}); err == nil {
		t.Errorf("connected to nowhere: %d", fd)
	}
	check()
}
