package anet

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// stream is a kind of descriptor pair to which one writes and from which one
// reads.
type stream struct {
	name string
	open func(t testing.TB) (r, w int)
}

var streams = []stream{
	{"tcp", func(t testing.TB) (int, int) { return tcpPair(t) }},
	{"unix", func(t testing.TB) (int, int) { return socketPairT(t) }},
	{"pipe", func(t testing.TB) (int, int) { return pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK) }},
}

// blockingSockets are streams on Linux, where MSG_DONTWAIT takes the place of
// the flag.
var blockingSockets = []stream{
	{"blocking tcp", func(t testing.TB) (int, int) { r, w := tcpPair(t); return blocking(t, r), blocking(t, w) }},
	{"blocking unix", func(t testing.TB) (int, int) { r, w := socketPairT(t); return blocking(t, r), blocking(t, w) }},
}

func blocking(t testing.TB, fd int) int {
	noError(t, SetNonblock(fd, false))
	return fd
}

func forEachStream(t *testing.T, f func(t *testing.T, r, w int)) {
	list := streams
	if onLinux {
		list = slices.Concat(list, blockingSockets)
	}
	for _, s := range list {
		t.Run(s.name, func(t *testing.T) {
			r, w := s.open(t)
			f(t, r, w)
		})
	}
}

func TestReadReturnsEOFAfterTheLastByte(t *testing.T) {
	forEachStream(t, func(t *testing.T, r, w int) {
		if n, err := Write(w, []byte("tail")); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		closeNow(t, w)

		var got []byte
		buf := make([]byte, 3)
		for {
			await(t, r, unix.POLLIN)
			n, err := Read(r, buf)
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			noError(t, err)
			if n == 0 {
				t.Fatal("Read returned 0 without an error")
			}
		}
		if string(got) != "tail" {
			t.Errorf("read %q before EOF", got)
		}
	})
}

func TestReadAndWriteWouldBlock(t *testing.T) {
	forEachStream(t, func(t *testing.T, r, w int) {
		within(t, "Read", func() {
			n, err := Read(r, make([]byte, 8))
			if n != 0 || err != ErrWouldBlock || !errors.Is(err, ErrWouldBlock) || !errors.Is(err, unix.EAGAIN) {
				t.Errorf("Read with nothing there: %d, %v", n, err)
			}
		})

		within(t, "Write", func() { fill(t, w, make([]byte, 1<<16)) })
		within(t, "Writev", func() {
			for { // room may have come back: the other side's system takes more
				n, err := Writev(w, [][]byte{make([]byte, 1<<16), make([]byte, 1<<16)})
				if n > 0 && err == nil {
					continue
				}
				if n != 0 || err != ErrWouldBlock {
					t.Errorf("Writev with no room: %d, %v", n, err)
				}
				return
			}
		})
	})
}

// fill writes until nothing more fits, and returns how much that was.
func fill(t testing.TB, w int, p []byte) (total int) {
	for {
		n, err := Write(w, p)
		total += n
		if err == ErrWouldBlock && n == 0 {
			return total
		}
		if err != nil || n == 0 {
			t.Errorf("Write after %d bytes: %d, %v", total, n, err)
			return total
		}
	}
}

func TestWriteToAGoneReaderIsEPIPE(t *testing.T) {
	for _, kind := range []string{"unix", "pipe"} {
		t.Run(kind, func(t *testing.T) {
			var r, w int
			var err error
			if kind == "unix" {
				r, w, err = SocketPair()
			} else {
				r, w, err = Pipe()
			}
			noError(t, err)
			closeAtEnd(t, w)
			noError(t, Close(r))

			if n, err := Write(w, []byte("x")); n != 0 || err != unix.EPIPE {
				t.Errorf("Write: %d, %v", n, err)
			}
			if n, err := Writev(w, [][]byte{[]byte("x"), []byte("y")}); n != 0 || err != unix.EPIPE {
				t.Errorf("Writev: %d, %v", n, err)
			}
		})
	}
}

