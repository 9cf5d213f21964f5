//go:build linux && !ae_select

package stream

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
)

func init() { testutil.Child("stream", streamLife) }

// lifeCalls are the system calls of stream. (Not close: a fault would keep the
// descriptor open.)
var lifeCalls = map[string][]string{
	"accept4":       {"EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ECONNABORTED", "EINTR", "EPERM"},
	"socket":        {"EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"},
	"connect":       {"ECONNREFUSED", "EINTR", "EAGAIN", "ENETUNREACH", "EADDRNOTAVAIL"},
	"recvfrom":      {"EINTR", "EAGAIN", "ENOMEM", "ENOBUFS", "ECONNRESET", "ETIMEDOUT"},
	"sendto":        {"EINTR", "EAGAIN", "ENOMEM", "ENOBUFS", "ECONNRESET", "EPIPE"},
	"sendmsg":       {"EINTR", "EAGAIN", "ENOMEM", "ENOBUFS", "ECONNRESET", "EPIPE"},
	"shutdown":      {"ENOTCONN", "ENOBUFS"},
	"epoll_ctl":     {"ENOMEM", "ENOSPC"},
	"epoll_pwait":   {"EINTR"},
	"epoll_pwait2":  {"EINTR"},
	"getsockopt":    {"ENOBUFS", "ENOMEM"},
	"setsockopt":    {"ENOBUFS", "ENOMEM"},
	"getpeername":   {"ENOTCONN", "ENOBUFS"},
	"getsockname":   {"ENOBUFS"},
	"ioctl":         {"ENOMEM"},
	"bind":          {"EADDRINUSE"},
	"listen":        {"EADDRINUSE"},
	"fcntl":         {"ENOMEM"},
	"epoll_create1": {"EMFILE"},
}

// Each system call of an echo server, a proxy before it and their clients is made
// to fail once. What comes of it is a retry, or an error with which connections of
// one client end: the others are served, nothing hangs, and nothing is left. The
// first of each name are done by default, all with AE_LONG=1.
func TestInjectedFaultsEndOneClientAtMost(t *testing.T) {
	t.Parallel()
	var names []string
	for name := range lifeCalls {
		names = append(names, name)
	}
	slices.Sort(names)
	log, out := testutil.RunUnderStrace(t, "stream", nil, "trace=write,?"+strings.Join(names, ",?"))
	if !strings.Contains(out, "6 of 6") {
		t.Fatalf("without a fault: %s", out)
	}
	calls := slices.DeleteFunc(testutil.CallsBetween(t, log), func(c testutil.Call) bool { return lifeCalls[c.Name] == nil })
	if len(calls) < 30 {
		t.Fatalf("%d calls between the marks:\n%s", len(calls), log)
	}

	seen, faults := map[string]int{}, 0
	for _, c := range calls {
		seen[c.Name]++
		errnos := lifeCalls[c.Name]
		if !testutil.Long() {
			if seen[c.Name] > 1 {
				continue
			}
			errnos = errnos[:1]
		}
		for _, errno := range errnos {
			faults++
			t.Run(fmt.Sprintf("%s-%d/%s", c.Name, c.N, errno), func(t *testing.T) {
				t.Parallel()
				log, out := testutil.RunUnderStrace(t, "stream", nil, "trace="+c.Name,
					fmt.Sprintf("inject=%s:error=%s:when=%d", c.Name, errno, c.N))
				switch {
				case !strings.Contains(log, "INJECTED"): // it has polled less often this time
				case strings.Contains(out, "6 of 6"), strings.Contains(out, "5 of 6"):
				case strings.Contains(out, "no loop") || strings.Contains(out, "no listener"):
				default:
					t.Errorf("%s(%s: %s", c.Name, c.Args, out)
				}
				// (A connect that a signal interrupts goes on; one that strace does, never began.)
				if retried := c.Name != "connect" && (errno == "EINTR" || errno == "EAGAIN"); retried && !strings.Contains(out, "6 of 6") {
					t.Errorf("%s(%s: %s", c.Name, c.Args, out)
				}
			})
		}
	}
	t.Logf("%d calls, %d faults", len(calls), faults)
}

