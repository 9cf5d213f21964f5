package anet

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sockopt names a socket option. One with a text alone is one that the system lacks: the files sysopt_*.go say what
// each system has.
type sockopt struct {
	level, name int
	text        string
}

func (o sockopt) lacking() bool { return o.level == 0 && o.name == 0 }

// Options that every system has.
var (
	optReuseAddr   = sockopt{unix.SOL_SOCKET, unix.SO_REUSEADDR, "SO_REUSEADDR"}
	optKeepAlive   = sockopt{unix.SOL_SOCKET, unix.SO_KEEPALIVE, "SO_KEEPALIVE"}
	optSendTimeout = sockopt{unix.SOL_SOCKET, unix.SO_SNDTIMEO, "SO_SNDTIMEO"}
	optRecvTimeout = sockopt{unix.SOL_SOCKET, unix.SO_RCVTIMEO, "SO_RCVTIMEO"}
	optSendBuffer  = sockopt{unix.SOL_SOCKET, unix.SO_SNDBUF, "SO_SNDBUF"}
	optRecvBuffer  = sockopt{unix.SOL_SOCKET, unix.SO_RCVBUF, "SO_RCVBUF"}
	optV6Only      = sockopt{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, "IPV6_V6ONLY"}
	optNoDelay     = sockopt{unix.IPPROTO_TCP, unix.TCP_NODELAY, "TCP_NODELAY"}
)

func (o sockopt) set(fd, value int) error {
	if o.lacking() {
		return o.unsupported()
	}

	return o.wrap("setsockopt", unix.SetsockoptInt(fd, o.level, o.name, value))
}

func (o sockopt) get(fd int) (int, error) {
	if o.lacking() {
		return 0, o.unsupported()
	}

	value, err := unix.GetsockoptInt(fd, o.level, o.name)
	return value, o.wrap("getsockopt", err)
}

func (o sockopt) setBool(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}

	return o.set(fd, value)
}

func (o sockopt) getBool(fd int) (bool, error) {
	value, err := o.get(fd)
	return value != 0, err
}

// setSize sets an option that is a size or a count. The kernel would take a negative one for a very great one.
func (o sockopt) setSize(fd, n int) error {
	if n < 0 {
		return o.wrap("setsockopt", unix.EINVAL)
	}

	return o.set(fd, min(n, math.MaxInt32))
}

// setDuration sets an option that is counted in units of time.
func (o sockopt) setDuration(fd int, d, unit time.Duration) error {
	if d < 0 {
		return o.wrap("setsockopt", unix.EINVAL)
	}

	return o.set(fd, ceil(d, unit))
}

func (o sockopt) getDuration(fd int, unit time.Duration) (time.Duration, error) {
	value, err := o.get(fd)
	return time.Duration(value) * unit, err
}

// wrap says which call failed on which option.
func (o sockopt) wrap(call string, err error) error {
	if err == nil {
		return nil
	}

	return fmt.Errorf("%s: %w", o.text, os.NewSyscallError(call, err))
}

func (o sockopt) unsupported() error { return fmt.Errorf("%s: %w", o.text, errors.ErrUnsupported) }

// ceil counts d in units, rounded up so that a short time does not become 0, which mostly means "off", and held to what
// an option's int can take.
func ceil(d, unit time.Duration) int {
	n := d / unit
	if d%unit > 0 {
		n++
	}

	return int(min(n, math.MaxInt32))
}
