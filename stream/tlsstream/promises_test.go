package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
	"golang.org/x/sys/unix"
)

// What package stream promises holds with TLS. That it holds with any Layer is shown
// there, for all of it; here is what TLS could break.

// TestSlowReaderGetsAll writes 24 MiB at once to a client that begins to read late.
func TestSlowReaderGetsAll(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		const size = 24 << 20
		r := newRig(t)
		drained := make(chan bool, 1)
		var conn *stream.Conn
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, &stream.Handler{
			Limit: size * 2,
			Open: func(c *stream.Conn) {
				conn = c
				c.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
				c.CloseWrite()
			},
			Drained: func(*stream.Conn) { drained <- true },
		}), client)
		expect(t, c, "0") // so it is open
		r.do(func() {
			if q := conn.Queued(); q < size/4 {
				t.Errorf("%d bytes wait", q)
			}
		})
		n, err := io.Copy(io.Discard, c)
		if n != size-1 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		wait(t, drained, "Drained")
	})
}

func TestSlowReaderIsCutOff(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	h.Limit = 1 << 20
	h.Open = func(c *stream.Conn) {
		for i := 0; c.Open(); i++ {
			if _, err := c.Write(make([]byte, 10_000)); err != nil && !errors.Is(err, stream.ErrSlow) || i > 10_000 {
				t.Errorf("write %d: %v", i, err)
				return
			}
		}
	}
	dialTLS(t, r.serve(serverConfig(), tlsstream.Limits{}, h), clientConfig())
	if err := wait(t, ended, "Close"); err != stream.ErrSlow {
		t.Errorf("ended with %v", err)
	}
}

// TestReadingStopsAtHigh has a client send without reading: it is stopped, and nothing
// is lost.
func TestReadingStopsAtHigh(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		const size = 24 << 20
		r := newRig(t)
		most := 0
		h := echo()
		h.Data = func(c *stream.Conn, p []byte) int {
			c.Write(p)
			most = max(most, c.Queued())
			return len(p)
		}
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, h), client)
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, size))
			sent <- err
			c.CloseWrite()
		}()
		time.Sleep(50 * time.Millisecond) // whether it is long enough changes nothing but what is tested
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := wait(t, sent, "the client"); err != nil {
			t.Error(err)
		}
		r.do(func() {
			if most > 512<<10 {
				t.Errorf("%d bytes have waited", most)
			}
		})
	})
}

// TestPauseInsideData pauses after each record's worth. What TLS has decrypted, or has
// still to, comes after Resume, and so does the end.
func TestPauseInsideData(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		var got bytes.Buffer
		ended := make(chan error, 1)
		held := &holding{off: true}
		held.Conn = dial(t, r.serve(server, tlsstream.Limits{}, &stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				n := min(len(p), 5000)
				got.Write(p[:n])
				c.Pause()
				r.el.CreateTimeEvent(0, func(*ae.EventLoop, ae.TimeEventID) time.Duration {
					c.Resume()
					return ae.NoMore
				})
				return n
			},
			Close: func(_ *stream.Conn, err error) { ended <- err },
		}))
		c := tls.Client(held, client)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		held.off = false
		want := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
		held.read = true // all that is written from here on goes in one segment, if it fits
		c.Write(want)
		c.CloseWrite()
		held.release(t)
		if err := wait(t, ended, "Close"); err != nil {
			t.Errorf("ended with %v", err)
		}
		if !bytes.Equal(want, got.Bytes()) {
			t.Errorf("%d bytes of %d", got.Len(), len(want))
		}
	})
}

// TestNeed reads a message of 1 MiB into one buffer.
func TestNeed(t *testing.T) {
	r := newRig(t)
	const size = 1 << 20
	calls := 0
	c := dialTLS(t, r.serve(serverConfig(), tlsstream.Limits{}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			if calls++; len(p) < size {
				c.Need(size)
				return 0
			}
			c.Write([]byte("thanks"))
			return len(p)
		},
	}), clientConfig())
	c.Write(make([]byte, size))
	expect(t, c, "thanks")
	r.do(func() {
		if calls > 2 {
			t.Errorf("Data was called %d times", calls)
		}
	})
}

// TestCloseFlushes closes with much to send, and a client that sends meanwhile.
func TestCloseFlushes(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		const size = 8 << 20
		h, ended := ends()
		h.Open = func(c *stream.Conn) {
			c.Write(make([]byte, size))
			c.Close()
		}
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, h), client)
		c.Write(make([]byte, 100_000))
		n, err := io.Copy(io.Discard, c)
		if n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		c.Close()
		if err := wait(t, ended, "Close"); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestHalfClose ends this side first, and goes on to receive.
