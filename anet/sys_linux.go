package anet

import (
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A raw system call saves the hand-shake with Go's scheduler, but one that
// waits stops the garbage collector of the whole process. MSG_DONTWAIT keeps
// those below from waiting whatever the descriptor's flags say. It is for
// sockets: anything else answers ENOTSOCK, and gets the ordinary call.
//
// linux/386 and linux/s390x had these calls only as parts of socketcall before
// Linux 4.3.

func read(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			raceReceived(fd, p[:n])
			return int(n), 0
		case unix.EINTR:
			continue
		case unix.ENOTSOCK:
			return plainRead(fd, p)
		}
		return 0, errno
	}
}

func write(fd int, p []byte) (int, syscall.Errno) {
	n, errno := sendTo(fd, p, nil, 0)
	if errno == unix.ENOTSOCK {
		return plainWrite(fd, p)
	}
	return n, errno
}

// sendTo sends to the address sa of size bytes; nil and 0 are the peer's of a
// connected socket.
func sendTo(fd int, p []byte, sa *unix.RawSockaddrAny, size uintptr) (int, syscall.Errno) {
	raceSending(p)
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(sa)), size)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func sendDatagram(fd int, p []byte, to netip.AddrPort) error {
	var sa unix.RawSockaddrAny
	size, err := toRaw(&sa, to)
	if err != nil {
		return err
	}
	name := &sa
	if size == 0 {
		name = nil
	}
	if _, errno := sendTo(fd, p, name, size); errno != 0 {
		return errno
	}
	return nil
}

// recvDatagram uses recvmsg for the MSG_TRUNC in its answer.
func recvDatagram(fd int, p []byte) (n int, from netip.AddrPort, truncated bool, errno syscall.Errno) {
	var sa unix.RawSockaddrAny
	var iov unix.Iovec
	iov.Base = unsafe.SliceData(p)
	iov.SetLen(len(p))
	var msg unix.Msghdr
	msg.Name = (*byte)(unsafe.Pointer(&sa))
	msg.Namelen = unix.SizeofSockaddrAny
	msg.Iov = &iov
	msg.SetIovlen(1)

	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT)
		if errno == 0 {
			raceReceived(fd, p[:n])
			return int(n), fromRaw(&sa), msg.Flags&unix.MSG_TRUNC != 0, 0
		}
		if errno != unix.EINTR {
			return 0, netip.AddrPort{}, false, errno
		}
	}
}

// maxIovec is how many buffers go into one system call: few enough for the
// stack, and enough to make the call's own cost small. The system's limit is
// 1024 (IOV_MAX).
const maxIovec = 64

// writevSome writes the first buffers of bufs. It returns how many bytes it
// wrote of the size it tried, and how many buffers it used.
func writevSome(fd int, bufs [][]byte) (n, size, used int, err error) {
	var iov [maxIovec]unix.Iovec
	count := 0
	for ; used < len(bufs) && count < maxIovec; used++ {
		if p := bufs[used]; len(p) > 0 {
			iov[count].Base = unsafe.SliceData(p)
			iov[count].SetLen(len(p))
			count++
			size += len(p)
			raceSending(p)
		}
	}
	if count == 0 {
		return 0, 0, used, nil
	}

	n, errno := sendmsg(fd, iov[:count])
	if errno == unix.ENOTSOCK {
		n, errno = plainWritev(fd, iov[:count])
	}
	runtime.KeepAlive(bufs)
	if errno != 0 {
		return 0, size, used, errno
	}
	return n, size, used, nil
}

func sendmsg(fd int, iov []unix.Iovec) (int, syscall.Errno) {
	var msg unix.Msghdr
	msg.Iov = unsafe.SliceData(iov)
	msg.SetIovlen(len(iov))
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func plainWritev(fd int, iov []unix.Iovec) (int, syscall.Errno) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))),
			uintptr(len(iov)))
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// accept is accept4 without package syscall's allocation for the address. It is
// not raw: nothing keeps it from waiting on a listener that is blocking.
func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	nfd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(nfd), fromRaw(&sa), 0
}

