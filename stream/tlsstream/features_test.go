package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
	"golang.org/x/sys/unix"
)

// connect has the loop dial with TLS, and returns what State says in Open, and how the
// connection ends.
func (r *rig) connect(config *tls.Config, addr string) (opened <-chan tls.ConnectionState, ended <-chan error) {
	r.t.Helper()
	states, ends := make(chan tls.ConnectionState, 1), make(chan error, 1)
	e := must(tlsstream.Client(config, tlsstream.Limits{}))
	r.do(func() {
		e.Dial(r.l, "tcp", addr, testutil.Patience, &stream.Handler{
			Open: func(c *stream.Conn) {
				s, _ := tlsstream.State(c)
				states <- s
				c.Write([]byte("hello"))
			},
			Data:  func(c *stream.Conn, p []byte) int { c.Close(); return len(p) },
			Close: func(_ *stream.Conn, err error) { ends <- err },
		})
	})
	return states, ends
}

// TestServerConfigs has the server's State agree with that of a Go client, for what a
// tls.Config can say.
func TestServerConfigs(t *testing.T) {
	var cookies atomic.Int32
	for name, change := range map[string]func(server, client *tls.Config){
		"Plain": func(_, _ *tls.Config) {},
		"ALPN":  func(s, c *tls.Config) { s.NextProtos, c.NextProtos = []string{"a", "b"}, []string{"b"} },
		"ClientCertificate": func(s, c *tls.Config) {
			s.ClientAuth, s.ClientCAs = tls.RequireAndVerifyClientCert, authority().pool
			c.Certificates = []tls.Certificate{leaf()}
		},
		"GetCertificate": func(s, _ *tls.Config) {
			s.Certificates = nil
			s.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if hello.ServerName != "example.test" || hello.Conn.RemoteAddr().String() == hello.Conn.LocalAddr().String() {
					return nil, errors.New(hello.ServerName + hello.Conn.RemoteAddr().String())
				}
				cert := leaf()
				return &cert, nil
			}
		},
		"GetConfigForClient": func(s, c *tls.Config) {
			other := s.Clone()
			other.NextProtos, c.NextProtos = []string{"x"}, []string{"x"}
			s.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return other, nil }
		},
		"HelloRetryRequest": func(s, c *tls.Config) {
			s.CurvePreferences = []tls.CurveID{tls.CurveP384}
			c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
		},
		"VerifyConnection": func(s, _ *tls.Config) {
			s.VerifyConnection = func(tls.ConnectionState) error { cookies.Add(1); return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			versions(t, func(t *testing.T, server, client *tls.Config) {
				change(server, client)
				r := newRig(t)
				states := make(chan tls.ConnectionState, 1)
				h := echo()
				h.Open = func(c *stream.Conn) {
					s, _ := tlsstream.State(c)
					states <- s
				}
				c := dialTLS(t, r.serve(server, tlsstream.Limits{}, h), client)
				exchange(t, c, "hello")
				got, want := wait(t, states, "Open"), c.ConnectionState()
				if !got.HandshakeComplete || got.Version != want.Version || got.CipherSuite != want.CipherSuite ||
					got.NegotiatedProtocol != want.NegotiatedProtocol || got.ServerName != want.ServerName || got.CurveID != want.CurveID {
					t.Errorf("State: %+v, the client's: %+v", got, want)
				}
				if n := len(got.PeerCertificates); n != len(client.Certificates) {
					t.Errorf("%d certificates of the client", n)
				}
			})
		})
	}
	if cookies.Load() != 2 {
		t.Error("VerifyConnection was not called")
	}
}

func TestResumptionAsServer(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		addr := r.serve(server, tlsstream.Limits{}, echo())
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true, true} {
			c := dialTLS(t, addr, client)
			exchange(t, c, "hello")
			if got := c.ConnectionState().DidResume; got != resumed {
				t.Errorf("resumed: %v", got)
			}
			c.Close()
		}
	})
}

func TestResumptionAsClient(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		addr := listenTLS(t, server, func(c *tls.Conn) { io.Copy(c, c) })
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true, true} {
			opened, ended := r.connect(client, addr)
			if s := wait(t, opened, "Open"); s.DidResume != resumed {
				t.Errorf("resumed: %v", s.DidResume)
			}
			wait(t, ended, "Close")
		}
	})
}

func TestClientConfigs(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, authority().pool
		server.NextProtos, client.NextProtos = []string{"a"}, []string{"b", "a"}
		client.Certificates = []tls.Certificate{leaf()}
		var keys bytes.Buffer
		client.KeyLogWriter = &keys
		client.ServerName = "" // the certificate is for 127.0.0.1 too
		opened, ended := r.connect(client, listenTLS(t, server, func(c *tls.Conn) { io.Copy(c, c) }))
		s := wait(t, opened, "Open")
		if s.NegotiatedProtocol != "a" || len(s.VerifiedChains) == 0 {
			t.Errorf("State: %+v", s)
		}
		wait(t, ended, "Close")
		if keys.Len() == 0 {
			t.Error("no key was logged")
		}
	})
}