func TestHalfClose(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		got, ended := "", make(chan error, 1)
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, &stream.Handler{
			Open: func(c *stream.Conn) {
				c.Write([]byte("all"))
				c.CloseWrite()
				if _, err := c.Write([]byte("x")); err != stream.ErrClosed {
					t.Errorf("Write after CloseWrite: %v", err)
				}
			},
			Data:  func(_ *stream.Conn, p []byte) int { got += string(p); return len(p) },
			EOF:   func(*stream.Conn) { got += "." },
			Close: func(_ *stream.Conn, err error) { ended <- err },
		}), client)
		if p, err := io.ReadAll(c); string(p) != "all" || err != nil {
			t.Errorf("%q, %v", p, err)
		}
		io.WriteString(c, "still ")
		io.WriteString(c, "here")
		c.Close()
		if err := wait(t, ended, "Close"); err != nil || got != "still here." {
			t.Errorf("%q, ended with %v", got, err)
		}
	})
}

func TestIdle(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	h.Idle = 100 * time.Millisecond
	h.Idled = func(c *stream.Conn) { c.Write([]byte("bye")); c.Close() }
	c := dialTLS(t, r.serve(serverConfig(), tlsstream.Limits{}, h), clientConfig())
	if p, err := io.ReadAll(c); string(p) != "bye" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	c.Close()
	wait(t, ended, "Close")
}

// TestBeforeSend holds replies back until it is asked.
func TestBeforeSend(t *testing.T) {
	r := newRig(t)
	dirty := false
	h := echo()
	h.Data = func(c *stream.Conn, p []byte) int { dirty = true; c.Write(p); return len(p) }
	addr := r.serve(serverConfig(), tlsstream.Limits{}, h)
	synced := 0
	r.do(func() {
		r.l.BeforeSend(func() bool {
			if dirty {
				synced++
			}
			dirty = false
			return true
		})
	})
	c := dialTLS(t, addr, clientConfig())
	for range 10 {
		exchange(t, c, "hello")
	}
	r.do(func() {
		if synced < 10 {
			t.Errorf("%d times asked", synced)
		}
	})
}

// TestBatchIsOneRecord has ten writes of one Data encrypted at once.
func TestBatchIsOneRecord(t *testing.T) {
	r := newRig(t)
	c := dialRaw(t, dial(t, r.serve(noTickets(), tlsstream.Limits{}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			for range 10 {
				c.Write([]byte("0123456789"))
			}
			return len(p)
		},
	})))
	c.send(typeData, []byte("x"))
	c.expect(typeData, bytes.Repeat([]byte("0123456789"), 10))
}

// TestJoin passes bytes on between TLS and plain connections, either way.
func TestJoin(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		const size = 4 << 20
		r := newRig(t)
		dialer := must(tlsstream.Client(client, tlsstream.Limits{}))
		backend := listenTLS(t, server, func(c *tls.Conn) {
			io.Copy(c, c)
			c.CloseWrite()
			io.Copy(io.Discard, c)
		})
		var middle string // plain, to the backend with TLS
		far := &stream.Handler{EOF: (*stream.Conn).Close}
		r.do(func() {
			ln := must(r.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, &stream.Handler{
				Open: func(c *stream.Conn) {
					stream.Join(c, dialer.Dial(r.l, "tcp", backend, testutil.Patience, far))
				},
			}))
			middle = ln.Addr()
		})
		front := r.serve(server, tlsstream.Limits{}, &stream.Handler{ // TLS, to the plain one
			Open: func(c *stream.Conn) {
				stream.Join(c, r.l.Dial("tcp", middle, testutil.Patience, far))
			},
		})
		c := dialTLS(t, front, client)
		go func() {
			c.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
			c.CloseWrite()
		}()
		n, err := io.Copy(io.Discard, c)
		if n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// TestJoinPassesTruncationOn has what was cut off on the TLS side look cut off on the
