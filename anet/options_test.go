package anet

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sockets are the kinds of socket to try options on.
func sockets(t testing.TB) map[string]int {
	tcp4, _ := tcpPair(t)
	ln6 := must(t)(Listen("tcp6", "[::1]:0"))
	tcp6, _ := connected(t, ln6, "tcp6", LocalString(ln6))
	path := filepath.Join(shortDir(t), "s")
	ln := must(t)(Listen("unix", path))
	local, _ := connected(t, ln, "unix", path)

	return map[string]int{
		"tcp4":        tcp4,
		"tcp6":        tcp6,
		"listener":    must(t)(Listen("tcp", ":0")),
		"unix":        local,
		"udp4":        must(t)(Listen("udp", "127.0.0.1:0")),
		"udp6":        must(t)(Listen("udp", "[::1]:0")),
		"unix listen": ln,
	}
}

func isTCP(kind string) bool { return kind == "tcp4" || kind == "tcp6" || kind == "listener" }

// An optionCase sets an option through the package, and says what the getter
// and getsockopt must then return. A nil raw is not looked at.
type optionCase struct {
	name    string
	opt     sockopt
	set     func(fd int) error
	get     func(fd int) (any, error)
	want    any
	raw     any // int, unix.Linger or unix.Timeval
	tcpOnly bool
}

func onOff(name string, opt sockopt, set func(int, bool) error, get func(int) (bool, error), tcpOnly bool) (list []optionCase) {
	for _, on := range []bool{true, false} {
		list = append(list, optionCase{fmt.Sprintf("%s %v", name, on), opt, func(fd int) error { return set(fd, on) },
			func(fd int) (any, error) { return get(fd) }, on, nil, tcpOnly})
	}
	return list
}

func durations(name string, opt sockopt, set func(int, time.Duration) error, get func(int) (time.Duration, error), tcpOnly bool,
	wants map[time.Duration]time.Duration) (list []optionCase) {
	for d, want := range wants {
		list = append(list, optionCase{fmt.Sprintf("%s %v", name, d), opt, func(fd int) error { return set(fd, d) },
			func(fd int) (any, error) { return get(fd) }, want, nil, tcpOnly})
	}
	return list
}

func optionCases() (list []optionCase) {
	type table = map[time.Duration]time.Duration

	list = append(list, onOff("nodelay", optNoDelay, SetNoDelay, NoDelay, true)...)
	list = append(list, durations("keepalive", optKeepIdle, SetKeepAlive, KeepAlive, true, table{
		0: 0, 300 * time.Second: 300 * time.Second, 20*time.Second + 1: 21 * time.Second,
		math.MaxInt64: min(keepMax, math.MaxInt32) * time.Second,
	})...)
	list = append(list, durations("linger", optLinger, SetLinger, Linger, false, table{
		-time.Hour: -1, -1: -1, 0: 0, 1: time.Second, time.Second: time.Second, 1500 * time.Millisecond: 2 * time.Second,
	})...)

	// The tick of the kernel's clock divides 20 ms at every HZ that it can
	// have.
	timeouts := table{0: 0, time.Second: time.Second, 20 * time.Millisecond: 20 * time.Millisecond, time.Hour: time.Hour}
	list = append(list, durations("send timeout", optSendTimeout, SetSendTimeout, SendTimeout, false, timeouts)...)
	list = append(list, durations("receive timeout", optRecvTimeout, SetRecvTimeout, RecvTimeout, false, timeouts)...)
	return list
}

func TestOptionsReadBack(t *testing.T) {
	for kind, fd := range sockets(t) {
		for _, c := range optionCases() {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				err := c.set(fd)

				switch {
				case c.opt == optKeepIdle && optKeepIdle.lacking():
					noError(t, err)
					if got, err := c.get(fd); c.want == time.Duration(0) && (got != c.want || err != nil) {
						t.Errorf("%v, %v; want %v", got, err, c.want)
					} else if c.want != time.Duration(0) && isTCP(kind) {
						wantIs(t, "get", err, errors.ErrUnsupported)
					}
				case c.opt.lacking():
					wantIs(t, "set", err, errors.ErrUnsupported)
					_, err = c.get(fd)
					wantIs(t, "get", err, errors.ErrUnsupported)
				case c.tcpOnly && !isTCP(kind):
					if err == nil {
						if got, _ := c.get(fd); got != c.want {
							t.Errorf("accepted without an effect: %v", got)
						}
					}
				case errors.Is(err, unix.EDOM) && !onLinux:
					t.Log("longer than this system takes: ", err)
				case err != nil:
					t.Error(err)
				default:
					if got, err := c.get(fd); got != c.want || err != nil {
						t.Errorf("%v, %v; want %v", got, err, c.want)
					}
				}
			})
		}
	}
}

