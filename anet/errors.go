package anet

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock says that the descriptor has nothing for now: wait until the loop reports it ready and call again.
// It is unix.EAGAIN, boxed once, so err == ErrWouldBlock, errors.Is(err, ErrWouldBlock) and
// errors.Is(err, unix.EAGAIN) all say the same.
var ErrWouldBlock error = unix.EAGAIN

// The two kinds of error of Accept after which the listener is still good. An error that is neither of them, nor
// ErrWouldBlock, is a mistake of the program, such as a descriptor that does not listen.
var (
	// ErrAborted says that one connection failed before it was accepted, and that the next one may be fine: go on.
	// Such are ECONNABORTED, ECONNRESET and EPROTO and, on Linux, the pending network errors that accept(2) lists.
	ErrAborted = errors.New("connection aborted before it was accepted")

	// ErrExhausted says that the process or the system is out of descriptors or memory: EMFILE, ENFILE, ENOBUFS,
	// ENOMEM. The connection is still queued, and the listener will be reported readable at once: pause it, and
	// resume when a connection has closed or some time has passed.
	ErrExhausted = errors.New("out of descriptors or memory")
)

// acceptError is an errno of accept(2) together with its kind. errors.Is finds both.
type acceptError struct {
	kind  error
	errno syscall.Errno
}

func (e *acceptError) Error() string        { return "accept: " + e.kind.Error() + ": " + e.errno.Error() }
func (e *acceptError) Is(target error) bool { return target == e.kind }
func (e *acceptError) Unwrap() error        { return e.errno }

// acceptErrors holds each error once, so that a server in trouble does not allocate for it.
var acceptErrors = func() (list []*acceptError) {
	for _, errno := range append(pendingErrors, unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO) {
		list = append(list, &acceptError{ErrAborted, errno})
	}

	for _, errno := range []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		list = append(list, &acceptError{ErrExhausted, errno})
	}

	return list
}()

// classify returns the error that Accept reports for errno.
func classify(fd int, errno syscall.Errno) error {
	// EOPNOTSUPP is a pending error on a listener and a programming error on anything else. The second must not
	// say "go on", or a server would go on for ever.
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
