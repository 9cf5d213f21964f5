//go:build darwin || freebsd

package anet

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The level that <sys/un.h> names SOL_LOCAL, and macOS's option LOCAL_PEERPID.
const (
	solLocal     = 0
	localPeerPID = 2
)

func peerCredentials(fd int) (Credentials, error) {
	c, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt", err)
	}

	// Level 0 is IP's too: of a TCP socket this is IP_OPTIONS, and an answer of
	// nothing, which would read as root. Who is somebody has a group.
	if c.Ngroups < 1 {
		return Credentials{}, os.NewSyscallError("getsockopt", unix.ENOTCONN)
	}
	peer := Credentials{UID: int(c.Uid), GID: int(c.Groups[0])}
	if runtime.GOOS != "freebsd" {
		peer.PID, err = unix.GetsockoptInt(fd, solLocal, localPeerPID)
		if err != nil {
			return Credentials{}, os.NewSyscallError("getsockopt", err)
		}
	}
	return peer, nil
}
