package ae_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"golang.org/x/sys/unix"
)

// The promises of this file hold for each kind of descriptor alike: TCP, unix
// sockets and pipes. Systems treat them differently, so each is a row.

// transport makes connected descriptors of one kind: bytes go from w to r.
type transport struct {
	name string
	open func(testing.TB) (w, r int)
}

var transports = []transport{
	{"TCP", tcpPair},
	{"Unix", socketPair},
	{"Pipe", func(t testing.TB) (w, r int) { r, w = pipe(t); return w, r }},
}

// variants makes a row for each transport that is a socket, and for pipes too if
// pipes is set.
func variants(name, says string, pipes bool, test func(t *testing.T, tr transport)) (rows []promise) {
	for _, tr := range transports {
		if pipes || tr.name != "Pipe" {
			rows = append(rows, promise{name + tr.name, says, func(t *testing.T) { test(t, tr) }})
		}
	}
	return rows
}

func rowsOf(groups ...[]promise) (rows []promise) {
	for _, g := range groups {
		rows = append(rows, g...)
	}
	return rows
}

// arrived waits until fd is ready for mask, whatever the loop thinks.
func arrived(t testing.TB, fd int, mask ae.Mask) {
	t.Helper()
	if got, err := ae.Wait(fd, mask, patience); got == ae.None || err != nil {
		t.Fatalf("descriptor %d does not become ready for %d: %v", fd, mask, err)
	}
}

// reuse is a way for a descriptor to be ready when its number is given away.
type reuse struct {
	name string
	mask ae.Mask
	do   func(t testing.TB, tr transport) (fd int)
}

var reuses = []reuse{
	{"NumberReusedForReading", ae.Readable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		send(t, w, "x")
		return r
	}},
	{"NumberReusedForWriting", ae.Writable, func(t testing.TB, tr transport) int {
		w, _ := tr.open(t)
		return w
	}},
	{"NumberReusedAfterThePeerClosed", ae.Readable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		mustClose(t, w)
		return r
	}},
	{"NumberReusedAfterTheReaderClosed", ae.Writable, func(t testing.TB, tr transport) int {
		w, r := tr.open(t)
		mustClose(t, r)
		return w
	}},
}

// reusePromises is pitfall 1: joyent/libuv#826, golang/go#59545, redis#333.
func reusePromises() (rows []promise) {
	const says = "an event of a closed descriptor does not reach the next owner of its number in the batch"
	for _, u := range reuses {
		rows = append(rows, variants(u.name, says, true, func(t *testing.T, tr transport) {
			reuseInBatch(t, u.mask, func(t testing.TB) int {
				fd := u.do(t, tr)
				arrived(t, fd, u.mask)
				return fd
			})
		})...)
	}
	rows = append(rows, promise{"NumberReusedAfterAReset", says, func(t *testing.T) {
		reuseInBatch(t, ae.Readable, func(t testing.TB) int {
			a, b := tcpPair(t)
			reset(t, b)
			arrived(t, a, ae.Readable)
			return a
		})
	}})
	for name, addr := range map[string]func(testing.TB) string{
		"Succeeded":  func(t testing.TB) string { return anet.LocalString(listen(t)) },
		"WasRefused": closedPort,
	} {
		rows = append(rows, promise{"NumberReusedForAConnectThat" + name, says, func(t *testing.T) {
			reuseInBatch(t, ae.Writable, func(t testing.TB) int {
				fd := connecting(t, addr(t))
				arrived(t, fd, ae.Writable)
				return fd
			})
		}})
	}
	return rows
}

