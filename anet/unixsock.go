package anet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// unixName checks a Unix socket's address and brings it into the form that
// x/sys/unix wants: abstract names begin with "@".
func unixName(address string) (string, error) {
	if len(address) >= len(unix.RawSockaddrUnix{}.Path) {
		return "", fmt.Errorf("a name of %d bytes: %w", len(address), unix.ENAMETOOLONG)
	}
	if address != "" && !isAbstract(address) {
		// The kernel would take what is before the NUL.
		if strings.IndexByte(address, 0) >= 0 {
			return "", fmt.Errorf("a path with a NUL byte: %w", unix.EINVAL)
		}
		return address, nil
	}

	if runtime.GOOS != "linux" && runtime.GOOS != "android" {
		return "", fmt.Errorf("abstract Unix socket: %w", errors.ErrUnsupported)
	}
	if address == "" {
		return "", nil
	}
	return "@" + address[1:], nil
}

func isAbstract(address string) bool {
	return strings.HasPrefix(address, "@") || strings.HasPrefix(address, "\x00")
}

func (lc ListenConfig) listenUnix(address string) (int, error) {
	if lc.Perm&^fs.ModePerm != 0 {
		return -1, os.NewSyscallError("chmod", unix.EINVAL)
	}
	name, err := unixName(address)
	if err != nil {
		return -1, err
	}

	fd, err := socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	if err := lc.setUpUnix(fd, name); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

// setUpUnix makes a listener of a new socket. A file that it created does not
// outlive an error.
func (lc ListenConfig) setUpUnix(fd int, name string) error {
	hasFile := name != "" && !isAbstract(name)

	// The lock keeps two servers that start at once from both finding a dead
	// socket, and the second from removing what the first has made.
	if lc.Replace && hasFile {
		unlock, err := lockDir(filepath.Dir(name))
		if err != nil {
			return err
		}
		defer unlock()
		stale, err := isStale(name)
		if err == nil && stale {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}

	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	err := lc.openUnix(fd, name, hasFile)
	if err != nil && hasFile {
		os.Remove(name)
	}
	return err
}

// openUnix sets the permissions and then listens. Between bind and listen
// nobody can connect, so nobody gets in by the permissions of the umask.
func (lc ListenConfig) openUnix(fd int, name string, hasFile bool) error {
	if lc.Perm != 0 && hasFile {
		if err := os.Chmod(name, lc.Perm); err != nil {
			return err
		}
	}
	return os.NewSyscallError("listen", unix.Listen(fd, lc.backlog()))
}

// isStale reports whether name is a socket that no process has open. It asks by
// the connect of a datagram socket, which a stream socket refuses by its type
// (EPROTOTYPE), with a full backlog too, and without a connection that its
// server would see. Only a refusal proves that nobody is there: FreeBSD, NetBSD
// and macOS would give it for a full backlog to a stream socket's connect.
func isStale(name string) (bool, error) {
	info, err := os.Lstat(name)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false, nil
	}
	fd, err := socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return false, err // it cannot be told
	}
	defer Close(fd)
	return errors.Is(connect(fd, &unix.SockaddrUnix{Name: name}), unix.ECONNREFUSED), nil
}

// connectUnix begins to connect to a name in the form of unixName.
func connectUnix(name string) (int, error) {
	fd, err := socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	if err := connect(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}