// plain one.
func TestJoinPassesTruncationOn(t *testing.T) {
	r := newRig(t)
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	addr := r.serve(serverConfig(), tlsstream.Limits{}, &stream.Handler{Open: func(c *stream.Conn) {
		stream.Join(c, r.l.Dial("tcp", ln.Addr().String(), testutil.Patience, &stream.Handler{EOF: (*stream.Conn).Close}))
	}})
	c := dialTLS(t, addr, clientConfig())
	plain := must(ln.Accept())
	defer plain.Close()
	plain.SetDeadline(testutil.Deadline())
	io.WriteString(c, "half")
	expect(t, plain, "half")
	c.NetConn().Close()
	if _, err := plain.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the plain side sees %v", err)
	}
}

// TestShutdown tells connections, and waits for those that are half open.
func TestShutdown(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	h.Shutdown = func(c *stream.Conn) { c.Write([]byte("bye")); c.Close() }
	addr := r.serve(serverConfig(), tlsstream.Limits{}, h)
	open := dialTLS(t, addr, clientConfig())
	exchange(t, open, "x")
	half := dial(t, addr)
	half.Write(clientHello()[:100])
	r.do(func() {})
	down := make(chan bool, 1)
	r.do(func() { r.l.Shutdown(testutil.Patience, func() { down <- true }) })
	if p, err := io.ReadAll(open); string(p) != "bye" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	open.Close()
	wait(t, ended, "Close")

	half.Close()
	wait(t, ended, "Close")
	wait(t, down, "the end of the shutdown")
}

// TestHandshakeOutlivesShutdown has a client whose handshake is under way when the
// loop shuts down served: its Open is called, and then its Shutdown.
func TestHandshakeOutlivesShutdown(t *testing.T) {
	r := newRig(t)
	asked, goOn := make(chan bool, 1), make(chan bool)
	server := serverConfig()
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- true
		<-goOn
		cert := leaf()
		return &cert, nil
	}
	server.Certificates = nil
	h, ended := ends()
	h.Open = func(c *stream.Conn) { c.Write([]byte("hello ")) }
	h.Shutdown = func(c *stream.Conn) { c.Write([]byte("and bye")); c.Close() }
	c := tls.Client(dial(t, r.serve(server, tlsstream.Limits{}, h)), clientConfig())
	done := make(chan string, 1)
	go func() {
		p, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		c.Close()
		done <- string(p)
	}()
	wait(t, asked, "GetCertificate")
	r.do(func() { r.l.Shutdown(testutil.Patience, nil) })
	close(goOn)
	if s := wait(t, done, "the client"); s != "hello and bye" {
		t.Errorf("%q", s)
	}
	if err := wait(t, ended, "Close"); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestGroupAndMoveTo serves on three loops, and moves connections on.
func TestGroupAndMoveTo(t *testing.T) {
	t.Cleanup(testutil.NoLeak(t))
	g := must(stream.NewGroup(3))
	e := must(tlsstream.Server(serverConfig(), tlsstream.Limits{}))
	loops := g.Loops()
	addr := must(g.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: e.Layer}, func(l *stream.Loop) *stream.Handler {
		h := echo()
		h.Data = func(c *stream.Conn, p []byte) int {
			c.Write(p)
			c.Post(func(c *stream.Conn) { // to the next loop
				for i, l := range loops {
					if l == c.Loop() {
						c.MoveTo(loops[(i+1)%len(loops)])
						return
					}
				}
			})
			return len(p)
		}
		return h
	})).Addr()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx, testutil.Patience) }()

	done := make(chan bool, 20)
	for range cap(done) {
		go func() {
			defer func() { done <- true }()
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(testutil.Deadline())
			c := tls.Client(conn, clientConfig())
			for range 20 {
				got := make([]byte, 5)
				if _, err := io.WriteString(c, "hello"); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		}()
	}
	for range cap(done) {
		wait(t, done, "a client")
	}
	cancel()
	if err := wait(t, ran, "the group"); err != nil {
		t.Error(err)
	}
}

// TestUnixSocket is TLS without TCP.
func TestUnixSocket(t *testing.T) {
	r := newRig(t)
	e := must(tlsstream.Server(serverConfig(), tlsstream.Limits{}))
	path := testutil.ShortDir(t) + "/s"
	r.do(func() {
		if _, err := r.l.Listen("unix", path, stream.ListenConfig{Layer: e.Layer}, echo()); err != nil {
			t.Error(err)
		}
	})
	conn := must(net.Dial("unix", path))
	defer conn.Close()
	conn.SetDeadline(testutil.Deadline())
	exchange(t, tls.Client(conn, clientConfig()), "hello")
}

