package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// The level and the option that <sys/un.h> names SOL_LOCAL and LOCAL_PEERPID.
const (
	solLocal     = 0
	localPeerPID = 2
)

func peerCredentials(fd int) (Credentials, error) {
	c, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt", err)
	}

	pid, err := unix.GetsockoptInt(fd, solLocal, localPeerPID)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt", err)
	}

	return Credentials{PID: pid, UID: int(c.Uid), GID: int(c.Groups[0])}, nil
}
