package anet

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcceptSaysWhenThereIsNoMore(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	for _, ln := range []int{must(t)(Listen("tcp", "127.0.0.1:0")), must(t)(Listen("unix", path))} {
		within(t, "Accept", func() {
			fd, peer, err := Accept(ln)
			if fd != -1 || peer != (netip.AddrPort{}) || err != ErrWouldBlock {
				t.Errorf("%d, %v, %v", fd, peer, err)
			}
		})
	}
}

func TestAcceptedDescriptorsAreNonblockingWhateverTheListenerIs(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	tcp := must(t)(Listen("tcp", "127.0.0.1:0"))
	local := must(t)(Listen("unix", path))

	for _, nonblock := range []bool{true, false} {
		noError(t, SetNonblock(tcp, nonblock))
		noError(t, SetNonblock(local, nonblock))

		must(t)(Connect("tcp", LocalString(tcp)))
		fd, peer := accepted(t, tcp)
		wantFlags(t, "accepted over TCP", fd)
		if !peer.IsValid() {
			t.Error("no peer address")
		}

		must(t)(Connect("unix", path))
		fd, peer = accepted(t, local)
		wantFlags(t, "accepted over Unix", fd)
		if peer.IsValid() {
			t.Errorf("peer %v", peer)
		}
	}
}

func TestAcceptOnWhatDoesNotListenIsNotWorthGoingOn(t *testing.T) {
	a, _ := socketPairT(t)
	r, _ := pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK)
	udp := must(t)(Listen("udp", "127.0.0.1:0"))
	bound := must(t)(socket(unix.AF_INET, unix.SOCK_STREAM, 0))

	for name, fd := range map[string]int{"a connection": a, "a pipe": r, "UDP": udp, "a socket": bound} {
		_, _, err := Accept(fd)
		if err == nil || errors.Is(err, ErrWouldBlock) || errors.Is(err, ErrAborted) || errors.Is(err, ErrExhausted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAcceptErrorsAreOfTheirKind(t *testing.T) {
	ln := must(t)(Listen("tcp", "127.0.0.1:0"))

	for _, tt := range []struct {
		kind   error
		errnos []unix.Errno
	}{
		{ErrAborted, []unix.Errno{unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO}},
		{ErrAborted, pendingErrors},
		{ErrExhausted, []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.EACCES}},
		{nil, []unix.Errno{unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EFAULT}},
	} {
		for _, errno := range tt.errnos {
			err := classify(ln, errno)
			kinds := []error{ErrWouldBlock, ErrAborted, ErrExhausted}
			for _, kind := range kinds {
				if errors.Is(err, kind) != (kind == tt.kind) {
					t.Errorf("%v is %v: %v", errno, kind, errors.Is(err, kind))
				}
			}
			wantIs(t, "classify", err, errno)
			if allocs := testing.AllocsPerRun(10, func() { _ = classify(ln, errno) }); allocs != 0 && errno != unix.EOPNOTSUPP {
				t.Errorf("%v: %v allocations", errno, allocs)
			}
		}
	}

	if len(slices.Compact(acceptErrors)) != len(acceptErrors) {
		t.Error("an error stands twice in the list")
	}
}
