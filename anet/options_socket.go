package anet

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// SetSendTimeout sets SO_SNDTIMEO, how long a send on a blocking socket may wait; 0 is for ever. Write never waits: it is
// for others that use the descriptor. The system rounds it up to its clock's tick.
func SetSendTimeout(fd int, d time.Duration) error { return optSendTimeout.setTimeval(fd, d) }

// SendTimeout returns SO_SNDTIMEO.
func SendTimeout(fd int) (time.Duration, error) { return optSendTimeout.getTimeval(fd) }

// SetRecvTimeout sets SO_RCVTIMEO, how long a receive on a blocking socket may wait; 0 is for ever. Read never waits.
func SetRecvTimeout(fd int, d time.Duration) error { return optRecvTimeout.setTimeval(fd, d) }

// RecvTimeout returns SO_RCVTIMEO.
func RecvTimeout(fd int) (time.Duration, error) { return optRecvTimeout.getTimeval(fd) }

// SetSendBuffer sets SO_SNDBUF, the size in bytes of the system's buffer for what was written and not yet sent. The
// system holds it to its own limits, without an error.
func SetSendBuffer(fd, size int) error { return optSendBuffer.setSize(fd, size) }

// SendBuffer returns SO_SNDBUF: on Linux twice what was set, for the system's own needs.
func SendBuffer(fd int) (int, error) { return optSendBuffer.get(fd) }

// SetRecvBuffer sets SO_RCVBUF, the size in bytes of the system's buffer for what came and was not yet read. To matter
// for the TCP window it is set before Connect or, on the listener, before Accept.
func SetRecvBuffer(fd, size int) error { return optRecvBuffer.setSize(fd, size) }

// RecvBuffer returns SO_RCVBUF: on Linux twice what was set.
func RecvBuffer(fd int) (int, error) { return optRecvBuffer.get(fd) }

// SetLinger sets SO_LINGER, what Close does with what was written and not yet
// sent. Negative, the default, sends it in the background; 0 throws it away and
// resets the connection, so SetLinger(fd, 0) and Close abort it; more makes Close
// wait that long for it, also where the socket is non-blocking, so it is not for
// a loop. It is in seconds.
//
// None of these keeps unread input from making a reset of Close, which destroys
// what was written whatever the time here: see Close.
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

// SetMark sets a number that the system's routing and packet filter can see: SO_MARK on Linux (which wants
// CAP_NET_ADMIN), SO_USER_COOKIE on FreeBSD, SO_RTABLE, the routing table, on OpenBSD.
func SetMark(fd int, mark uint32) error { return optMark.set(fd, int(int32(mark))) }

// Mark returns the number of SetMark.
func Mark(fd int) (uint32, error) {
	value, err := optMark.get(fd)
	return uint32(value), err
}

// setTimeval sets an option that is a timeval.
func (o sockopt) setTimeval(fd int, d time.Duration) error {
	if d < 0 {
		return o.wrap("setsockopt", unix.EINVAL)
	}

	// Up to whole microseconds, and not to 0, which is "for ever".
	us := d / time.Microsecond
	if d%time.Microsecond > 0 {
		us++
	}
	// A time_t of 32 bits holds 68 years.
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
