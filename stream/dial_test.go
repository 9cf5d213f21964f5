package stream

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"golang.org/x/sys/unix"
)

// dialEach dials addresses as those of one name.
func (r *rig) dialEach(h *Handler, addrs ...string) *Conn {
	c := r.l.newConn(h)
	d := &dial{network: "tcp"}
	for _, a := range addrs {
		d.addrs = append(d.addrs, netip.MustParseAddrPort(a))
	}
	c.more().dial = d
	r.l.dialing[c] = struct{}{}
	r.l.n.Add(1)
	c.try()
	return c
}

// answering returns an address where somebody listens.
func (r *rig) answering() string {
	r.t.Helper()
	ln, err := anet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	return anet.LocalString(r.own(ln))
}

// silent returns an address where nobody answers, if the system lets it.
func (r *rig) silent() string {
	r.t.Helper()
	ln, err := anet.ListenConfig{Backlog: 1}.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	addr := anet.LocalString(r.own(ln))
	for range 8 {
		fd, err := anet.Connect("tcp", addr)
		if err != nil {
			r.t.Fatal(err)
		}
		if m, err := ae.Wait(r.own(fd), ae.Writable, 100*time.Millisecond); err == nil && m == ae.None {
			return addr
		}
	}
	r.t.Skip("a full backlog does not keep clients waiting here")
	return ""
}

func TestAddressesOfTwoFamiliesAreTriedInTurn(t *testing.T) {
	parse := func(addrs ...string) (list []netip.AddrPort) {
		for _, a := range addrs {
			list = append(list, netip.MustParseAddrPort(a))
		}
		return list
	}
	a, b, c := "[::1]:1", "[::2]:1", "[::3]:1"
	x, y := "1.1.1.1:1", "2.2.2.2:1"
	for _, row := range [][2][]netip.AddrPort{
		{parse(a, b, c, x, y), parse(a, x, b, y, c)},
		{parse(x, y, a), parse(x, a, y)},
		{parse(x, a, y, b, c), parse(x, a, y, b, c)},
		{parse(x, y), parse(x, y)},
		{parse(a), parse(a)},
		{nil, nil},
	} {
		if got := alternate(row[0]); !slices.Equal(got, row[1]) {
			t.Errorf("%v are tried as %v, want %v", row[0], got, row[1])
		}
	}
}

func TestASilentAddressDoesNotKeepTheNextWaiting(t *testing.T) {
	r := newRig(t)
	silent, answers := r.silent(), r.answering()
	before := descriptors()
	opened := false
	start := time.Now()
	c := r.dialEach(&Handler{Open: func(*Conn) { opened = true }}, silent, answers)
	r.until("Open", func() bool { return opened })
	if d := time.Since(start); d < attemptDelay || c.Peer().String() != answers {
		t.Errorf("connected to %v after %v", c.Peer(), d)
	}
	if after := descriptors(); after != before+1 {
		t.Errorf("%d descriptors for one connection", after-before)
	}
}

func TestAnAddressThatRefusesIsNotTheEnd(t *testing.T) {
	r := newRig(t)
	opened := false
	start := time.Now()
	r.dialEach(&Handler{Open: func(*Conn) { opened = true }}, aetest.ClosedPort(t), aetest.ClosedPort(t), r.answering())
	r.until("Open", func() bool { return opened })
	if d := time.Since(start); d > attemptDelay {
		t.Logf("the next was tried after %v", d)
	}
}

func TestADialEndsWithItsFirstError(t *testing.T) {
	const nobody = "255.255.255.255:1"
	if fd, err := anet.Connect("tcp", nobody); err == nil || errors.Is(err, unix.ECONNREFUSED) {
		anet.Close(fd)
		t.Skipf("a connect to %s: %v", nobody, err)
	}
	r := newRig(t)
	var end error
	r.dialEach(&Handler{Close: func(_ *Conn, err error) { end = err }}, aetest.ClosedPort(t), nobody)
	r.until("Close", func() bool { return end != nil })
	if !errors.Is(end, unix.ECONNREFUSED) {
		t.Errorf("it ended with %v", end)
	}
}

// A connect to a local port that nobody listens on can meet itself.
func TestASocketThatIsItsOwnPeerIsRefused(t *testing.T) {
	r := newRig(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.own(fd)
	addr := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(fd, addr); err != nil {
		t.Fatal(err)
	}
	local, err := anet.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr.Port = int(local.Port())
	if err := unix.Connect(fd, addr); err != nil {
		t.Skip(err)
	}
	if !selfConnected(fd) {
		t.Error("nobody sees it")
	}
	_, peer := r.tcp(&Handler{Data: allOf})
	if selfConnected(peer) {
		t.Error("another's socket is taken for its own peer")
	}
}