// heldPromises is pitfall 2, with a real child process: libuv#1099, libevent
// c281aba3.
var heldPromises = rowsOf(
	variants("ClosedButHeldByAChild", "after a delete and a close nothing is reported, though a child process holds the file and its peer writes", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			create(t, el, r, ae.Readable, forbid(t, "the closed descriptor"))
			holdInChild(t, r)
			remove(t, el, r, ae.Readable)
			mustClose(t, r)
			send(t, w, "x")
			if n := runFor(t, el, 10*time.Millisecond); n > 3 {
				t.Errorf("%d iterations in 10 ms: the loop spins", n)
			}
		}),
	variants("ClosedWithoutDeleteAndHeldByAChild", "without the delete too, once its number has another owner; and that one gets its own events only", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			create(t, el, r, ae.Readable, forbid(t, "the closed descriptor"))
			holdInChild(t, r)
			fresh, idle := pipe(t)
			mustClose(t, r)
			if err := dupTo(fresh, r); err != nil {
				t.Fatal(err)
			}
			closeLater(t, r)
			got := ""
			create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, _ := receive(r)
				if got += s; s == "" {
					t.Error("called for an event of the old file")
				}
			})
			send(t, w, "stale")
			if n := runFor(t, el, 10*time.Millisecond); n > 4 {
				t.Errorf("%d iterations in 10 ms: the loop spins", n)
			}
			send(t, idle, "fresh")
			until(t, el, func() bool { return got == "fresh" })
		}),
	[]promise{{"OldFilesLeaveNoTrace", "getting rid of a closed file that a dup keeps alive leaks no descriptor and makes none that a child would inherit", func(t *testing.T) {
		el := newLoop(t)
		r, w := pipe(t)
		got := ""
		create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = receive(r) })
		a, b := socketPair(t)
		create(t, el, a, ae.Readable, forbid(t, "the closed descriptor"))
		holdOpen(t, a)
		mustClose(t, a)
		remove(t, el, a, ae.Readable)
		before := openDescriptors()
		send(t, b, "x")
		notBusy(t, el)
		if after := openDescriptors(); len(after) != len(before) {
			t.Errorf("open descriptors %v, before %v", after, before)
		}
		for _, fd := range openDescriptors() {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 && fd > 2 && !slices.Contains(before, fd) {
				t.Errorf("descriptor %d is new and not close-on-exec", fd)
			}
		}
		send(t, w, "still watched")
		until(t, el, func() bool { return got == "still watched" })
	}}, {"ClosedWithoutDeleteAndOpenedAgain", "the same file, back at its number after a close without a delete, is watched again", func(t *testing.T) {
		el := newLoop(t)
		a, b := socketPair(t)
		held, err := dupAbove(a, a+50)
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, held)
		create(t, el, a, ae.Readable, forbid(t, "deleted"))
		mustClose(t, a)
		remove(t, el, a, ae.Readable) // too late: the poller cannot be told any more
		if err := dupTo(held, a); err != nil {
			t.Fatal(err)
		}
		closeLater(t, a)
		got := ""
		create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { got, _ = receive(a) })
		send(t, b, "x")
		until(t, el, func() bool { return got == "x" })
	}}},
)

// endingPromises is pitfall 3, bun#37928 and seastar#1785: however a connection
// ends, whoever is registered hears of it, and nobody spins.
var endingPromises = rowsOf(
	variants("PeerCloseReachesTheReader", "a peer that closes makes the descriptor Readable, and the read tells io.EOF", true,
		func(t *testing.T, tr transport) {
			w, r := tr.open(t)
			mustClose(t, w)
			if err := readToTheEnd(t, r); err != io.EOF {
				t.Errorf("read: %v, want io.EOF", err)
			}
		}),
	variants("PeerCloseReachesTheWriter", "a reader that closes makes a full descriptor Writable, and the writes end in EPIPE or ECONNRESET", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			fill(t, w)
			var end error
			create(t, el, w, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
				if _, err := anet.Write(w, []byte("x")); err != nil && err != anet.ErrWouldBlock {
					end = err
					remove(t, el, w, ae.Writable)
				}
			})
			mustClose(t, r)
			until(t, el, func() bool { return end != nil })
			if !errors.Is(end, unix.EPIPE) && !errors.Is(end, unix.ECONNRESET) {
				t.Errorf("write: %v", end)
			}
		}),
	variants("PeerCloseReachesBothProcs", "with both procs registered a closed peer reaches both, and after their deletion nobody", false,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			a, b := tr.open(t)
			seen := ae.None
			create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
				seen |= mask
				remove(t, el, a, mask)
			})
			mustClose(t, b)
			until(t, el, func() bool { return seen == ae.Readable|ae.Writable })
			notBusy(t, el)
		}),
	variants("PeerCloseWithoutInterest", "a peer that closes while nothing is registered does not wake the loop", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			create(t, el, r, ae.Readable, forbid(t, "deleted"))
			remove(t, el, r, ae.Readable)
			mustClose(t, w)
			notBusy(t, el)
		}),
	variants("ReaderCloseWithoutInterest", "the same for the writing side", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			fill(t, w)
			create(t, el, w, ae.Writable, forbid(t, "deleted"))
			remove(t, el, w, ae.Writable)
			mustClose(t, r)
			notBusy(t, el)
		}),
	variants("HalfCloseDoesNotDisturbAWriter", "a peer that shut down its writing does not wake a full writer that does not read", false,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			a, b := tr.open(t)
			fill(t, a)
			create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
				for {
					if _, err := anet.Write(a, []byte("x")); err == anet.ErrWouldBlock {
						return // TCP moves data from one buffer to another for a while
					} else if err != nil {
						t.Errorf("write: %v", err)
						return
					}
				}
			})
			if err := unix.Shutdown(b, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			arrived(t, a, ae.Readable)
			if n := runFor(t, el, 20*time.Millisecond); n > 100 {
				t.Errorf("%d iterations in 20 ms", n)
			}
		}),
)

