package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

func peerCredentials(fd int) (Credentials, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt", err)
	}

	// A socket that is no connected Unix socket has nobody's credentials, which
	// is no error to Linux.
	if c.Pid == 0 && int32(c.Uid) == -1 {
		return Credentials{}, os.NewSyscallError("getsockopt", unix.ENOTCONN)
	}
	return Credentials{PID: int(c.Pid), UID: int(c.Uid), GID: int(c.Gid)}, nil
}