func TestIOOnAClosedDescriptorIsEBADF(t *testing.T) {
	const never = 1 << 20
	for _, fd := range []int{-1, never} {
		_, err := Read(fd, make([]byte, 1))
		wantIs(t, "Read", err, unix.EBADF)
		_, err = Write(fd, []byte("x"))
		wantIs(t, "Write", err, unix.EBADF)
		_, err = Writev(fd, [][]byte{[]byte("x")})
		wantIs(t, "Writev", err, unix.EBADF)
		_, _, err = Accept(fd)
		wantIs(t, "Accept", err, unix.EBADF)
		_, _, err = RecvFrom(fd, make([]byte, 1))
		wantIs(t, "RecvFrom", err, unix.EBADF)
		_, err = LocalAddr(fd)
		wantIs(t, "LocalAddr", err, unix.EBADF)
		wantIs(t, "Close", Close(fd), unix.EBADF)
		wantIs(t, "SetNonblock", SetNonblock(fd, true), unix.EBADF)
		wantIs(t, "SetCloseOnExec", SetCloseOnExec(fd, true), unix.EBADF)
		if s := LocalString(fd); s != "?" {
			t.Errorf("LocalString: %q", s)
		}
	}
}

func TestEmptyBuffersMoveNothing(t *testing.T) {
	forEachStream(t, func(t *testing.T, r, w int) {
		for _, p := range [][]byte{nil, {}} {
			if n, err := Read(r, p); n != 0 || err != nil {
				t.Errorf("Read: %d, %v", n, err)
			}
			if n, err := Write(w, p); n != 0 || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
			if n, err := Writev(w, [][]byte{p, p}); n != 0 || err != nil {
				t.Errorf("Writev: %d, %v", n, err)
			}
		}
		if n, err := Writev(w, nil); n != 0 || err != nil {
			t.Errorf("Writev of nothing: %d, %v", n, err)
		}
	})
}

// writeAll writes p through write until all is gone.
func writeAll(t testing.TB, w int, write func([]byte) (int, error), p []byte) {
	for len(p) > 0 {
		n, err := write(p)
		p = p[n:]
		switch {
		case err == ErrWouldBlock && n == 0:
			await(t, w, unix.POLLOUT)
		case err != nil || n == 0:
			t.Errorf("write: %d, %v", n, err)
			return
		}
	}
}

func TestEveryByteArrivesInOrder(t *testing.T) {
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}

	// split cuts p into many buffers, more than one system call takes, of
	// lengths from 0 on.
	split := func(p []byte) (bufs [][]byte) {
		p = p[:min(len(p), 1<<17)]
		for i := 0; len(p) > 0; i++ {
			n := min(i%97, len(p))
			bufs = append(bufs, p[:n])
			p = p[n:]
		}
		return bufs
	}

	forEachStream(t, func(t *testing.T, r, w int) {
		for _, vectored := range []bool{false, true} {
			write := func(p []byte) (int, error) { return Write(w, p) }
			if vectored {
				write = func(p []byte) (int, error) {
					bufs := split(p)
					before := slices.Clone(bufs)
					n, err := Writev(w, bufs)
					for i := range bufs {
						if len(bufs[i]) != len(before[i]) {
							t.Error("Writev changed its argument")
						}
					}
					return n, err
				}
			}

			var wg sync.WaitGroup
			wg.Go(func() { writeAll(t, w, write, data) })
			got := readN(t, r, len(data))
			wg.Wait()

			if sha256.Sum256(got) != sha256.Sum256(data) {
				t.Errorf("vectored %v: the bytes differ", vectored)
			}
		}
	})
}

// readN reads n bytes.
func readN(t testing.TB, r, n int) []byte {
	got := make([]byte, 0, n)
	for len(got) < n {
		m, err := Read(r, got[len(got):n])
		got = got[:len(got)+m]
		if err == ErrWouldBlock {
			await(t, r, unix.POLLIN)
		} else if err != nil {
			t.Fatalf("Read after %d of %d bytes: %v", len(got), n, err)
		}
	}
	return got
}

func TestWritevTakesMoreThanIOV_MAXBuffers(t *testing.T) {
	r, w := socketPairT(t)

	bufs := make([][]byte, 3000)
	want := []byte{}
	for i := range bufs {
		bufs[i] = []byte{byte(i)}
		want = append(want, byte(i))
	}

	n, err := Writev(w, bufs)
	if n != len(bufs) || err != nil {
		t.Fatalf("Writev: %d, %v", n, err)
	}
	if got := readN(t, r, len(bufs)); !bytes.Equal(got, want) {
		t.Error("the bytes differ")
	}
}