// notBusy fails if the loop, which has nothing to do, does not sleep.
func notBusy(t testing.TB, el *ae.EventLoop) {
	t.Helper()
	if n := runFor(t, el, 20*time.Millisecond); n > 4 {
		t.Errorf("%d iterations in 20 ms with nothing to do", n)
	}
}

// readToTheEnd reads with a loop of its own and returns the error that ends it.
func readToTheEnd(t testing.TB, fd int) (end error) {
	el := newLoop(t)
	create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
		if _, end = receive(fd); end != nil {
			remove(t, el, fd, ae.Readable)
		}
	})
	until(t, el, func() bool { return end != nil })
	return end
}

// tailPromises is pitfall 4: netty#3709, netpoll#128, gnet#529, libuv#4992.
var tailPromises = rowsOf(
	variants("DataBeforeEndOfFile", "a peer that writes 1 MiB and closes is read to the last byte, then once to io.EOF", true,
		func(t *testing.T, tr transport) {
			w, r := tr.open(t)
			el := newLoop(t)
			payload := strings.Repeat("0123456789abcdef", 1<<16)
			feed(t, el, w, payload, func() { mustClose(t, w) })
			var got strings.Builder
			ends := 0
			create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, err := receive(r)
				got.WriteString(s)
				if err != nil {
					if err != io.EOF {
						t.Errorf("%v, want io.EOF", err)
					}
					ends++
					remove(t, el, r, ae.Readable)
				}
			})
			until(t, el, func() bool { return ends > 0 })
			poll(t, el)
			if ends != 1 || got.String() != payload {
				t.Errorf("%d ends of file, %d bytes of %d, equal %v", ends, got.Len(), len(payload), got.String() == payload)
			}
		}),
	variants("HalfClosedPeerIsStillWrittenTo", "after the peer shut down its writing side, 1 MiB that we send still arrives", false,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			a, b := tr.open(t)
			if err := unix.Shutdown(b, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			payload := strings.Repeat("x", 1<<20)
			eof, sent, got := false, false, 0
			create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				if _, err := receive(a); err == io.EOF {
					eof = true
					remove(t, el, a, ae.Readable)
				}
			})
			feed(t, el, a, payload, func() { sent = true })
			create(t, el, b, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, err := receive(b)
				if got += len(s); err != nil {
					t.Errorf("reading side: %v", err)
				}
			})
			until(t, el, func() bool { return eof && sent && got == len(payload) })
		}),
	variants("TailWaitsWhileReadingIsPaused", "a peer that writes and closes while reading is paused does not spin the loop; on resuming, the data comes, then io.EOF", true,
		func(t *testing.T, tr transport) {
			el := newLoop(t)
			w, r := tr.open(t)
			create(t, el, r, ae.Readable, forbid(t, "paused"))
			remove(t, el, r, ae.Readable)
			send(t, w, "tail")
			mustClose(t, w)
			notBusy(t, el)
			var got string
			var end error
			create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				var s string
				s, end = receive(r)
				got += s
			})
			until(t, el, func() bool { return end != nil })
			if got != "tail" || end != io.EOF {
				t.Errorf("read %q, %v", got, end)
			}
		}),
)
