package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
	"golang.org/x/sys/unix"
)

// noTickets is a server's config for rawClient.
func noTickets() *tls.Config {
	c := serverConfig()
	c.SessionTicketsDisabled = true
	return c
}

// raw returns a rawClient of an echo server, and how the connection ends.
func (r *rig) raw() (c *rawClient, ended <-chan error) {
	r.t.Helper()
	h, ended := ends()
	return dialRaw(r.t, dial(r.t, r.serve(noTickets(), tlsstream.Limits{}, h))), ended
}

// TestWhatPeersMaySend is what must neither end a connection nor lose a byte.
func TestWhatPeersMaySend(t *testing.T) {
	pieces := func(c *rawClient, p []byte) {
		for i := range p {
			c.write(p[i : i+1])
		}
	}
	for name, send := range map[string]func(c *rawClient){
		"KeyUpdate": func(c *rawClient) {
			c.write(c.update(false))
			c.send(typeData, []byte("x"))
			c.expect(typeData, []byte("x"))
		},
		"KeyUpdateInBytes": func(c *rawClient) {
			pieces(c, c.update(true))
			pieces(c, c.record(typeData, []byte("x")))
			c.expect(typeHandshake, keyUpdate(false))
			c.in.update()
			c.expect(typeData, []byte("x"))
		},
		"KeyUpdateInTwoRecords": func(c *rawClient) {
			message := keyUpdate(true)
			c.send(typeHandshake, message[:2])
			c.send(typeHandshake, message[2:])
			c.out.update()
			c.send(typeData, []byte("x"))
			c.expect(typeHandshake, keyUpdate(false))
			c.in.update()
			c.expect(typeData, []byte("x"))
		},
		"UserCanceled": func(c *rawClient) { c.send(typeAlert, []byte{1, alertUserCanceled}) },
		"DataAndPartOfAnAlert": func(c *rawClient) {
			alert := []byte{1, alertUserCanceled}
			p := append(c.record(typeData, []byte("x")), c.record(typeAlert, alert)...)
			c.write(p[:len(p)-1])
			c.expect(typeData, []byte("x"))
			c.write(p[len(p)-1:])
		},
		"EmptyRecords": func(c *rawClient) {
			for range 10 {
				c.send(typeData, nil)
			}
		},
		"LongestRecord": func(c *rawClient) {
			p := bytes.Repeat([]byte("x"), 16<<10)
			pieces(c, c.record(typeData, p)[:50])
			c.out.seq--
			c.write(c.record(typeData, p)[50:])
			for got := 0; got < len(p); {
				_, q, err := c.receive()
				if err != nil {
					c.t.Fatal(err)
				}
				got += len(q)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, ended := newRig(t).raw()
			send(c)
			c.send(typeData, []byte("more"))
			c.expect(typeData, []byte("more"))
			c.send(typeAlert, []byte{1, alertCloseNotify})
			c.expectAlert(alertCloseNotify)
			c.conn.Close()
			if err := wait(t, ended, "Close"); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// TestWhatEndsAConnection also sees to it that the last alert arrives, with input
// unread behind what it is for.
func TestWhatEndsAConnection(t *testing.T) {
	remote := func(err error) bool {
		var op *net.OpError
		return errors.As(err, &op) && op.Op == "remote error"
	}
	local := func(err error) bool { return err != nil && strings.Contains(err.Error(), "tls: ") }
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	const nothing = 255
	for name, c := range map[string]struct {
		send  func(c *rawClient)
		alert byte
		ended func(error) bool
	}{
		"BadMAC": {func(c *rawClient) {
			p := c.record(typeData, []byte("x"))
			p[len(p)-1]++
			c.write(append(p, bytes.Repeat([]byte("unread"), 10_000)...))
		}, alertBadRecordMAC, local},
		"TooLongRecord":    {func(c *rawClient) { c.write([]byte{typeData, 3, 3, 0xff, 0xff}) }, alertRecordOverflow, local},
		"TooLongPlaintext": {func(c *rawClient) { c.send(typeData, make([]byte, 16<<10+1)) }, alertRecordOverflow, local},
		"NoRecord":         {func(c *rawClient) { c.write([]byte("GET / HTTP/1.1\r\n\r\n")) }, 70, local},
		"FatalAlert":       {func(c *rawClient) { c.send(typeAlert, []byte{2, 80}) }, nothing, remote},
		"BadAlert":         {func(c *rawClient) { c.send(typeAlert, []byte{2}) }, alertUnexpected, local},
		"UnknownType":      {func(c *rawClient) { c.send(99, []byte("x")) }, alertUnexpected, local},
		"UnknownMessage":   {func(c *rawClient) { c.send(typeHandshake, []byte{99, 0, 0, 0}) }, alertUnexpected, local},
		"SecondHello":      {func(c *rawClient) { c.send(typeHandshake, clientHello()[5:]) }, alertUnexpected, local},
		"LongMessage":      {func(c *rawClient) { c.send(typeHandshake, []byte{24, 0xff, 0xff, 0xff}) }, 80, local},
		"KeyUpdateFlood": {func(c *rawClient) {
			var p []byte
			for range 100 {
				p = append(p, c.update(false)...)
			}
			c.write(p)
		}, alertUnexpected, local},
		"EmptyRecordFlood": {func(c *rawClient) {
			var p []byte
			for range 100 {
				p = append(p, c.record(typeData, nil)...)
			}
			c.write(p)
		}, alertUnexpected, local},
		"AlertFlood": {func(c *rawClient) {
			var p []byte
			for range 100 {
				p = append(p, c.record(typeAlert, []byte{1, alertUserCanceled})...)
			}
			c.write(p)
		}, alertUnexpected, local},
		"Truncation": {func(c *rawClient) {
			c.send(typeData, []byte("x"))
			c.expect(typeData, []byte("x"))
			c.conn.(*net.TCPConn).CloseWrite()
		}, alertCloseNotify, is(io.ErrUnexpectedEOF)},
		"TruncationInARecord": {func(c *rawClient) {
			c.write(c.record(typeData, []byte("x"))[:10])
			c.conn.(*net.TCPConn).CloseWrite()
		}, alertCloseNotify, is(io.ErrUnexpectedEOF)},
		"Reset": {func(c *rawClient) {
			c.conn.(*net.TCPConn).SetLinger(0)
			c.conn.Close()
		}, nothing, is(unix.ECONNRESET)},
	} {
		t.Run(name, func(t *testing.T) {
			raw, ended := newRig(t).raw()
			c.send(raw)
			if c.alert == alertCloseNotify { // the echo server does not say it: what was sent may be half of it
				if _, _, err := raw.receive(); err != io.EOF {
					t.Errorf("after a truncation: %v", err)
				}
			} else if c.alert != nothing {
				raw.expectAlert(c.alert)
			}
			raw.conn.Close()
			if err := wait(t, ended, "Close"); !c.ended(err) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// TestUpdateRequestsAreBounded is for KeyUpdates with data between, which are no
// flood to package tls, from a client that never reads the answers.
func TestUpdateRequestsAreBounded(t *testing.T) {
	r := newRig(t)
	var conn *stream.Conn
	addr := r.serve(noTickets(), tlsstream.Limits{}, &stream.Handler{
		Open: func(c *stream.Conn) {
			conn = c
			anet.SetSendBuffer(c.FD(), 1)
		},
		Data: func(_ *stream.Conn, p []byte) int { return len(p) },
	})
	tcp := dial(t, addr)
	tcp.SetReadBuffer(4096)
	c := dialRaw(t, tcp)
	var err error
	for range 200 {
		var p []byte
		for range 1000 {
			p = append(p, c.update(true)...)
			p = append(p, c.record(typeData, []byte("x"))...)
		}
		tcp.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err = tcp.Write(p); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("200,000 KeyUpdates are read without an answer being taken")
	}
	r.do(func() {
		if q := conn.Queued(); q > 256<<10 {
			t.Errorf("%d bytes of answers wait", q)
		}
	})
}

// TestHalfOpen has clients stop, end and reset at lengths of their ClientHello.
func TestHalfOpen(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	addr := r.serve(serverConfig(), tlsstream.Limits{Timeout: time.Hour}, h)
	hello := clientHello()
	step := 41
	if testutil.Long() {
		step = 1
	}
	before := runtime.NumGoroutine()
	var stopped []net.Conn
	for n := 0; n < len(hello); n += step {
		for _, how := range []string{"stop", "end", "reset"} {
			c := dial(t, addr)
			c.Write(hello[:n])
			switch how {
			case "stop":
				stopped = append(stopped, c)
				continue
			case "reset":
				c.SetLinger(0)
			}
			c.Close()
			err := wait(t, ended, "Close")
			if ok := errors.Is(err, io.ErrUnexpectedEOF) || how == "reset" && errors.Is(err, unix.ECONNRESET); !ok {
				t.Errorf("%d bytes, then %s: %v", n, how, err)
			}
		}
	}
	r.do(func() {
		if n := r.l.Len(); n != len(stopped) {
			t.Errorf("%d connections of %d", n, len(stopped))
		}
	})
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d: for clients that have not sent a ClientHello", n, before)
	}
	for _, c := range stopped {
		c.Close()
		wait(t, ended, "Close")
	}
}

// TestNoTLS is for clients that speak something else.
func TestNoTLS(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	addr := r.serve(serverConfig(), tlsstream.Limits{}, h)
	for _, s := range []string{"GET / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\x80\x2e\x01\x03\x03", "\x16EEEE"} {
		c := dial(t, addr)
		io.WriteString(c, s)
		io.Copy(io.Discard, c)
		c.Close()
		if err := wait(t, ended, "Close"); !errors.As(err, new(tls.RecordHeaderError)) {
			t.Errorf("%q: ended with %v", s, err)
		}
	}
}

// TestFragmentedHello has a ClientHello in many records begin no handshake before its
// last byte.
func TestFragmentedHello(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	addr := r.serve(serverConfig(), tlsstream.Limits{}, h)
	message := clientHello()[5:]
	var p []byte
	for i := 0; i < len(message); i += 10 {
		part := message[i:min(i+10, len(message))]
		p = append(append(p, typeHandshake, 3, 1, 0, byte(len(part))), part...)
	}
	before := runtime.NumGoroutine()
	c := dial(t, addr)
	c.Write(p[:len(p)-1])
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d", n, before)
	}
	c.Write(p[len(p)-1:])
	if n, err := c.Read(make([]byte, 5)); n != 5 || err != nil {
		t.Errorf("no ServerHello: %v", err)
	}
	c.Close()
	wait(t, ended, "Close")
}
