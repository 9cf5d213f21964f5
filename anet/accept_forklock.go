//go:build darwin || aix

package anet

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// accept marks the new descriptor under the fork lock, so that no child of os/exec inherits it in between. Accept has
// seen to it that the call does not wait: a fork would wait with it.
func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	syscall.ForkLock.RLock()
	nfd, sa, err := syscall.Accept(fd)
	if err == nil {
		syscall.CloseOnExec(nfd)
	}
	syscall.ForkLock.RUnlock()

	if err != nil {
		return -1, netip.AddrPort{}, asErrno(err)
	}

	if err := unix.SetNonblock(nfd, true); err != nil {
		unix.Close(nfd)
		return -1, netip.AddrPort{}, asErrno(err)
	}

	return nfd, fromSockaddr(sa), 0
}