func TestWritevOfMoreThanFitsIsShortWithoutAnError(t *testing.T) {
	_, w := socketPairT(t)

	// More than fits, in several system calls, of which the last finds no room.
	big := make([][]byte, 200)
	for i := range big {
		big[i] = make([]byte, 1<<16)
	}
	if n, err := Writev(w, big); n == 0 || n >= 200<<16 || err != nil {
		t.Errorf("Writev of more than fits: %d, %v", n, err)
	}
}

// collect runs the garbage collector, each time within patience, until it is
// told to stop: a raw system call that waited would stop it.
func collect(t *testing.T) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				runtime.GC()
			}
		}
	})
	return func() {
		close(end)
		within(t, "the garbage collector", wg.Wait)
	}
}

func TestReadsAndWritesDoNotStopTheGarbageCollector(t *testing.T) {
	forEachStream(t, func(t *testing.T, r, w int) {
		defer collect(t)()
		within(t, "reading and writing during collections", func() {
			buf := make([]byte, 1<<14)
			for range 50 {
				fill(t, w, buf)
				for {
					if _, err := Read(r, buf); err != nil {
						if err != ErrWouldBlock {
							t.Error(err)
						}
						break
					}
				}
			}
		})
	})
}

// What is blocking and no socket waits, as the plain call does: the caller
// alone. Other goroutines and the garbage collector go on.
func TestABlockingDescriptorHoldsUpItsCallerAlone(t *testing.T) {
	r, w := pipeT(t, 0, 0)
	full := func() (r, w int) {
		r, w = pipeT(t, 0, unix.O_NONBLOCK)
		fill(t, w, make([]byte, 1<<12))
		return r, blocking(t, w)
	}
	fullR, fullW := full()
	fullR2, fullW2 := full()
	ln := blocking(t, must(t)(Listen("tcp", "127.0.0.1:0")))

	for _, tt := range []struct {
		name       string
		call, free func() error
	}{
		{"Read", func() error { _, err := Read(r, make([]byte, 8)); return err },
			func() error { _, err := Write(w, []byte("x")); return err }},
		{"Write", func() error { _, err := Write(fullW, make([]byte, 1<<12)); return err },
			func() error { _, err := Read(fullR, make([]byte, 1<<16)); return err }},
		{"Writev", func() error { _, err := Writev(fullW2, [][]byte{make([]byte, 1<<12)}); return err },
			func() error { _, err := Read(fullR2, make([]byte, 1<<16)); return err }},
		{"Accept", func() error { fd, _, err := Accept(ln); Close(fd); return err },
			func() error { must(t)(Connect("tcp", LocalString(ln))); return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() { done <- tt.call() }()
			for range 10 {
				within(t, "a collection", runtime.GC)
			}
			select {
			case err := <-done:
				t.Fatal("it did not wait: ", err)
			default:
			}
			noError(t, tt.free())
			within(t, tt.name, func() {
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Under -race this fails if the detector does not learn that a byte read was
// written before.
func TestTheRaceDetectorSeesTheOrderThatASocketMakes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		read  func(fd int, p []byte) (int, error)
		write func(fd int, p []byte) (int, error)
	}{
		{"Read, Write", Read, Write},
		{"RecvFrom, Writev", func(fd int, p []byte) (int, error) { n, _, err := RecvFrom(fd, p); return n, err },
			func(fd int, p []byte) (int, error) { return Writev(fd, [][]byte{p}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			noError(t, err)
			defer ln.Close()
			fd := must(t)(Connect("tcp4", ln.Addr().String()))
			conn, err := ln.Accept()
			noError(t, err)
			defer conn.Close()

			shared := 0
			var wg sync.WaitGroup
			wg.Go(func() {
				shared = 1
				conn.Write([]byte("1"))
				conn.Read(make([]byte, 1))
				shared++
			})

			await(t, fd, unix.POLLIN)
			if n, err := tt.read(fd, make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("read %d, %v", n, err)
			}
			shared++
			if n, err := tt.write(fd, []byte("2")); n != 1 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			wg.Wait()

			if shared != 3 {
				t.Error("shared is", shared)
			}
		})
	}
}

func TestTheDataPathDoesNotAllocate(t *testing.T) {
	if !onLinux {
		t.Skip("only Linux promises this")
	}

	r, w := tcpPair(t)
	pr, pw := pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK)
	u := must(t)(Listen("udp", "127.0.0.1:0"))
	to, err := LocalAddr(u)
	noError(t, err)
	_, broken := pipeT(t, unix.O_NONBLOCK, unix.O_NONBLOCK)
	ln := must(t)(Listen("tcp", ":0"))
	buf := make([]byte, 64)
	vec := [][]byte{buf[:10], nil, buf[20:30]}

	calls := map[string]func(){
		"Write, Read":        func() { Write(w, buf); await0(t, r); Read(r, buf) },
		"Write, Read a pipe": func() { Write(pw, buf); Read(pr, buf) },
		"Writev":             func() { Writev(w, vec); await0(t, r); Read(r, buf) },
		"SendTo, RecvFrom":   func() { SendTo(u, buf, to); await0(t, u); RecvFrom(u, buf) },
		"would block":        func() { Read(r, buf); Read(pr, buf); RecvFrom(u, buf); Accept(ln) },
		"EBADF":              func() { Read(-1, buf); Write(-1, buf); LocalAddr(-1) },
		"addresses":          func() { LocalAddr(r); PeerAddr(r); LocalAddr(ln); PeerAddr(ln) },
		"queues":             func() { Unread(r); Unread(pr); Unsent(w); Unread(-1) },
		"a full pipe":        func() { Write(broken, buf) },
	}
	fill(t, broken, make([]byte, 1<<16))

	for name, f := range calls {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// await0 is await without allocations.
func await0(t testing.TB, fd int) {
	for {
		if ok, err := isReadable(fd); ok || err != nil {
			return
		}
		runtime.Gosched()
	}
}

func TestAcceptDoesNotAllocate(t *testing.T) {
	if !onLinux {
		t.Skip("only Linux promises this")
	}

	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln := must(t)(Listen("tcp", address))
		const runs = 20
		for range runs + 1 {
			must(t)(Connect("tcp", LocalString(ln)))
		}

		n := testing.AllocsPerRun(runs, func() {
			await0(t, ln)
			fd, _, err := Accept(ln)
			if err != nil {
				t.Error(err)
			}
			Close(fd)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", address, n)
		}
	}
}

func TestCloseWriteEndsOneDirection(t *testing.T) {
	a, b := tcpPair(t)
	noError(t, CloseWrite(a))
	await(t, b, unix.POLLIN)
	if _, err := Read(b, make([]byte, 1)); err != io.EOF {
		t.Errorf("Read at the other end: %v", err)
	}

	writeAll(t, b, func(p []byte) (int, error) { return Write(b, p) }, []byte("still"))
	if got := readN(t, a, 5); string(got) != "still" {
		t.Errorf("read %q", got)
	}
	if _, err := Write(a, []byte("x")); err != unix.EPIPE {
		t.Errorf("Write after CloseWrite: %v", err)
	}
}

// Close with unread input resets the connection and destroys what was written:
// the order that its documentation advises does not.
func TestClosingInTheAdvisedOrderLosesNothing(t *testing.T) {
	for _, advised := range []bool{true, false} {
		client, server := tcpPair(t)
		fill(t, client, make([]byte, 1<<12)) // input that nobody reads
		written := fill(t, server, make([]byte, 1<<16))

		var wg sync.WaitGroup
		if advised {
			noError(t, CloseWrite(server))
			wg.Go(func() {
				readToEnd(t, server)
				closeNow(t, server)
			})
		} else {
			closeNow(t, server)
		}
		got, err := readToEnd(t, client)
		if advised {
			noError(t, CloseWrite(client))
			wg.Wait()
			if got != written || err != io.EOF {
				t.Errorf("%d of %d bytes arrived, and %v", got, written, err)
			}
			continue
		}
		t.Logf("after Close alone %d of %d bytes arrived, and %v", got, written, err)
		if onLinux && (got == written || err == io.EOF) {
			t.Error("Close alone lost nothing: mend its documentation")
		}
	}
}

// readToEnd reads until the error that is not ErrWouldBlock.
func readToEnd(t testing.TB, fd int) (total int, err error) {
	buf := make([]byte, 1<<16)
	for {
		n, err := Read(fd, buf)
		total += n
		if err == ErrWouldBlock {
			await(t, fd, unix.POLLIN)
		} else if err != nil {
			return total, err
		}
	}
}
