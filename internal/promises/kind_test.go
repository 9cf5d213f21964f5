package promises_test

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// kindPromises are about descriptors that are not the usual non-blocking socket.
var kindPromises = []promise{
	// pitfall 14: php-src#23805, libuv poll_bad_fdtype
	{"DevicesAreWatchedOrRefused", "a device is either watched and reported ready, or refused with an errno and nothing changed", func(t *testing.T) {
		for _, path := range []string{"/dev/null", "/dev/zero", "/dev/urandom"} {
			fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				continue // not every system has it, or lets everyone write to it
			}
			testutil.CloseLater(t, fd)
			el := aetest.Loop(t)
			called := false
			err = el.CreateFileEvent(fd, ae.Readable|ae.Writable, func(*ae.EventLoop, int, ae.Mask) { called = true })
			var errno syscall.Errno
			switch {
			case err == nil:
				aetest.Until(t, el, func() bool { return called })
			case !errors.As(err, &errno):
				t.Errorf("%s: %v tells no errno", path, err)
			case el.FileEvents(fd) != ae.None:
				t.Errorf("%s: mask %d after %v", path, el.FileEvents(fd), err)
			default:
				aetest.Sleeps(t, el)
			}
		}
	}},
	{"DatagramSockets", "a UDP socket is Readable when a datagram came, each as one read", func(t *testing.T) {
		el := aetest.Loop(t)
		server, err := anet.Listen("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, server)
		client, err := anet.Connect("udp", anet.LocalString(server))
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, client)
		var got []string
		aetest.Create(t, el, server, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
			buf := make([]byte, 64)
			n, _, err := anet.RecvFrom(server, buf)
			if err != nil {
				t.Errorf("RecvFrom: %v", err)
			}
			got = append(got, string(buf[:n]))
		})
		aetest.Send(t, client, "one")
		aetest.Send(t, client, "two")
		aetest.Until(t, el, func() bool { return len(got) == 2 })
		if got[0] != "one" || got[1] != "two" {
			t.Errorf("received %q", got)
		}
	}},
	{"OwnDescriptorIsRefused", "the loop's own pipe cannot be registered or deleted by its number", func(t *testing.T) {
		before := testutil.OpenDescriptors()
		el := aetest.Loop(t)
		refused := 0
		for _, fd := range testutil.OpenDescriptors() {
			if slices.Contains(before, fd) {
				continue
			}
			err := el.CreateFileEvent(fd, ae.Readable, aetest.Forbid(t, "the loop's own descriptor"))
			if errors.Is(err, unix.EINVAL) && errors.Is(el.DeleteFileEvent(fd, ae.Readable), unix.EINVAL) {
				refused++
			} else if err == nil {
				aetest.Delete(t, el, fd, ae.Readable)
			}
		}
		if refused == 0 {
			t.Error("every descriptor of the loop could be registered")
		}
		ran := false
		go el.Post(func(*ae.EventLoop) { ran = true })
		aetest.Until(t, el, func() bool { return ran })
	}},
	// pitfall 13: oatpp#926, nats.c#243
	{"BoundIsExact", "the highest descriptor below the set size is watched, the next one refused, also where it is FD_SETSIZE", func(t *testing.T) {
		el, err := ae.New(1024)
		if err != nil {
			t.Fatal(err)
		}
		defer el.Close()
		a, b := aetest.SocketPair(t)
		size := el.Size()
		for _, fd := range []int{size - 1, size} {
			if err := testutil.DupTo(a, fd); err != nil {
				t.Fatal(err)
			}
			testutil.CloseLater(t, fd)
		}
		if err := el.CreateFileEvent(size, ae.Readable, aetest.Forbid(t, "beyond the bound")); !errors.Is(err, ae.ErrRange) {
			t.Errorf("descriptor %d of %d: %v, want ErrRange", size, size, err)
		}
		called := false
		aetest.Create(t, el, size-1, ae.Readable, func(*ae.EventLoop, int, ae.Mask) { called = true })
		aetest.Send(t, b, "x")
		aetest.Until(t, el, func() bool { return called })
	}},
	// pitfall 22: golang/go#76290
	{"BlockingDescriptorsStopNobody", "descriptors that block by their flags are watched like others: one read or write of what is ready goes on, and so do other goroutines and the collector", func(t *testing.T) {
		el := aetest.Loop(t)
		a, b := aetest.SocketPair(t)
		r, w := aetest.Pipe(t)
		collected := make(chan bool, 1)
		read, wrote := 0, 0
		for _, fd := range []int{a, b, r, w} {
			if err := anet.SetNonblock(fd, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, fd := range []int{a, r} {
			aetest.Create(t, el, fd, ae.Readable, func(*ae.EventLoop, int, ae.Mask) {
				n, err := anet.Read(fd, make([]byte, 10))
				if read += n; err != nil {
					t.Errorf("read: %v", err)
				}
			})
		}
		for _, fd := range []int{b, w} {
			aetest.Create(t, el, fd, ae.Writable, func(el *ae.EventLoop, fd int, _ ae.Mask) {
				aetest.Send(t, fd, "x")
				if wrote++; wrote%3 == 0 {
					aetest.Delete(t, el, fd, ae.Writable)
				}
			})
		}
		go func() {
			runtime.GC()
			el.Post(func(*ae.EventLoop) { collected <- true })
		}()
		aetest.Until(t, el, func() bool { return read >= 4 && read == wrote && len(collected) == 1 })
	}},
	// pitfall 21: golang/go#29277, mosn#210, wazero#1891
	{"DescriptorsTakenFromNetSurviveTheCollector", "descriptors taken from package net serve on while the collector runs, and never block", func(t *testing.T) {
		nl, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := nl.Addr().String()
		ln, err := anet.Descriptor(nl)
		if err != nil {
			t.Fatal(err)
		}
		testutil.CloseLater(t, ln)
		nl.Close()
		nl = nil
		el := aetest.Loop(t)
		aetest.Create(t, el, ln, ae.Readable, func(el *ae.EventLoop, ln int, _ ae.Mask) {
			runtime.GC()
			fd, _, err := anet.Accept(ln)
			if err != nil {
				return
			}
			testutil.CloseLater(t, fd)
			aetest.Create(t, el, fd, ae.Readable, echoOnce)
		})
		ended := make(chan error, 1)
		go func() { ended <- roundTrips(addr, 50, runtime.GC); el.Stop() }()
		testutil.Within(t, func() { el.Main() })
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}},
}

// echoOnce sends back what one read finds, which for the tests always fits.
func echoOnce(el *ae.EventLoop, fd int, _ ae.Mask) {
	var buf [4096]byte
	n, err := anet.Read(fd, buf[:])
	if err == anet.ErrWouldBlock {
		return
	}
	if err != nil {
		el.DeleteFileEvent(fd, ae.Readable)
		return
	}
	anet.Write(fd, buf[:n])
}

// roundTrips exchanges messages with an echo server, from a goroutine on package net.
func roundTrips(addr string, rounds int, between func()) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testutil.Patience))
	msg, buf := []byte("0123456789"), make([]byte, 10)
	for i := range rounds {
		msg[0] = byte(i)
		between()
		if _, err := c.Write(msg); err != nil {
			return err
		}
		for got := 0; got < len(buf); {
			n, err := c.Read(buf[got:])
			if err != nil {
				return err
			}
			got += n
		}
		if string(buf) != string(msg) {
			return errors.New("the echo differs")
		}
	}
	return nil
}
