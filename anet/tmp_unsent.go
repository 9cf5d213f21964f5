package anet

import "golang.org/x/sys/unix"

func Unsent(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCOUTQ) }
