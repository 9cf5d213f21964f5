//go:build solaris && !illumos

package anet

import "golang.org/x/sys/unix"

const (
	dualStack = true

	keepMin, keepMax = 10, 10 * 24 * 60 * 60
)

// What Solaris 11.4 has. Its numbers for keepalive are not those of illumos,
// which x/sys/unix has: package net keeps these.
var (
	optReusePort    = sockopt{text: "SO_REUSEPORT"}
	optLinger       = sockopt{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER"}
	optMark         = sockopt{text: "SO_MARK"}
	optKeepIdle     = sockopt{unix.IPPROTO_TCP, 0x1D, "TCP_KEEPIDLE"}
	optKeepInterval = sockopt{unix.IPPROTO_TCP, 0x1E, "TCP_KEEPINTVL"}
	optKeepCount    = sockopt{unix.IPPROTO_TCP, 0x1F, "TCP_KEEPCNT"}
)
