package anet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Descriptor returns a new descriptor for the socket or file behind c: a
// net.Listener, net.Conn, net.PacketConn or *os.File, or anything else with a
// SyscallConn method. What has none, such as a *tls.Conn, is
// errors.ErrUnsupported.
//
// The new descriptor is close-on-exec, and the caller's to close; c stays open
// and is its owner's to close, at once if it is not needed any more. Both are
// one socket: they share its data, its options and its flags, so only one of
// them should be read, written or accepted from. A socket is non-blocking, as
// package net wants it too. A file keeps the flags it has: a pipe or a terminal
// needs SetNonblock before Read and Write. Closing a *net.UnixListener removes
// its file, unless SetUnlinkOnClose(false) was called.
//
// Unlike the File method of these types, Descriptor does not make c blocking,
// and has no finalizer that closes a descriptor behind your back.
func Descriptor(c any) (int, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("descriptor of a %T: %w", c, errors.ErrUnsupported)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("descriptor of a %T: %w", c, err)
	}

	fd, dupErr := -1, error(nil)
	if err := rc.Control(func(old uintptr) { fd, dupErr = dup(int(old)) }); err != nil {
		return -1, fmt.Errorf("descriptor of a %T: %w", c, err)
	}
	if dupErr != nil {
		return -1, dupErr
	}

	// Somebody may have called File().Fd(), which makes the shared description
	// blocking.
	if _, isFile := c.(*os.File); !isFile {
		if err := SetNonblock(fd, true); err != nil {
			Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// NetConn makes a net.Conn of a connected socket, TCP, UDP or Unix, and takes
// fd over: on success the number fd is closed, and the connection is the
// net.Conn's alone. On an error fd is still the caller's.
//
// Take fd off the loop first. The socket lives on, so a loop that still watches
// it would go on reporting it.
func NetConn(fd int) (net.Conn, error) { return toNet(fd, net.FileConn) }

// NetListener makes a net.Listener of a listening socket, and takes fd over, as
// NetConn does. Closing it does not remove the file of a Unix socket.
func NetListener(fd int) (net.Listener, error) { return toNet(fd, net.FileListener) }

// toNet gives package net a copy of fd, and closes fd when that worked. The
// *os.File between them needs a copy of its own: it closes its descriptor at
// the latest when it is collected, and fd must outlive an error.
func toNet[T any](fd int, wrap func(*os.File) (T, error)) (T, error) {
	var none T
	nfd, err := dup(fd)
	if err != nil {
		return none, err
	}
	f := os.NewFile(uintptr(nfd), "socket")
	defer f.Close()

	v, err := wrap(f)
	if err != nil {
		return none, err
	}
	Close(fd)
	return v, nil
}