const fionread = unix.TIOCINQ

func unsent(fd int) (int, error) { return ioctlInt(fd, unix.SIOCOUTQ) }

// ioctlInt gets a number by the request req. It is not raw: what fd is open on
// may wait.
func ioctlInt(fd int, req uintptr) (int, error) {
	var n int32 // package unix gives the kernel an int, which big-endian machines misread
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// pendingErrors are the network errors of the new connection that Linux hands
// to accept, whose page says to go on, and those that it says various kernels
// add. (Not EPERM, for a firewall's rule, which it lists too: see
// ErrExhausted.)
var pendingErrors = []syscall.Errno{unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
	unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ETIMEDOUT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT}

func localAddr(fd int) (netip.AddrPort, syscall.Errno) { return sockAddr(unix.SYS_GETSOCKNAME, fd) }
func peerAddr(fd int) (netip.AddrPort, syscall.Errno)  { return sockAddr(unix.SYS_GETPEERNAME, fd) }

func localName(fd int) (name string, ok bool) { return nameOf(unix.SYS_GETSOCKNAME, fd) }
func peerName(fd int) (name string, ok bool)  { return nameOf(unix.SYS_GETPEERNAME, fd) }

// sockAddr reads an IP address into the stack: package unix would allocate it.
func sockAddr(trap uintptr, fd int) (netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	if _, errno := sockName(trap, fd, &sa); errno != 0 {
		return netip.AddrPort{}, errno
	}
	return fromRaw(&sa), 0
}

// nameOf reads the name of a Unix socket, whose length package unix drops: it
// returns "@" for an empty abstract name and for none, and cuts others at a
// NUL.
func nameOf(trap uintptr, fd int) (name string, ok bool) {
	var sa unix.RawSockaddrAny
	size, errno := sockName(trap, fd, &sa)
	if errno != 0 || sa.Addr.Family != unix.AF_UNIX {
		return "", false
	}
	un := (*unix.RawSockaddrUnix)(unsafe.Pointer(&sa))
	n := min(size-int(unsafe.Offsetof(un.Path)), len(un.Path))
	if n <= 0 {
		return "", true
	}
	name = string(unsafe.Slice((*byte)(unsafe.Pointer(&un.Path[0])), n))
	if name[0] != 0 {
		name, _, _ = strings.Cut(name, "\x00")
	}
	return name, true
}

// sockName makes the system call trap, getsockname or getpeername.
func sockName(trap uintptr, fd int, sa *unix.RawSockaddrAny) (size int, errno syscall.Errno) {
	n := uint32(unix.SizeofSockaddrAny)
	_, _, errno = syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&n)))
	return int(n), errno
}

// fromRaw turns a kernel address into an AddrPort: the zero one if it is no IP
// address.
func fromRaw(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swapPort(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(from16(in.Addr, in.Scope_id), swapPort(in.Port))
	}
	return netip.AddrPort{}
}

// toRaw writes addr in the kernel's form, and returns its size: 0 for the zero
// AddrPort.
func toRaw(sa *unix.RawSockaddrAny, addr netip.AddrPort) (uintptr, error) {
	ip := addr.Addr().Unmap()
	switch {
	case ip.Is4():
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swapPort(addr.Port()), Addr: ip.As4()}
		return unix.SizeofSockaddrInet4, nil
	case ip.Is6():
		zone, err := zoneIndex(ip.Zone())
		if err != nil {
			return 0, err
		}
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swapPort(addr.Port()), Addr: ip.As16(), Scope_id: zone}
		return unix.SizeofSockaddrInet6, nil
	}
	return 0, nil
}

// swapPort turns a port into network byte order, and back, on machines of
// either order.
func swapPort(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
