package tlsstream_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// authority signs all certificates of the tests.
var authority = sync.OnceValue(func() (a struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}) {
	a.key = newKey()
	a.cert = sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, a.key, a.key)
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
})

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func sign(c, parent *x509.Certificate, key crypto.Signer, by crypto.Signer) *x509.Certificate {
	c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	c.Subject = pkix.Name{CommonName: "ae " + c.SerialNumber.String()}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// certificate returns one for 127.0.0.1 and example.test.
func certificate(key crypto.Signer) tls.Certificate {
	a := authority()
	cert := sign(&x509.Certificate{
		DNSNames: []string{"example.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

var leaf = sync.OnceValue(func() tls.Certificate { return certificate(newKey()) })

func serverConfig() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{leaf()}} }

func clientConfig() *tls.Config {
	return &tls.Config{RootCAs: authority().pool, ServerName: "example.test"}
}

// versions runs a test for TLS 1.2 and 1.3, with configs of both sides.
func versions(t *testing.T, test func(t *testing.T, server, client *tls.Config)) {
	for name, v := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			server, client := serverConfig(), clientConfig()
			server.MinVersion, server.MaxVersion = v, v
			test(t, server, client)
		})
	}
}

// rig is a loop that runs in a goroutine of its own, and ends with the test.
type rig struct {
	t  *testing.T
	el *ae.EventLoop
	l  *stream.Loop
	on chan struct{} // closed when it has ended
}

func newRig(t *testing.T) *rig {
	t.Helper()
	testutil.StartPoller()
	goroutines := runtime.NumGoroutine()
	t.Cleanup(testutil.NoLeak(t))
	t.Cleanup(func() { testutil.GoroutinesComeTo(t, goroutines) })
	el, err := ae.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, el: el, l: stream.On(el), on: make(chan struct{})}
	go func() {
		defer close(r.on)
		if err := el.Main(); err != nil {
			t.Error(err)
		}
		r.l.Close()
		if err := el.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

// stop ends the loop, and all that is on it.
func (r *rig) stop() {
	r.t.Helper()
	r.el.Stop()
	r.wait(r.on, "the end of the loop")
}

// do runs fn on the loop, and waits for it.
func (r *rig) do(fn func()) {
	r.t.Helper()
	done := make(chan struct{})
	if err := r.el.Post(func(*ae.EventLoop) { defer close(done); fn() }); err != nil {
		r.t.Fatal(err)
	}
	r.wait(done, "the loop")
}

func (r *rig) wait(ch <-chan struct{}, what string) {
	r.t.Helper()
	wait(r.t, ch, what)
}

// wait receives from ch, in time.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(testutil.Patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("waited in vain for %s\n%s", what, buf[:runtime.Stack(buf, true)])
	}
	return v
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// serve listens with TLS, and returns the address.
func (r *rig) serve(config *tls.Config, limits tlsstream.Limits, h *stream.Handler) (addr string) {
	r.t.Helper()
	return r.listen(must(tlsstream.Server(config, limits)), h)
}

func (r *rig) listen(e *tlsstream.Endpoint, h *stream.Handler) (addr string) {
	r.t.Helper()
	r.do(func() {
		ln, err := r.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: e.Layer}, h)
		if err != nil {
			r.t.Error(err)
			return
		}
		addr = ln.Addr()
	})
	return addr
}

// dial connects, without TLS.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(testutil.Deadline())
	return c.(*net.TCPConn)
}

// dialTLS connects, and makes the handshake.
func dialTLS(t testing.TB, addr string, config *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, addr), config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends s, and expects it back.
func exchange(t testing.TB, c io.ReadWriter, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
	expect(t, c, s)
}

// expect reads s.
func expect(t testing.TB, c io.Reader, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != s {
		t.Fatalf("%.40q, %v, want %.40q", got[:n], err, s)
	}
}

// echo is a Handler that sends back what comes, and the end.
func echo() *stream.Handler {
	return &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) },
		EOF:  (*stream.Conn).Close,
	}
}

// ends is echo, with why connections ended.
func ends() (h *stream.Handler, ended <-chan error) {
	ch := make(chan error, 10_000)
	h = echo()
	h.Close = func(_ *stream.Conn, err error) { ch <- err }
	return h, ch
}

// listenTLS is a server of package net, which serves each connection with fn.
func listenTLS(t *testing.T, config *tls.Config, fn func(c *tls.Conn)) (addr string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				c.SetDeadline(testutil.Deadline())
				fn(c.(*tls.Conn))
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// prefixed sends something in front of what it sends first, in one segment, and drops
// the answer to it.
type prefixed struct {
	net.Conn
	first, answer string
}

func (c *prefixed) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append([]byte(c.first), p...))
	n -= len(c.first)
	c.first = ""
	return n, err
}

func (c *prefixed) Read(p []byte) (int, error) {
	if c.answer != "" {
		got := make([]byte, len(c.answer))
		if _, err := io.ReadFull(c.Conn, got); err != nil || string(got) != c.answer {
			return 0, errors.Join(err, errors.New("no answer"))
		}
		c.answer = ""
	}
	return c.Conn.Read(p)
}

// holding is the socket of a client that keeps its second flight back: what it writes
// after it has read.
type holding struct {
	net.Conn
	off, read, released bool
	out                 []byte
}

func (c *holding) Read(p []byte) (int, error) {
	c.read = true
	return c.Conn.Read(p)
}

func (c *holding) Write(p []byte) (int, error) {
	if c.off || !c.read || c.released {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *holding) release(t testing.TB) {
	c.released = true
	c.SetDeadline(testutil.Deadline()) // close_notify has set one that has passed
	if _, err := c.Conn.Write(c.out); err != nil {
		t.Fatal(err)
	}
}

// adopt makes a connection of a copy of conn's descriptor.
func adopt(t testing.TB, l *stream.Loop, conn *net.TCPConn, h *stream.Handler) *stream.Conn {
	fd, err := anet.Descriptor(conn)
	if err != nil {
		t.Fatal(err)
	}
	return must(l.Adopt(fd, h))
}

// until waits for what no event tells.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := testutil.Deadline(); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}