// TestEarlyData is for a client that sends data in one segment with its Finished.
func TestEarlyData(t *testing.T) {
	r := newRig(t)
	held := &holding{Conn: dial(t, r.serve(serverConfig(), tlsstream.Limits{}, echo()))}
	c := tls.Client(held, clientConfig())
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if len(held.out) == 0 {
		t.Fatal("the Finished was not held back")
	}
	io.WriteString(c, "hello")
	c.CloseWrite()
	held.release(t)
	if p, err := io.ReadAll(c); string(p) != "hello" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
}

// TestClosedBeforeTheHandshake closes connections that were written, and others.
func TestClosedBeforeTheHandshake(t *testing.T) {
	r := newRig(t)
	got := make(chan string, 10)
	addr := listenTLS(t, serverConfig(), func(c *tls.Conn) {
		p, _ := io.ReadAll(c)
		got <- string(p)
	})
	e := must(tlsstream.Client(clientConfig(), tlsstream.Limits{}))
	ended := make(chan error, 2)
	h := &stream.Handler{
		Open:  func(*stream.Conn) { t.Error("Open was called") },
		Close: func(_ *stream.Conn, err error) { ended <- err },
	}
	r.do(func() {
		c := e.Dial(r.l, "tcp", addr, 0, h)
		c.Write([]byte("all of it"))
		c.Close()
		e.Dial(r.l, "tcp", addr, 0, h).Close()
	})
	for range 2 {
		if err := wait(t, ended, "Close"); err != nil {
			t.Errorf("ended with %v", err)
		}
	}
	for s := ""; s != "all of it"; {
		s = wait(t, got, "the server")
	}
}

// TestDialFails is TLS to where nobody listens.
func TestDialFails(t *testing.T) {
	r := newRig(t)
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ln.Close()
	_, ended := r.connect(clientConfig(), ln.Addr().String())
	if err := wait(t, ended, "Close"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("ended with %v", err)
	}
}

// TestDialTimesOut is TLS to somebody who accepts and says nothing.
func TestDialTimesOut(t *testing.T) {
	r := newRig(t)
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	e := must(tlsstream.Client(clientConfig(), tlsstream.Limits{Timeout: 50 * time.Millisecond}))
	ended := make(chan error, 1)
	r.do(func() {
		e.Dial(r.l, "tcp", ln.Addr().String(), 0, &stream.Handler{Close: func(_ *stream.Conn, err error) { ended <- err }})
	})
	if err := wait(t, ended, "Close"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
}

// TestFewAllocations is for echoes of a connection that is open: package tls allocates
// once for each record that it reads, and nothing else does.
func TestFewAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	el := must(ae.New(1000))
	defer el.Close()
	l := stream.On(el)
	defer l.Close()
	server, client := must(tlsstream.Server(serverConfig(), tlsstream.Limits{})), must(tlsstream.Client(clientConfig(), tlsstream.Limits{}))
	a, b, err := anet.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	message := make([]byte, 1000)
	s := must(l.Adopt(a, echo()))
	s.SetLayer(server.Layer(s))
	c := must(l.Adopt(b, &stream.Handler{
		Open: func(c *stream.Conn) { c.Write(message) },
		Data: func(_ *stream.Conn, p []byte) int { got += len(p); return len(p) },
	}))
	c.SetLayer(client.Layer(c))
	until := func(n int) {
		for end := testutil.Deadline(); got < n; {
			if _, err := el.ProcessEvents(ae.AllEvents | ae.CallBeforeSleep | ae.DontWait); err != nil || time.Now().After(end) {
				t.Fatal("no echo: ", err)
			}
		}
	}
	until(len(message))
	n := testing.AllocsPerRun(200, func() {
		got = 0
		c.Write(message)
		until(len(message))
	})
	if n > 2 {
		t.Errorf("%v allocations in an echo", n)
	}
}

// TestNoRoomForARecord leaves so much unused that the next record does not fit into the
// read buffer: package tls keeps the rest of it, and no event tells of that.
func TestNoRoomForARecord(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		first := false
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, &stream.Handler{
			Data: func(c *stream.Conn, p []byte) int {
				switch {
				case len(p) == 66_000:
					c.Write([]byte("all"))
					return len(p)
				case len(p) == 50_000 && !first:
					first = true
					c.Write([]byte("go on"))
				}
				return 0
			},
		}), client)
		c.Write(make([]byte, 50_000))
		expect(t, c, "go on")
		c.Write(make([]byte, 16_000))
		expect(t, c, "all")
	})
}
