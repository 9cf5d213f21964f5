package promises_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

var hangupPromises = []promise{
	{"ResetReachesTheReader", "a reset comes to the readable proc, and the read tells ECONNRESET", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.TCPPair(t)
		var got error
		aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			_, got = aetest.Receive(a)
			aetest.Delete(t, el, a, ae.Readable)
		})
		aetest.Reset(t, b)
		aetest.Until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", got)
		}
	}},
	// pitfall 3: bun#37928, seastar#1785
	{"ResetReachesAWriterThatDoesNotRead", "a reset wakes a proc that is registered for Writable only, even if the socket had no room", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.TCPPair(t)
		aetest.Fill(t, a)
		var got error
		aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
			if _, err := anet.Write(a, []byte("x")); err != nil && err != anet.ErrWouldBlock {
				got = err
				aetest.Delete(t, el, a, ae.Writable)
			}
		})
		aetest.Reset(t, b)
		aetest.Until(t, el, func() bool { return got != nil })
		if !errors.Is(got, unix.ECONNRESET) && !errors.Is(got, unix.EPIPE) {
			t.Errorf("write: %v, want ECONNRESET or EPIPE", got)
		}
	}},
	{"ResetWithoutInterestDoesNotSpin", "a descriptor without a registration cannot wake the loop, whatever happens to it", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.TCPPair(t)
		aetest.Create(t, el, a, ae.Readable|ae.Writable, aetest.Forbid(t, "no interest"))
		aetest.Delete(t, el, a, ae.Readable|ae.Writable)
		aetest.Reset(t, b)
		aetest.Sleeps(t, el)
	}},
}

// endingPromises is pitfall 3, bun#37928 and seastar#1785: however a connection
// ends, whoever is registered hears of it, and nobody spins.
var endingPromises = rowsOf(
	variants("PeerCloseReachesTheReader", "a peer that closes makes the descriptor Readable, and the read tells io.EOF", true,
		func(t *testing.T, tr transport) {
			w, r := tr.open(t)
			testutil.CloseNow(t, w)
			if err := readToTheEnd(t, r); err != io.EOF {
				t.Errorf("read: %v, want io.EOF", err)
			}
		}),
	variants("PeerCloseReachesTheWriter", "a reader that closes makes a full descriptor Writable, and the writes end in EPIPE or ECONNRESET", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Fill(t, w)
			var end error
			aetest.Create(t, el, w, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
				if _, err := anet.Write(w, []byte("x")); err != nil && err != anet.ErrWouldBlock {
					end = err
					aetest.Delete(t, el, w, ae.Writable)
				}
			})
			testutil.CloseNow(t, r)
			aetest.Until(t, el, func() bool { return end != nil })
			if !errors.Is(end, unix.EPIPE) && !errors.Is(end, unix.ECONNRESET) {
				t.Errorf("write: %v", end)
			}
		}),
	variants("ReaderCloseWakesASleepingWriter", "a reader that closes while the loop sleeps on a full descriptor wakes it, and the proc may delete the event and keep the other", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Fill(t, w)
			held, err := testutil.DupAbove(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			testutil.CloseNow(t, r) // held is the reader now, for a goroutine to close
			ended := false
			aetest.Create(t, el, w, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
				// On the way to its end TCP may find some room.
				if _, err := anet.Write(w, []byte("x")); mask == ae.Writable && (err == nil || err == anet.ErrWouldBlock) {
					return
				}
				ended = ended || mask == ae.Writable
				aetest.Delete(t, el, w, mask) // the end may be reported to the readable proc as well, or not
			})
			for aetest.Poll(t, el) > 0 {
			}
			go unix.Close(held)
			aetest.Until(t, el, func() bool { return ended })
			aetest.Sleeps(t, el)
		}),
	[]promise{{"WriterWithoutAReaderIsCalledEachTime", "a pipe whose reader has gone is Writable in each iteration, for the next write fails, until somebody deals with it", func(t *testing.T) {
		el := aetest.Loop(t)
		r, w := aetest.Pipe(t)
		calls := 0
		aetest.Create(t, el, w, ae.Writable, func(*ae.EventLoop, int, ae.Mask) { calls++ })
		aetest.Poll(t, el)
		testutil.CloseNow(t, r)
		calls = 0
		for range 3 { // FreeBSD ends the filter after its first event
			aetest.Poll(t, el)
		}
		if calls != 3 {
			t.Errorf("%d calls in three iterations", calls)
		}
		aetest.Delete(t, el, w, ae.Writable)
		aetest.Sleeps(t, el)
	}}},
	variants("PeerCloseReachesBothProcs", "with both procs registered a closed peer reaches both, and after their deletion nobody", false,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			a, b := tr.open(t)
			seen := ae.None
			aetest.Create(t, el, a, ae.Readable|ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
				seen |= mask
				aetest.Delete(t, el, a, mask)
			})
			testutil.CloseNow(t, b)
			aetest.Until(t, el, func() bool { return seen == ae.Readable|ae.Writable })
			aetest.Sleeps(t, el)
		}),
	variants("PeerCloseWithoutInterest", "a peer that closes while nothing is registered does not wake the loop", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Create(t, el, r, ae.Readable, aetest.Forbid(t, "deleted"))
			aetest.Delete(t, el, r, ae.Readable)
			testutil.CloseNow(t, w)
			aetest.Sleeps(t, el)
		}),
	variants("ReaderCloseWithoutInterest", "the same for the writing side", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Fill(t, w)
			aetest.Create(t, el, w, ae.Writable, aetest.Forbid(t, "deleted"))
			aetest.Delete(t, el, w, ae.Writable)
			testutil.CloseNow(t, r)
			aetest.Sleeps(t, el)
		}),
	variants("HalfCloseDoesNotDisturbAWriter", "a peer that shut down its writing does not wake a full writer that does not read", false,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			a, b := tr.open(t)
			aetest.Fill(t, a)
			aetest.Create(t, el, a, ae.Writable, func(*ae.EventLoop, int, ae.Mask) {
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
			aetest.Arrives(t, a, ae.Readable)
			if n := aetest.RunFor(t, el, 20*time.Millisecond); n > 100 {
				t.Errorf("%d iterations in 20 ms", n)
			}
		}),
)

