//go:build unix && !linux && !darwin && !aix

package anet

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// accept is accept4 of package syscall, which has it on more systems than
// x/sys/unix.
func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	nfd, sa, err := syscall.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, netip.AddrPort{}, asErrno(err)
	}
	return nfd, fromSockaddr(sa), 0
}
