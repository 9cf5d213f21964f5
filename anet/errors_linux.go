package anet

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pendingErrors are the network errors of the new connection that Linux hands to accept(2), whose page says to treat
// them like EAGAIN by retrying, and those that it says various kernels add. (EPERM, for a firewall's rule, is not among
// them: the connection stays queued.)
var pendingErrors = []syscall.Errno{unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
	unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ETIMEDOUT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT}
