package anet

import "golang.org/x/sys/unix"

const (
	dualStack = false

	keepMin, keepMax = 1, (1<<31 - 1) / 1000
)

// What DragonFly has, from setsockopt(2) and tcp(4). Its SO_REUSEPORT balances.
var (
	optReusePort    = sockopt{unix.SOL_SOCKET, unix.SO_REUSEPORT, "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{text: "SO_MARK"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT"}
)
