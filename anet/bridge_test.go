package anet

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

func TestDescriptorOfNetsTypes(t *testing.T) {
	dir := shortDir(t)
	open := map[string]func() (any, error){
		"TCP listener":  func() (any, error) { return net.Listen("tcp", "127.0.0.1:0") },
		"Unix listener": func() (any, error) { return net.Listen("unix", filepath.Join(dir, "s")) },
		"UDP":           func() (any, error) { return net.ListenPacket("udp", "127.0.0.1:0") },
		"unixgram":      func() (any, error) { return net.ListenPacket("unixgram", filepath.Join(dir, "g")) },
		"UDP conn":      func() (any, error) { return net.Dial("udp", "127.0.0.1:9") },
		"TCP conn":      func() (any, error) { c, _ := netPair(t); return c, nil },
	}

	for name, f := range open {
		t.Run(name, func(t *testing.T) {
			c, err := f()
			noError(t, err)
			defer c.(io.Closer).Close()

			fd := must(t)(Descriptor(c))
			wantFlags(t, "the copy", fd)
			if old := rawDescriptor(t, c); old == fd {
				t.Error("the copy is the original")
			} else {
				wantFlags(t, "the original", old)
			}
			if c.(io.Closer).Close() != nil {
				t.Error("the original cannot be closed")
			}
			if !strings.Contains(name, "nix") {
				if addr, err := LocalAddr(fd); !addr.IsValid() || err != nil {
					t.Errorf("after the original's Close: %v, %v", addr, err)
				}
			}
		})
	}
}

// netPair returns the two ends of a TCP connection of package net.
func netPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	noError(t, err)
	server, err = ln.Accept()
	noError(t, err)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// rawDescriptor is the number behind c.
func rawDescriptor(t testing.TB, c any) (fd int) {
	t.Helper()
	rc, err := c.(syscall.Conn).SyscallConn()
	noError(t, err)
	noError(t, rc.Control(func(f uintptr) { fd = int(f) }))
	return fd
}

func TestDescriptorOfAFileLeavesItsFlags(t *testing.T) {
	for _, flags := range []int{unix.O_CLOEXEC, unix.O_CLOEXEC | unix.O_NONBLOCK} {
		r, w, err := PipeFlags(flags, flags)
		noError(t, err)
		closeAtEnd(t, w)
		f := os.NewFile(uintptr(r), "pipe")
		defer f.Close()

		fd := must(t)(Descriptor(f))
		for _, n := range []int{fd, r} {
			if on, err := Nonblock(n); on != (flags&unix.O_NONBLOCK != 0) || err != nil {
				t.Errorf("flags %#x: non-blocking %v, %v", flags, on, err)
			}
		}
		if on, err := CloseOnExec(fd); !on || err != nil {
			t.Errorf("close-on-exec %v, %v", on, err)
		}
	}
}

func TestDescriptorIsNonblockingAfterFileMadeTheConnBlocking(t *testing.T) {
	client, _ := netPair(t)
	f, err := client.(*net.TCPConn).File()
	noError(t, err)
	defer f.Close()
	noError(t, unix.SetNonblock(int(f.Fd()), false))

	fd := must(t)(Descriptor(client))
	wantFlags(t, "the copy", fd)
}

func TestDescriptorOfWhatHasNone(t *testing.T) {
	client, server := netPair(t)
	pipe1, pipe2 := net.Pipe()
	defer pipe1.Close()
	defer pipe2.Close()

	for _, c := range []any{nil, tls.Client(client, &tls.Config{}), pipe1, 7} {
		_, err := Descriptor(c)
		wantIs(t, "Descriptor", err, errors.ErrUnsupported)
	}

	server.Close()
	_, err := Descriptor(server)
	wantIs(t, "of a closed connection", err, net.ErrClosed)
}

// A descriptor taken from package net must not be closed when the object is
// collected.
func TestTakenDescriptorsOutliveGarbageCollections(t *testing.T) {
	const conns = 32
	var fds, peers [conns]int
	for i := range fds {
		client, server := netPair(t)
		fds[i] = must(t)(Descriptor(client))
		peers[i] = must(t)(Descriptor(server))
		client.Close()
		server.Close()
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				// Numbers that a finalizer freed would be taken here.
				r, w, err := os.Pipe()
				if err == nil {
					r.Close()
					w.Close()
				}
			}
		}
	})

	for round := range 30 {
		for i := range fds {
			msg := []byte{byte(round), byte(i)}
			writeAll(t, fds[i], func(p []byte) (int, error) { return Write(fds[i], p) }, msg)
			if got := readN(t, peers[i], 2); string(got) != string(msg) {
				t.Fatalf("connection %d: %v, want %v", i, got, msg)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestNetConnTakesTheDescriptorOver(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	lnUnix := must(t)(Listen("unix", path))
	lnTCP := must(t)(Listen("tcp", "127.0.0.1:0"))

	for _, ln := range []int{lnTCP, lnUnix} {
		network, address := "tcp", LocalString(ln)
		if ln == lnUnix {
			network = "unix"
		}
		client, err := Connect(network, address)
		noError(t, err)
		server, _ := accepted(t, ln)

		check := noLeakButOne(t)
		conn, err := NetConn(client)
		noError(t, err)
		check()
		if conn.RemoteAddr().String() != address {
			t.Errorf("RemoteAddr %v, want %v", conn.RemoteAddr(), address)
		}

		noError(t, conn.SetDeadline(time.Now().Add(testutil.Patience)))
		_, err = conn.Write([]byte("hello"))
		noError(t, err)
		if got := readN(t, server, 5); string(got) != "hello" {
			t.Errorf("read %q", got)
		}
		conn.Close()
		await(t, server, unix.POLLIN)
		if _, err := Read(server, make([]byte, 1)); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	}
}

// noLeakButOne checks that as many descriptors are open as before, whatever
// their numbers.
func noLeakButOne(t testing.TB) func() {
	t.Helper()
	before, err := openDescriptors()
	noError(t, err)
	return func() {
		t.Helper()
		after, err := openDescriptors()
		noError(t, err)
		if len(after) != len(before) {
			t.Errorf("before %q, after %q", before, after)
		}
	}
}

func TestNetListener(t *testing.T) {
	fd, err := Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	ln, err := NetListener(fd)
	noError(t, err)
	defer ln.Close()

	client := must(t)(Connect("tcp", ln.Addr().String()))
	conn, err := ln.Accept()
	noError(t, err)
	defer conn.Close()
	writeAll(t, client, func(p []byte) (int, error) { return Write(client, p) }, []byte("x"))
	_, err = io.ReadFull(conn, make([]byte, 1))
	noError(t, err)
}

func TestWhatNetRefusesStaysTheCallers(t *testing.T) {
	r, _ := pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK)
	warm, err := NetConn(r)
	if err == nil {
		warm.Close()
		t.Fatal("a pipe became a net.Conn")
	}

	check := noLeak(t)
	_, err = NetConn(r)
	wantIs(t, "NetConn of a pipe", err, unix.ENOTSOCK)
	_, err = NetListener(r)
	wantIs(t, "NetListener of a pipe", err, unix.ENOTSOCK)
	_, err = NetConn(-1)
	wantIs(t, "NetConn of nothing", err, unix.EBADF)
	check()

	runtime.GC()
	runtime.GC()
	check()
}
