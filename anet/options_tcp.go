package anet

import (
	"time"

	"golang.org/x/sys/unix"
)

// SetNoDelay sets TCP_NODELAY: on sends small writes at once; off, the default, lets the system gather them.
func SetNoDelay(fd int, on bool) error { return optNoDelay.setBool(fd, on) }

// NoDelay returns TCP_NODELAY.
func NoDelay(fd int) (bool, error) { return optNoDelay.getBool(fd) }

// SetKeepAlive makes the system probe a TCP connection that was idle for interval, and end it (ETIMEDOUT) when 3 probes
// stay without an answer; 0 turns that off. As in Redis the probes are a third of the interval apart, at least 1 s: a
// dead peer is noticed after about twice the interval.
//
// The interval is rounded up to seconds and held to what the system takes: at most 32767 s on Linux, and from 10 s to
// 10 days, with probes at least 10 s apart, on Solaris and illumos. On OpenBSD a socket has no times of its own: any
// interval turns on the probes of the system.
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

// KeepAlive returns the interval of SetKeepAlive, in seconds, or 0 if probes are off. On OpenBSD a socket with probes
// gives errors.ErrUnsupported.
func KeepAlive(fd int) (time.Duration, error) {
	on, err := optKeepAlive.getBool(fd)
	if err != nil || !on {
		return 0, err
	}

	return optKeepIdle.getDuration(fd, time.Second)
}

// SetUserTimeout sets TCP_USER_TIMEOUT: how long sent data may stay unacknowledged, or unsent, before the connection ends
// with ETIMEDOUT. It is in milliseconds; 0, the default, leaves it to the system's retransmissions. Linux only.
func SetUserTimeout(fd int, d time.Duration) error {
	return optUserTimeout.setDuration(fd, d, time.Millisecond)
}

// UserTimeout returns TCP_USER_TIMEOUT.
func UserTimeout(fd int) (time.Duration, error) {
	return optUserTimeout.getDuration(fd, time.Millisecond)
}

// SetDeferAccept sets TCP_DEFER_ACCEPT on a listener: a connection is not there to accept before its first data came, or
// about d passed. It is in seconds, which the system makes into a number of retransmissions, and 0 is off. Linux only.
func SetDeferAccept(fd int, d time.Duration) error {
	return optDeferAccept.setDuration(fd, d, time.Second)
}

// DeferAccept returns TCP_DEFER_ACCEPT, as the time that the number of retransmissions takes.
func DeferAccept(fd int) (time.Duration, error) {
	return optDeferAccept.getDuration(fd, time.Second)
}

// SetFastOpen sets TCP_FASTOPEN on a listener: a client that was here before may send data with its SYN. queue bounds
// the connections that have done so and are not yet established, and 0 is off. Linux, macOS, FreeBSD; the last two know
// only on and off.
func SetFastOpen(fd, queue int) error { return optFastOpen.setSize(fd, min(queue, fastOpenMax)) }

// FastOpen returns TCP_FASTOPEN.
func FastOpen(fd int) (queue int, err error) { return optFastOpen.get(fd) }

// SetQuickAck sets TCP_QUICKACK: on acknowledges at once what has come. It does not last: the system turns it off as it
// sees fit, so set it again after each read that matters. Linux only.
func SetQuickAck(fd int, on bool) error { return optQuickAck.setBool(fd, on) }

// QuickAck returns TCP_QUICKACK.
func QuickAck(fd int) (bool, error) { return optQuickAck.getBool(fd) }

// SetCork sets TCP_CORK (Linux, Solaris, illumos) or TCP_NOPUSH (macOS, FreeBSD, DragonFly, OpenBSD): on holds back
// segments that are not full, so that a head and a body written apart go out together; off sends the rest.
func SetCork(fd int, on bool) error { return optCork.setBool(fd, on) }

// Cork returns TCP_CORK or TCP_NOPUSH.
func Cork(fd int) (bool, error) { return optCork.getBool(fd) }
