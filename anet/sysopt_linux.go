package anet

import "golang.org/x/sys/unix"

const (
	// dualStack reports whether an IPv6 socket can serve IPv4 too.
	dualStack = true

	// keepMin and keepMax bound the times of keepalive, in seconds: here it is
	// MAX_TCP_KEEPIDLE of the kernel. FreeBSD takes UINT_MAX/kern.hz, where hz
	// is mostly 1000, and macOS UINT32_MAX/1000.
	keepMin, keepMax = 1, 32767
)

// What Linux has, from socket(7), tcp(7) and unix(7).
var (
	optReusePort    = sockopt{unix.SOL_SOCKET, unix.SO_REUSEPORT, "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{unix.SOL_SOCKET, unix.SO_MARK, "SO_MARK"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT"}
)
