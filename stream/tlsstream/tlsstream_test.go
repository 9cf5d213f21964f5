package tlsstream_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

func TestGoClientIsServed(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		h, ended := ends()
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, h), client)
		exchange(t, c, "hello")
		exchange(t, c, "again")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after close_notify: %d, %v, want its answer", n, err)
		}
		c.Close()
		if err := wait(t, ended, "Close"); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestGoServerIsReached(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		addr := listenTLS(t, server, func(c *tls.Conn) { io.Copy(c, c) })
		e := must(tlsstream.Client(client, tlsstream.Limits{}))
		got, ended := make(chan string, 10), make(chan error, 1)
		r.do(func() {
			c := e.Dial(r.l, "tcp", addr, 0, &stream.Handler{
				Open: func(c *stream.Conn) {
					if s, ok := tlsstream.State(c); !ok || s.Version != server.MaxVersion || s.ServerName != "example.test" {
						t.Errorf("State: %v, %+v", ok, s)
					}
				},
				Data: func(c *stream.Conn, p []byte) int {
					if len(p) < len("written early") {
						return 0
					}
					got <- string(p)
					c.Close()
					return len(p)
				},
				Close: func(_ *stream.Conn, err error) { ended <- err },
			})
			c.Write([]byte("written early"))
			if _, ok := tlsstream.State(c); ok {
				t.Error("State before the handshake")
			}
		})
		if s := wait(t, got, "the echo"); s != "written early" {
			t.Errorf("%q", s)
		}
		if err := wait(t, ended, "Close"); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestRandomPieces sends 1 MiB to an echo server in pieces that are cut at random, in
// both directions, and in TLS's records and in TCP's segments.
func TestRandomPieces(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		c := dialTLS(t, r.serve(server, tlsstream.Limits{}, echo()), client)
		rnd := rand.New(rand.NewPCG(1, 2))
		data := make([]byte, 1<<20)
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(1<<(1+rnd.IntN(16))))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			c.CloseWrite()
		}()
		h := sha256.New()
		if n, err := io.Copy(h, c); err != nil || n != int64(len(data)) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
			t.Error("what came back is not what was sent")
		}
	})
}

func TestHandshakeTimesOut(t *testing.T) {
	r := newRig(t)
	h, ended := ends()
	c := dial(t, r.serve(serverConfig(), tlsstream.Limits{Timeout: 50 * time.Millisecond}, h))
	if err := wait(t, ended, "Close"); err != stream.ErrTimeout {
		t.Errorf("ended with %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("still open")
	}
}
