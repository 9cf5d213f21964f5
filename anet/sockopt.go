package anet

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sockopt names a socket option. One with a text alone is one that the system
// lacks: the files sysopt_*.go say what each system has.
type sockopt struct {
	level, name int
	text        string
}

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

func (o sockopt) lacking() bool { return o.level == 0 && o.name == 0 }

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

// setSize sets an option that is a size. The kernel would take a negative one
// for a very great one.
func (o sockopt) setSize(fd, n int) error {
	if n < 0 {
		return o.wrap("setsockopt", unix.EINVAL)
	}
	return o.set(fd, min(n, math.MaxInt32))
}

// setTimeval sets an option that is a timeval: d rounded up to microseconds, so
// that a short time does not become 0, which is "for ever", and held to the 68
// years of a time_t of 32 bits.
func (o sockopt) setTimeval(fd int, d time.Duration) error {
	if d < 0 {
		return o.wrap("setsockopt", unix.EINVAL)
	}
	us := d / time.Microsecond
	if d%time.Microsecond > 0 {
		us++
	}
	us = min(us, math.MaxInt32*(time.Second/time.Microsecond))
	tv := unix.NsecToTimeval(int64(us) * 1000)
	return o.wrap("setsockopt", unix.SetsockoptTimeval(fd, o.level, o.name, &tv))
}

func (o sockopt) getTimeval(fd int) (time.Duration, error) {
	tv, err := unix.GetsockoptTimeval(fd, o.level, o.name)
	if err != nil {
		return 0, o.wrap("getsockopt", err)
	}
	return time.Duration(tv.Nano()), nil
}

// wrap says which call failed on which option.
func (o sockopt) wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", o.text, os.NewSyscallError(call, err))
}

func (o sockopt) unsupported() error { return fmt.Errorf("%s: %w", o.text, errors.ErrUnsupported) }