// streamLife has six clients, three of which come through a proxy, exchange some
// bytes with an echo server.
func streamLife() {
	time.AfterFunc(testutil.Patience, func() {
		buf := make([]byte, 1<<20)
		fmt.Printf("the loop hangs:\n%s", buf[:runtime.Stack(buf, true)])
		os.Exit(2)
	})
	before := testutil.OpenDescriptors()
	var err error
	testutil.Between(func() { err = liveOnStreams() })
	if err != nil {
		fmt.Println(err)
	}
	if after := testutil.OpenDescriptors(); !slices.Equal(before, after) {
		panic(fmt.Sprintf("descriptors %v, before %v", after, before))
	}
}

func liveOnStreams() error {
	el, err := ae.New(1024)
	if err != nil {
		return fmt.Errorf("no loop: %w", err)
	}
	defer el.Close()
	l := On(el)
	defer l.Close()

	opens, closes := 0, 0
	var reasons []error
	ended := func(_ *Conn, err error) {
		closes++
		reasons = append(reasons, err)
	}
	echo := &Handler{
		Open: func(c *Conn) {
			opens++
			_ = anet.SetSendBuffer(c.FD(), 10_000)
		},
		Data:  func(c *Conn, p []byte) int { c.Write(p); return len(p) },
		Close: ended, Linger: time.Second, Idle: 2 * time.Second,
	}
	ln, err := l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, echo)
	if err != nil {
		return fmt.Errorf("no listener: %w", err)
	}
	upstream := &Handler{Data: allOf, Close: ended, Linger: time.Second, Idle: 2 * time.Second}
	proxy, err := l.Listen("tcp", "127.0.0.1:0", ListenConfig{}, &Handler{
		Open: func(c *Conn) { Join(c, l.Dial("tcp", ln.Addr(), time.Second, upstream)) },
		Data: allOf, Close: ended, Linger: time.Second, Idle: 2 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("no listener: %w", err)
	}

	served, gone := 0, 0
	size := []int{1, 1000, 100_000}
	var begin func(i int)
	client := func(i int) *Handler {
		got := 0
		want := size[i%3]
		return &Handler{
			Open: func(c *Conn) {
				for rest := want; rest > 0; rest -= min(rest, 9000) { // chunks
					c.Write(make([]byte, min(rest, 9000)))
				}
				c.CloseWrite()
			},
			Data: func(c *Conn, p []byte) int { got += len(p); return len(p) },
			EOF: func(c *Conn) {
				if got == want {
					served++
				}
				c.Close()
			},
			Close: func(c *Conn, err error) {
				ended(c, err)
				if gone++; gone == 6 {
					_ = l.Shutdown(time.Second, el.Stop)
				} else {
					begin(i + 1)
				}
			},
			Idle: 2 * time.Second, Linger: time.Second,
		}
	}
	begin = func(i int) {
		addr := ln.Addr()
		if i >= 3 {
			addr = proxy.Addr()
		}
		l.Dial("tcp", addr, 2*time.Second, client(i))
	}
	begin(0)
	if err := el.Main(); err != nil {
		return fmt.Errorf("no loop any more: %w", err)
	}
	if l.Len() != 0 || ln.Len() != 0 || proxy.Len() != 0 || closes < 6 {
		panic(fmt.Sprintf("Len %d, listeners %d and %d, Close was called %d times", l.Len(), ln.Len(), proxy.Len(), closes))
	}
	why := errors.Join(reasons...)
	fmt.Println(served, "of 6 were served:", strings.ReplaceAll(fmt.Sprint(why), "\n", ", "))
	var errno syscall.Errno
	if served < 6 && !errors.As(why, &errno) && !errors.Is(why, ErrTimeout) && !errors.Is(why, ErrIdle) {
		panic("a client was not served, and nobody knows why")
	}
	return nil
}
