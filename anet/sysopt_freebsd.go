package anet

import "golang.org/x/sys/unix"

const (
	dualStack = true

	keepMin, keepMax = 1, (1<<31 - 1) / 1000
)

// What FreeBSD has, from setsockopt(2) and tcp(4).
var (
	optReusePort    = sockopt{unix.SOL_SOCKET, unix.SO_REUSEPORT_LB, "SO_REUSEPORT_LB"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{unix.SOL_SOCKET, unix.SO_USER_COOKIE, "SO_USER_COOKIE"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT"}
)
