package anet

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

func TestUnreadCountsWhatCanBeRead(t *testing.T) {
	forEachStream(t, func(t *testing.T, r, w int) {
		want := func(want int) {
			t.Helper()
			if n, err := Unread(r); n != want || err != nil {
				t.Errorf("%d, %v; want %d", n, err, want)
			}
		}
		want(0)
		for range 3 {
			if n, err := Write(w, make([]byte, 1000)); n != 1000 || err != nil {
				t.Fatal(n, err)
			}
		}
		eventually(t, "3000 bytes", func() bool { n, err := Unread(r); noError(t, err); return n == 3000 })
		readN(t, r, 400)
		want(2600)
		readN(t, r, 2600)
		want(0)
		closeNow(t, w)
		await(t, r, unix.POLLIN)
		want(0)
	})
}

func TestUnreadOfOtherKinds(t *testing.T) {
	udp := must(t)(Listen("udp", "127.0.0.1:0"))
	to, err := LocalAddr(udp)
	noError(t, err)
	noError(t, SendTo(udp, make([]byte, 100), to))
	noError(t, SendTo(udp, make([]byte, 10), to))
	await(t, udp, unix.POLLIN)
	if n, err := Unread(udp); n < 100 || onLinux && n != 100 || err != nil {
		t.Errorf("UDP: %d, %v", n, err)
	}
	if n, err := Unread(must(t)(Listen("tcp", "127.0.0.1:0"))); onLinux && err != unix.EINVAL {
		t.Errorf("a listener: %d, %v", n, err)
	}
	if n, err := Unread(-1); n != 0 || err != unix.EBADF {
		t.Errorf("no descriptor: %d, %v", n, err)
	}
}

func TestUnsentFallsToZeroAsThePeerReads(t *testing.T) {
	for name, pair := range map[string]func(testing.TB) (int, int){"tcp": tcpPair, "unix": socketPairT} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			n, err := Unsent(a)
			switch runtime.GOOS {
			case "linux", "android", "darwin", "ios", "freebsd", "netbsd":
			default:
				wantIs(t, "Unsent", err, errors.ErrUnsupported)
				return
			}
			if n != 0 || err != nil {
				t.Errorf("before any write: %d, %v", n, err)
			}
			if _, err := Unsent(-1); err != unix.EBADF {
				t.Errorf("no descriptor: %v", err)
			}
			if name == "unix" && !onLinux {
				return // the other side has it at once
			}

			written := fill(t, a, make([]byte, 1<<16))
			n, err = Unsent(a)
			if n <= 0 || err != nil || name == "tcp" && n > written {
				t.Errorf("%d of %d unsent, %v", n, written, err)
			}
			noError(t, CloseWrite(a))
			if got, _ := readToEnd(t, b); got != written {
				t.Errorf("read %d of %d", got, written)
			}
			eventually(t, "0 unsent", func() bool { n, err := Unsent(a); noError(t, err); return n == 0 })
		})
	}
}

// eventually asks until ok is true: of a kernel's counter there is no event.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testutil.Patience); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v", what, testutil.Patience)
		}
	}
}
