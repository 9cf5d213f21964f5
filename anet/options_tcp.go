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
