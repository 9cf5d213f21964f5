// Package anet is the socket half of an event loop: it makes descriptors, reads
// and writes them without waiting, and sets their options. It is Redis's anet.c
// in Go's terms, and works on plain descriptors (int), so that it goes with any
// loop. A server's life in it:
//
//	ln, err := anet.Listen("tcp", ":6379")  // once
//	fd, peer, err := anet.Accept(ln)        // ln is readable: until anet.ErrWouldBlock
//	n, err := anet.Read(fd, buf)            // fd is readable: until io.EOF
//	n, err := anet.Write(fd, reply)         // now; the rest when fd is writable
//	err := anet.Close(fd)                   // after the loop was told to forget fd
//
// # Descriptors
//
// Every descriptor that the package returns is non-blocking and close-on-exec
// from birth, unless PipeFlags was asked for something else, and is the
// caller's to close. After an error there is none: what a failed call had
// opened is closed again. NetConn and NetListener take a descriptor over; all
// other functions but Close only use it.
//
// Descriptors given to Accept, Read, Write and the like are non-blocking too,
// and nothing asks on every call: one from elsewhere goes through SetNonblock
// once.
//
// # Errors
//
// Calls that set something up return an error with the name of the system call,
// which wraps the errno: test it with errors.Is. The calls on the path of the
// data (Accept, Read, Write, Writev, RecvFrom, SendTo, Close, Unread, Unsent,
// the addresses) return bare errnos and sentinels, and allocate nothing on
// Linux (but perhaps the zone of a link-local address). An option that a system
// lacks is errors.ErrUnsupported.
//
// All functions may be called from any goroutine; those that share a descriptor
// share its state.
//
// # Options
//
// An option is set by SetX and returned by X, as the system reports it: Linux
// rounds some times and doubles the sizes of buffers. Times are rounded up to
// the option's unit, so that a short one never becomes 0, "off". A descriptor
// is an int, so whatever is not here is unix.SetsockoptInt of
// golang.org/x/sys/unix.
//
// # Systems
//
// Linux, macOS, the BSDs, Solaris, illumos and AIX. linux/386 and linux/s390x
// need Linux 4.3, where the calls on sockets got numbers of their own.
//
// # Redis's names
//
//	anetTcpServer, anetTcp6Server          Listen("tcp4", ...), Listen("tcp6", ...), Listen("tcp", ...) for both
//	anetUnixServer                         Listen("unix", path), ListenConfig.Perm
//	anetTcpAccept, anetUnixAccept          Accept
//	anetTcpNonBlockConnect                 Connect
//	anetTcpNonBlockBestEffortBindConnect   ConnectConfig with Source and BestEffort
//	anetGetError                           SocketError
//	anetResolve                            Resolve, with NumericOnly for ANET_IP_ONLY, PreferIPv4, PreferIPv6
//	anetBlock, anetNonBlock                SetNonblock, Nonblock
//	anetCloexec                            SetCloseOnExec, CloseOnExec
//	anetEnableTcpNoDelay, anetDisable...   SetNoDelay, NoDelay
//	anetKeepAlive                          SetKeepAlive, KeepAlive
//	anetSendTimeout, anetRecvTimeout       SetSendTimeout, SendTimeout, SetRecvTimeout, RecvTimeout
//	anetFdToString                         PeerAddr and LocalAddr, PeerString and LocalString as text
//	anetFormatAddr                         netip.AddrPort.String
//	anetPipe                               Pipe, PipeFlags
//	anetSetSockMarkId                      SetMark, Mark
//	anetIsFifo                             IsFIFO
//
// Beyond anet.h: Read, Write, Writev, Close, CloseWrite; Unread and Unsent;
// RecvFrom and SendTo; SocketPair; ReusePort and Replace in ListenConfig;
// SetLinger, SetSendBuffer, SetRecvBuffer; PeerCredentials; Descriptor, NetConn
// and NetListener between a loop and package net; Inherited for the sockets
// that systemd passes.
package anet
