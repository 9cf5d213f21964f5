package anet

import (
	"os"

	"golang.org/x/sys/unix"
)

// solLocal is the level that <sys/un.h> names SOL_LOCAL.
const solLocal = 0

func peerCredentials(fd int) (Credentials, error) {
	c, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt", err)
	}

	return Credentials{UID: int(c.Uid), GID: int(c.Groups[0])}, nil
}