// Redis: idle = interval, a probe each max(1 s, interval/3), 3 probes.
func TestKeepAliveArithmetic(t *testing.T) {
	if optKeepIdle.lacking() {
		t.Skip("a socket has no times of its own here")
	}
	fd, _ := tcpPair(t)

	for interval, want := range map[time.Duration][3]int{
		1:                            {max(1, keepMin), max(1, keepMin), 3},
		time.Second:                  {max(1, keepMin), max(1, keepMin), 3},
		2500 * time.Millisecond:      {max(3, keepMin), max(1, keepMin), 3},
		300 * time.Second:            {300, 100, 3},
		(keepMax + 60) * time.Second: {keepMax, keepMax / 3, 3},
	} {
		if interval < 0 {
			continue // keepMax is greater than a Duration holds
		}
		noError(t, SetKeepAlive(fd, interval))
		wantOption(t, fd, optKeepAlive, 1)
		for i, o := range []sockopt{optKeepIdle, optKeepInterval, optKeepCount} {
			if got, err := o.get(fd); got != want[i] || err != nil {
				t.Errorf("%v: %s is %d, %v; want %d", interval, o.text, got, err, want[i])
			}
		}
	}

	noError(t, SetKeepAlive(fd, 0))
	wantOption(t, fd, optKeepAlive, 0)
}

// A short time must not become 0, which is "for ever".
func TestTimeoutsAreRoundedUp(t *testing.T) {
	fd, _ := socketPairT(t)

	for _, d := range []time.Duration{1, time.Microsecond, 1500 * time.Nanosecond, time.Millisecond + 1, 999999 * time.Microsecond} {
		noError(t, SetSendTimeout(fd, d))
		noError(t, SetRecvTimeout(fd, d))
		for _, get := range []func(int) (time.Duration, error){SendTimeout, RecvTimeout} {
			if got, err := get(fd); err != nil || got < d || got > d+20*time.Millisecond {
				t.Errorf("%v became %v, %v", d, got, err)
			}
		}
	}

	err := SetSendTimeout(fd, math.MaxInt64)
	if !onLinux && (err == nil || errors.Is(err, unix.EDOM)) {
		return // held to the most, or refused
	}
	noError(t, err)
	if got, err := SendTimeout(fd); err != nil || got != 0 && got < 24*365*time.Hour {
		t.Errorf("the greatest time became %v, %v", got, err)
	}
}

func TestBufferSizes(t *testing.T) {
	for kind, fd := range sockets(t) {
		for _, o := range []struct {
			name string
			set  func(fd, size int) error
			get  func(fd int) (int, error)
		}{{"send", SetSendBuffer, SendBuffer}, {"receive", SetRecvBuffer, RecvBuffer}} {
			if kind == "unix listen" && !onLinux {
				continue
			}
			const size = 64 << 10
			noError(t, o.set(fd, size))
			want := size
			if onLinux {
				want = 2 * size // socket(7)
			}
			if got, err := o.get(fd); got != want && (onLinux || got < size) || err != nil {
				t.Errorf("%s %s buffer: %d, %v; want %d", kind, o.name, got, err, want)
			}
			wantIs(t, "a negative size", o.set(fd, -1), unix.EINVAL)
			if onLinux {
				noError(t, o.set(fd, math.MaxInt)) // held to the limit
			}
		}
	}
}

func TestMark(t *testing.T) {
	fd, _ := tcpPair(t)
	const mark = 0xfedcba98

	err := SetMark(fd, mark)
	switch {
	case optMark.lacking():
		wantIs(t, "SetMark", err, errors.ErrUnsupported)
	case emulated && errors.Is(err, unix.ENOPROTOOPT):
		t.Skip("the emulator does not know SO_MARK")
	case errors.Is(err, unix.EPERM):
		if unix.Geteuid() == 0 {
			t.Log("root without CAP_NET_ADMIN:", err)
		}
	case onLinux:
		noError(t, err)
		if got, err := Mark(fd); got != mark || err != nil {
			t.Errorf("%#x, %v", got, err)
		}
	}
}

func TestOptionsReportBadInput(t *testing.T) {
	fd, _ := tcpPair(t)

	for name, set := range map[string]func(int, time.Duration) error{
		"keepalive": SetKeepAlive, "send timeout": SetSendTimeout, "receive timeout": SetRecvTimeout,
	} {
		err := set(fd, -1)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		wantIs(t, name, set(-1, time.Second), unix.EBADF)
	}

	r, _ := pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK)
	wantIs(t, "an option of a pipe", SetNoDelay(r, true), unix.ENOTSOCK)
	_, err := Linger(r)
	wantIs(t, "an option of a pipe", err, unix.ENOTSOCK)
	_, err = SendTimeout(r)
	wantIs(t, "an option of a pipe", err, unix.ENOTSOCK)
}

func TestCeil(t *testing.T) {
	for _, tt := range []struct {
		d, unit time.Duration
		want    int
	}{
		{0, time.Second, 0}, {1, time.Second, 1}, {time.Second, time.Second, 1}, {time.Second + 1, time.Second, 2},
		{math.MaxInt64, time.Millisecond, math.MaxInt32}, {math.MaxInt64, time.Second, math.MaxInt32},
	} {
		if got := ceil(tt.d, tt.unit); got != tt.want {
			t.Errorf("ceil(%d, %v) = %d, want %d", tt.d, tt.unit, got, tt.want)
		}
	}
}
