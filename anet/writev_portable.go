//go:build unix && (!linux || 386 || s390x)

package anet

import "golang.org/x/sys/unix"

// maxIovec is the IOV_MAX that POSIX grants everywhere.
const maxIovec = 16

// writevSome writes the first buffers of bufs. It returns how many bytes it wrote of the size it tried, and how many
// buffers it used. sendmsg is the vectored write that every system has; it is for sockets, and what is none, or is
// blocking, gets one buffer at a time.
func writevSome(fd int, bufs [][]byte) (n, size, used int, err error) {
	used = min(len(bufs), maxIovec)
	for _, p := range bufs[:used] {
		size += len(p)
	}
	if size == 0 {
		return 0, 0, used, nil
	}

	nonblocking, errno := statusNonblock(fd)
	if errno != 0 {
		return 0, size, used, errno
	}

	if nonblocking {
		for {
			n, err = unix.SendmsgBuffers(fd, bufs[:used], nil, nil, 0)
			if err != unix.EINTR {
				break
			}
		}
		if err != unix.ENOTSOCK {
			return max(n, 0), size, used, err
		}
	}

	n, err = Write(fd, bufs[0])
	return n, len(bufs[0]), 1, err
}
