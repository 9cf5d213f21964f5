package anet

import "golang.org/x/sys/unix"

const (
	dualStack = true

	keepMin, keepMax = 1, (1<<31 - 1) / 1000
)

// What macOS has, from its headers. SO_REUSEPORT is there too, but does not
// balance.
var (
	optReusePort    = sockopt{text: "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER_SEC, "SO_LINGER_SEC"}
	optMark         = sockopt{text: "SO_MARK"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPALIVE, "TCP_KEEPALIVE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT"}
)
