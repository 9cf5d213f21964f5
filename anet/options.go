package anet

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// SetNoDelay sets TCP_NODELAY: on sends small writes at once; off, the default,
// lets the system gather them. (anetEnableTcpNoDelay, anetDisableTcpNoDelay)
func SetNoDelay(fd int, on bool) error { return optNoDelay.setBool(fd, on) }

// NoDelay returns TCP_NODELAY.
func NoDelay(fd int) (bool, error) { return optNoDelay.getBool(fd) }

// SetKeepAlive makes the system probe a TCP connection that was idle for
// interval, and end it (ETIMEDOUT) when 3 probes stay without an answer; 0
// turns that off. As in Redis the probes are a third of the interval apart, at
// least 1 s: a dead peer is noticed after about twice the interval.
// (anetKeepAlive)
//
// The interval is rounded up to seconds and held to what the system takes: at
// most 32767 s on Linux, from 10 s to 10 days, with probes at least 10 s apart,
// on Solaris and illumos, and 2147483 s (24 days) elsewhere. On OpenBSD a
// socket has no times of its own: any interval turns on the probes of the
// system.
func SetKeepAlive(fd int, interval time.Duration) error {
	if interval < 0 {
		return optKeepAlive.wrap("setsockopt", unix.EINVAL)
	}
	if err := optKeepAlive.setBool(fd, interval > 0); err != nil || interval == 0 || optKeepIdle.lacking() {
		return err
	}

	idle := min(max(ceil(interval, time.Second), keepMin), keepMax)
	if err := optKeepIdle.set(fd, idle); err != nil {
		return err
	}
	if err := optKeepInterval.set(fd, max(idle/3, keepMin)); err != nil {
		return err
	}
	return optKeepCount.set(fd, 3)
}

// KeepAlive returns the interval of SetKeepAlive, in seconds, or 0 if probes
// are off. On OpenBSD a socket with probes gives errors.ErrUnsupported.
func KeepAlive(fd int) (time.Duration, error) {
	on, err := optKeepAlive.getBool(fd)
	if err != nil || !on {
		return 0, err
	}
	seconds, err := optKeepIdle.get(fd)
	return time.Duration(seconds) * time.Second, err
}

// SetSendTimeout sets SO_SNDTIMEO, how long a send on a blocking socket may
// wait; 0 is for ever. It is for others that use the descriptor: on a
// non-blocking one nothing waits. The system rounds it up to its clock's tick,
// and may refuse a very long one: EDOM. (anetSendTimeout)
func SetSendTimeout(fd int, d time.Duration) error { return optSendTimeout.setTimeval(fd, d) }

// SendTimeout returns SO_SNDTIMEO.
func SendTimeout(fd int) (time.Duration, error) { return optSendTimeout.getTimeval(fd) }

// SetRecvTimeout sets SO_RCVTIMEO, how long a receive on a blocking socket may
// wait, in the manner of SetSendTimeout. (anetRecvTimeout)
func SetRecvTimeout(fd int, d time.Duration) error { return optRecvTimeout.setTimeval(fd, d) }

// RecvTimeout returns SO_RCVTIMEO.
func RecvTimeout(fd int) (time.Duration, error) { return optRecvTimeout.getTimeval(fd) }

// SetSendBuffer sets SO_SNDBUF, the size in bytes of the system's buffer for
// what was written and not yet sent. The system holds it to its own limits,
// without an error.
func SetSendBuffer(fd, size int) error { return optSendBuffer.setSize(fd, size) }

// SendBuffer returns SO_SNDBUF: on Linux twice what was set, for the system's
// own needs.
func SendBuffer(fd int) (int, error) { return optSendBuffer.get(fd) }

// SetRecvBuffer sets SO_RCVBUF, the size in bytes of the system's buffer for
// what came and was not yet read. To matter for the TCP window it is set before
// Connect or, on the listener, before Accept.
func SetRecvBuffer(fd, size int) error { return optRecvBuffer.setSize(fd, size) }

// RecvBuffer returns SO_RCVBUF: on Linux twice what was set.
func RecvBuffer(fd int) (int, error) { return optRecvBuffer.get(fd) }

// SetLinger sets SO_LINGER, what Close does with what was written and not yet
// sent. Negative, the default, sends it in the background; 0 throws it away and
// resets the connection, so SetLinger(fd, 0) and Close abort it; more makes
// Close wait that long for it, also where the socket is non-blocking, so it is
// not for a loop. It is in seconds.
//
// None of these keeps Close from sending a reset when there is unread input,
// which destroys what was written, whatever the time here: see Close.
func SetLinger(fd int, d time.Duration) error {
	l := unix.Linger{Onoff: 1, Linger: int32(ceil(d, time.Second))}
	if d < 0 {
		l = unix.Linger{}
	}
	return optLinger.wrap("setsockopt", unix.SetsockoptLinger(fd, optLinger.level, optLinger.name, &l))
}

// Linger returns SO_LINGER: -1 if it is off.
func Linger(fd int) (time.Duration, error) {
	l, err := unix.GetsockoptLinger(fd, optLinger.level, optLinger.name)
	if err != nil {
		return 0, optLinger.wrap("getsockopt", err)
	}
	if l.Onoff == 0 {
		return -1, nil
	}
	return time.Duration(l.Linger) * time.Second, nil
}

// SetMark sets a number that the system's routing and packet filter can see:
// SO_MARK on Linux (which wants CAP_NET_ADMIN), SO_USER_COOKIE on FreeBSD,
// SO_RTABLE, the routing table, on OpenBSD. (anetSetSockMarkId)
func SetMark(fd int, mark uint32) error { return optMark.set(fd, int(int32(mark))) }

// Mark returns the number of SetMark, where the system reads it back: not on
// FreeBSD.
func Mark(fd int) (uint32, error) {
	value, err := optMark.get(fd)
	return uint32(value), err
}

// ceil counts d in units, rounded up so that a short time does not become 0,
// which mostly means "off", and held to what an option's int can take.
func ceil(d, unit time.Duration) int {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return int(min(n, math.MaxInt32))
}
