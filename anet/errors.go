package anet

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock says that the descriptor has nothing for now: wait until the
// loop reports it ready, and call again. It is unix.EAGAIN, boxed once, so that
// err == ErrWouldBlock, errors.Is(err, ErrWouldBlock) and
// errors.Is(err, unix.EAGAIN) all say the same.
var ErrWouldBlock error = unix.EAGAIN

// ErrAborted is the kind of error of Accept that says that one connection
// failed before it was accepted, and is off the queue: call Accept again. Such
// are ECONNABORTED, ECONNRESET and EPROTO and, on Linux, the pending network
// errors that accept(2) lists.
var ErrAborted = errors.New("connection aborted before it was accepted")

// ErrExhausted is the kind of error of Accept that says that a connection
// cannot be taken for now and stays in the queue, so that the loop will report
// the listener at once again: pause it, and resume when a connection has closed
// or some time has passed (100 ms, say). The process or the system is out of
// descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM), or is not allowed to
// take it (EPERM, EACCES): security modules and seccomp filters decide before
// the kernel looks at the queue, so an Accept at once would meet the same
// answer for ever.
var ErrExhausted = errors.New("cannot take a connection for now")

// acceptError is an errno of accept(2) together with its kind. errors.Is finds
// both.
type acceptError struct {
	kind  error
	errno syscall.Errno
}

func (e *acceptError) Error() string        { return "accept: " + e.kind.Error() + ": " + e.errno.Error() }
func (e *acceptError) Is(target error) bool { return target == e.kind }
func (e *acceptError) Unwrap() error        { return e.errno }

// acceptErrors holds each error once, so that a server in trouble does not
// allocate for it.
var acceptErrors = func() (list []*acceptError) {
	for _, errno := range append(pendingErrors, unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO) {
		list = append(list, &acceptError{ErrAborted, errno})
	}
	for _, errno := range []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.EACCES} {
		list = append(list, &acceptError{ErrExhausted, errno})
	}
	return list
}()

// classify returns the error that Accept reports for errno.
func classify(fd int, errno syscall.Errno) error {
	// EOPNOTSUPP is a pending error on a listener and a programming error on
	// anything else. The second must not say "go on", or a server would go on
	// for ever.
	if errno == unix.EOPNOTSUPP {
		if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
			return errno
		}
	}
	for _, e := range acceptErrors {
		if e.errno == errno {
			return e
		}
	}
	return errno
}