// readToTheEnd reads with a loop of its own and returns the error that ends it.
func readToTheEnd(t testing.TB, fd int) (end error) {
	el := aetest.Loop(t)
	aetest.Create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
		if _, end = aetest.Receive(fd); end != nil {
			aetest.Delete(t, el, fd, ae.Readable)
		}
	})
	aetest.Until(t, el, func() bool { return end != nil })
	return end
}

// tailPromises is pitfall 4: netty#3709, netpoll#128, gnet#529, libuv#4992.
var tailPromises = rowsOf(
	variants("DataBeforeEndOfFile", "a peer that writes 1 MiB and closes is read to the last byte, then once to io.EOF", true,
		func(t *testing.T, tr transport) {
			w, r := tr.open(t)
			el := aetest.Loop(t)
			payload := strings.Repeat("0123456789abcdef", 1<<16)
			feed(t, el, w, payload, func() { testutil.CloseNow(t, w) })
			var got strings.Builder
			ends := 0
			aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, err := aetest.Receive(r)
				got.WriteString(s)
				if err != nil {
					if err != io.EOF {
						t.Errorf("%v, want io.EOF", err)
					}
					ends++
					aetest.Delete(t, el, r, ae.Readable)
				}
			})
			aetest.Until(t, el, func() bool { return ends > 0 })
			aetest.Poll(t, el)
			if ends != 1 || got.String() != payload {
				t.Errorf("%d ends of file, %d bytes of %d, equal %v", ends, got.Len(), len(payload), got.String() == payload)
			}
		}),
	variants("HalfClosedPeerIsStillWrittenTo", "after the peer shut down its writing side, 1 MiB that we send still arrives", false,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			a, b := tr.open(t)
			if err := unix.Shutdown(b, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			payload := strings.Repeat("x", 1<<20)
			eof, sent, got := false, false, 0
			aetest.Create(t, el, a, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				if _, err := aetest.Receive(a); err == io.EOF {
					eof = true
					aetest.Delete(t, el, a, ae.Readable)
				}
			})
			feed(t, el, a, payload, func() { sent = true })
			aetest.Create(t, el, b, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				s, err := aetest.Receive(b)
				if got += len(s); err != nil {
					t.Errorf("reading side: %v", err)
				}
			})
			aetest.Until(t, el, func() bool { return eof && sent && got == len(payload) })
		}),
	variants("TailWaitsWhileReadingIsPaused", "a peer that writes and closes while reading is paused does not spin the loop; on resuming, the data comes, then io.EOF", true,
		func(t *testing.T, tr transport) {
			el := aetest.Loop(t)
			w, r := tr.open(t)
			aetest.Create(t, el, r, ae.Readable, aetest.Forbid(t, "paused"))
			aetest.Delete(t, el, r, ae.Readable)
			aetest.Send(t, w, "tail")
			testutil.CloseNow(t, w)
			aetest.Sleeps(t, el)
			var got string
			var end error
			aetest.Create(t, el, r, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				var s string
				s, end = aetest.Receive(r)
				got += s
			})
			aetest.Until(t, el, func() bool { return end != nil })
			if got != "tail" || end != io.EOF {
				t.Errorf("read %q, %v", got, end)
			}
		}),
)

// feed writes s to fd as there is room, and then calls done once.
func feed(t testing.TB, el *ae.EventLoop, fd int, s string, done func()) {
	aetest.Create(t, el, fd, ae.Writable, func(_ *ae.EventLoop, _ int, mask ae.Mask) {
		n, err := anet.Write(fd, []byte(s[:min(len(s), 64<<10)]))
		if err != nil && err != anet.ErrWouldBlock {
			t.Errorf("write: %v", err)
			n = len(s)
		}
		if s = s[n:]; s == "" {
			aetest.Delete(t, el, fd, ae.Writable)
			done()
		}
	})
}