// TestRefused is for handshakes that fail: Close alone is called, with the reason.
func TestRefused(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		t.Run("UnknownAuthority", func(t *testing.T) {
			r := newRig(t)
			client := client.Clone()
			client.RootCAs = x509.NewCertPool()
			opened, ended := r.connect(client, listenTLS(t, server, func(c *tls.Conn) { c.Handshake() }))
			if err := wait(t, ended, "Close"); !errors.As(err, new(x509.UnknownAuthorityError)) {
				t.Errorf("ended with %v", err)
			}
			if len(opened) > 0 {
				t.Error("Open was called")
			}
		})
		t.Run("WrongName", func(t *testing.T) {
			r := newRig(t)
			client := client.Clone()
			client.ServerName = "other.test"
			_, ended := r.connect(client, listenTLS(t, server, func(c *tls.Conn) { c.Handshake() }))
			if err := wait(t, ended, "Close"); !errors.As(err, new(x509.HostnameError)) {
				t.Errorf("ended with %v", err)
			}
		})
		t.Run("NoClientCertificate", func(t *testing.T) {
			r := newRig(t)
			server := server.Clone()
			server.ClientAuth = tls.RequireAnyClientCert
			h, ended := ends()
			h.Open = func(*stream.Conn) { t.Error("Open was called") }
			c := tls.Client(dial(t, r.serve(server, tlsstream.Limits{}, h)), client)
			c.Handshake()
			// The alert arrives, though the connection was closed behind it.
			if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
				t.Errorf("the client sees %v", err)
			}
			c.Close()
			if err := wait(t, ended, "Close"); err == nil || !strings.Contains(err.Error(), "didn't provide a certificate") {
				t.Errorf("ended with %v", err)
			}
		})
	})
	t.Run("NoCommonVersion", func(t *testing.T) {
		r := newRig(t)
		server, client := serverConfig(), clientConfig()
		server.MinVersion, client.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
		h, ended := ends()
		c := tls.Client(dial(t, r.serve(server, tlsstream.Limits{}, h)), client)
		if err := c.Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("the client sees %v", err)
		}
		c.Close()
		if err := wait(t, ended, "Close"); err == nil {
			t.Error("ended without an error")
		}
	})
}

func TestBadConfigs(t *testing.T) {
	for name, err := range map[string]error{
		"nil":             second(tlsstream.Server(nil, tlsstream.Limits{})),
		"no certificate":  second(tlsstream.Server(&tls.Config{}, tlsstream.Limits{})),
		"renegotiation":   second(tlsstream.Client(&tls.Config{Renegotiation: tls.RenegotiateOnceAsClient}, tlsstream.Limits{})),
		"handshakes < 0":  second(tlsstream.Client(nil, tlsstream.Limits{Handshakes: -1})),
		"computing < 0":   second(tlsstream.Client(nil, tlsstream.Limits{Computing: -1})),
		"timeout < 0":     second(tlsstream.Client(nil, tlsstream.Limits{Timeout: -1})),
		"input too small": second(tlsstream.Client(nil, tlsstream.Limits{Input: 1000})),
	} {
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := second(tlsstream.Client(nil, tlsstream.Limits{})); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestStartTLS changes over to TLS in the middle: what was written before goes out as
// it is, and input behind the last plain line is TLS's.
func TestStartTLS(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		e := must(tlsstream.Server(server, tlsstream.Limits{}))
		var calls []string
		secret := echo()
		secret.Open = func(*stream.Conn) { calls = append(calls, "secure") }
		var addr string
		r.do(func() {
			ln := must(r.l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, &stream.Handler{
				Open: func(c *stream.Conn) { calls = append(calls, "open") },
				Data: func(c *stream.Conn, p []byte) int {
					i := bytes.IndexByte(p, '\n')
					if i < 0 {
						return 0
					}
					c.Write([]byte("go ahead\n"))
					c.SetHandler(secret)
					c.SetLayer(e.Layer(c))
					c.Write([]byte("welcome"))
					return i + 1
				},
			}))
			addr = ln.Addr()
		})
		conn := dial(t, addr)
		c := tls.Client(&prefixed{Conn: conn, first: "STARTTLS\n", answer: "go ahead\n"}, client)
		expect(t, c, "welcome")
		exchange(t, c, "hello")
		r.do(func() {
			if !slices.Equal(calls, []string{"open", "secure"}) {
				t.Errorf("calls %v", calls)
			}
		})
	})
}
