package anet

import "golang.org/x/sys/unix"

const (
	dualStack = true

	keepMin, keepMax = 10, 10 * 24 * 60 * 60
)

// What illumos has, from its headers, by which x/sys/unix numbers the options
// of solaris.
var (
	optReusePort    = sockopt{text: "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{text: "SO_MARK"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT"}
)
