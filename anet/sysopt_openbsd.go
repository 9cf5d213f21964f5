package anet

import "golang.org/x/sys/unix"

const (
	dualStack = false

	keepMin, keepMax = 1, (1<<31 - 1) / 1000
)

// What OpenBSD has, from setsockopt(2) and tcp(4). Its SO_REUSEPORT does not
// balance, and the times of keepalive are the system's alone.
var (
	optReusePort    = sockopt{text: "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{unix.SOL_SOCKET, unix.SO_RTABLE, "SO_RTABLE"}
	optKeepIdle     = sockopt{text: "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{text: "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{text: "TCP_KEEPCNT"}
)
