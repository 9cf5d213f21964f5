package anet

import (
	"io"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDatagramsGoBothWays(t *testing.T) {
	for _, tt := range []struct{ network, server, client, host string }{
		{"udp4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"},
		{"udp6", "[::1]:0", "[::1]:0", "::1"},
		{"udp", ":0", "127.0.0.1:0", "127.0.0.1"}, // the server's socket is an IPv6 one, and its peers are not mapped
		{"udp", "127.0.0.1:0", ":0", "127.0.0.1"}, // an IPv6 socket sends to an IPv4 address
		{"udp", ":0", ":0", "::1"},
		{"udp", ":0", ":0", "::ffff:127.0.0.1"},
	} {
		if !dualStack && tt.network == "udp" && tt.host == "::1" {
			continue // ":0" is IPv4 there
		}
		t.Run(tt.server+" from "+tt.client+" to "+tt.host, func(t *testing.T) {
			server := must(t)(Listen(tt.network, tt.server))
			client := must(t)(Listen(tt.network, tt.client))
			wantFlags(t, "server", server)
			local, err := LocalAddr(server)
			noError(t, err)

			to := netip.AddrPortFrom(netip.MustParseAddr(tt.host), local.Port())
			noError(t, SendTo(client, []byte("ping"), to))
			buf := make([]byte, 16)
			await(t, server, unix.POLLIN)
			n, from, err := RecvFrom(server, buf)
			if err != nil || string(buf[:n]) != "ping" || from.Addr() != to.Addr().Unmap() {
				t.Fatalf("server got %q from %v, %v", buf[:n], from, err)
			}

			noError(t, SendTo(server, []byte("pong"), from))
			await(t, client, unix.POLLIN)
			n, from, err = RecvFrom(client, buf)
			if err != nil || string(buf[:n]) != "pong" || from != netip.AddrPortFrom(to.Addr().Unmap(), to.Port()) {
				t.Fatalf("client got %q from %v, %v", buf[:n], from, err)
			}
		})
	}
}

func TestDatagramsOfEveryLength(t *testing.T) {
	a := must(t)(Listen("udp", "127.0.0.1:0"))
	b := must(t)(Connect("udp", LocalString(a)))
	wantFlags(t, "client", b)
	buf := make([]byte, 4)

	receive := func(want int, wantErr error) {
		t.Helper()
		await(t, a, unix.POLLIN)
		n, from, err := RecvFrom(a, buf)
		if n != want || err != wantErr || !from.IsValid() {
			t.Errorf("received %d from %v, %v; want %d, %v", n, from, err, want, wantErr)
		}
	}

	noError(t, SendTo(b, nil, netip.AddrPort{}))
	receive(0, nil)
	noError(t, SendTo(b, []byte("four"), netip.AddrPort{}))
	receive(4, nil)
	noError(t, SendTo(b, []byte("and five"), netip.AddrPort{}))
	receive(4, io.ErrShortBuffer)
	if n, err := Write(b, []byte("wr")); n != 2 || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
	receive(2, nil)

	wantIs(t, "too long", SendTo(b, make([]byte, 1<<17), netip.AddrPort{}), unix.EMSGSIZE)
	if err := SendTo(a, []byte("x"), netip.AddrPort{}); err != unix.EDESTADDRREQ && (onLinux || err != unix.ENOTCONN) {
		t.Errorf("no address: %v", err)
	}
	wantIs(t, "a port alone", SendTo(a, []byte("x"), netip.AddrPortFrom(netip.Addr{}, 1)), unix.EINVAL)
	if err := SendTo(a, []byte("x"), netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Error("an IPv4 socket sent to an IPv6 address")
	}
}

func TestRecvFromDoesNotBlock(t *testing.T) {
	a := must(t)(Listen("udp", "127.0.0.1:0"))

	for _, nonblock := range []bool{true, !onLinux} {
		noError(t, SetNonblock(a, nonblock))
		within(t, "RecvFrom", func() {
			if _, _, err := RecvFrom(a, make([]byte, 4)); err != ErrWouldBlock {
				t.Errorf("nonblock %v: %v", nonblock, err)
			}
		})
	}
}

func TestAnUnheardDatagramComesBackAsECONNREFUSED(t *testing.T) {
	gone, err := Listen("udp", "127.0.0.1:0")
	noError(t, err)
	fd := must(t)(Connect("udp", LocalString(gone)))
	noError(t, Close(gone))

	noError(t, SendTo(fd, []byte("x"), netip.AddrPort{}))
	await(t, fd, unix.POLLIN)
	_, _, err = RecvFrom(fd, make([]byte, 4))
	wantIs(t, "RecvFrom", err, unix.ECONNREFUSED)
}
