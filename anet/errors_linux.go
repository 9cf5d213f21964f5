package anet

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pendingErrors are the network errors of the new connection that Linux hands to accept(2), whose page says to treat
// them like EAGAIN by retrying.
var pendingErrors = []syscall.Errno{unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
	unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH}
