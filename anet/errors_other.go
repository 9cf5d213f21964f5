//go:build unix && !linux

package anet

import "syscall"

// pendingErrors is empty: only Linux hands the network errors of a new connection to accept.
var pendingErrors []syscall.Errno
