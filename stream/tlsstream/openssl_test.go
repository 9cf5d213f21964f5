package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

// openssl is that command, under way: s_client or s_server, which take commands and
// data on their standard input.
type openssl struct {
	t   *testing.T
	in  io.WriteCloser
	cmd *exec.Cmd

	mu   sync.Mutex
	said bytes.Buffer
	done chan struct{}
}

func (o *openssl) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.Write(p)
}

func startOpenSSL(t *testing.T, args ...string) *openssl {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		testutil.SkipUnlessCI(t, "no openssl here")
	}
	testutil.NotEmulated(t, "openssl is another program")
	o := &openssl{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	o.cmd.Stdout, o.cmd.Stderr = o, o
	o.in = must(o.cmd.StdinPipe())
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { o.cmd.Wait(); close(o.done) }()
	t.Cleanup(func() { o.cmd.Process.Kill(); <-o.done })
	return o
}

// say writes a line, or a command, to its input.
func (o *openssl) say(line string) {
	o.t.Helper()
	if _, err := io.WriteString(o.in, line+"\n"); err != nil {
		o.t.Fatal(err)
	}
}

// hears waits until its output has what the expression matches.
func (o *openssl) hears(expr string) []string {
	o.t.Helper()
	re := regexp.MustCompile(expr)
	for end := testutil.Deadline(); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		text := o.said.String()
		o.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		if time.Now().After(end) {
			o.t.Fatalf("openssl does not say %q, but:\n%s", expr, text)
		}
	}
}

// files are the certificates of the tests, for openssl.
func files(t *testing.T) (ca, cert, key string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("ca", "CERTIFICATE", authority().cert.Raw), write("cert", "CERTIFICATE", leaf().Certificate[0]),
		write("key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(leaf().PrivateKey)))
}

// flags are those of openssl for the one version that a config has.
func flag(c *tls.Config) string {
	if c.MaxVersion == tls.VersionTLS12 {
		return "-tls1_2"
	}
	return "-tls1_3"
}

func TestOpenSSLClient(t *testing.T) {
	versions(t, func(t *testing.T, server, _ *tls.Config) {
		r := newRig(t)
		ca, cert, key := files(t)
		server.ClientAuth, server.ClientCAs, server.NextProtos = tls.RequireAndVerifyClientCert, authority().pool, []string{"b"}
		h, ended := ends()
		subjects := make(chan string, 10)
		h.Open = func(c *stream.Conn) {
			s, _ := tlsstream.State(c)
			subjects <- s.NegotiatedProtocol + " " + s.PeerCertificates[0].Subject.CommonName
		}
		args := []string{"s_client", flag(server), "-connect", r.serve(server, tlsstream.Limits{}, h), "-alpn", "a,b",
			"-servername", "example.test", "-CAfile", ca, "-verify_return_error", "-cert", cert, "-key", key}
		session := filepath.Join(t.TempDir(), "session")
		for _, c := range []struct{ arg, says string }{{"-sess_out", "New, TLSv1"}, {"-sess_in", "Reused, TLSv1"}} {
			o := startOpenSSL(t, append(args, c.arg, session)...)
			o.say("hello")
			o.hears("hello")
			o.hears(c.says)
			if s := wait(t, subjects, "Open"); s != "b "+leaf().Leaf.Subject.CommonName {
				t.Errorf("the client is %q", s)
			}
			if flag(server) == "-tls1_3" {
				for i, command := range []string{"k", "K", "K"} {
					o.say(command)
					o.hears(fmt.Sprintf(`(?s)(KEYUPDATE.*){%d}`, i+1))
					o.say(fmt.Sprint("after ", i))
					o.hears(fmt.Sprint("after ", i))
				}
			}
			o.say("Q")
			wait(t, o.done, "openssl")
			if err := wait(t, ended, "Close"); err != nil {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

// TestOpenSSLRenegotiates has a client of TLS 1.2 ask for what package tls refuses.
func TestOpenSSLRenegotiates(t *testing.T) {
	r := newRig(t)
	server := serverConfig()
	server.MaxVersion = tls.VersionTLS12
	h, ended := ends()
	o := startOpenSSL(t, "s_client", "-tls1_2", "-connect", r.serve(server, tlsstream.Limits{}, h))
	o.say("hello")
	o.hears("hello")
	o.say("R")
	wait(t, o.done, "openssl")
	if err := wait(t, ended, "Close"); err == nil {
		t.Error("ended without an error")
	}
}

func TestOpenSSLServer(t *testing.T) {
	versions(t, func(t *testing.T, server, client *tls.Config) {
		r := newRig(t)
		ca, cert, key := files(t)
		client.Certificates = []tls.Certificate{leaf()}
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		o := startOpenSSL(t, "s_server", flag(server), "-accept", "127.0.0.1:0", "-CAfile", ca, "-Verify", "2", "-verify_return_error", "-cert", cert, "-key", key)
		addr := o.hears(`ACCEPT (127.0.0.1:\d+)`)[1]
		e := must(tlsstream.Client(client, tlsstream.Limits{}))
		updates := 0
		for i := range 2 {
			got, ended, resumed := make(chan string, 100), make(chan error, 1), make(chan bool, 1)
			var conn *stream.Conn
			r.do(func() {
				conn = e.Dial(r.l, "tcp", addr, testutil.Patience, &stream.Handler{
					Open: func(c *stream.Conn) {
						s, _ := tlsstream.State(c)
						resumed <- s.DidResume
						fmt.Fprintf(c, "client %d\n", i)
					},
					Data:  func(c *stream.Conn, p []byte) int { got <- string(p); return len(p) },
					Close: func(_ *stream.Conn, err error) { ended <- err },
				})
			})
			o.hears(fmt.Sprint("client ", i))
			if did := wait(t, resumed, "Open"); did != (i > 0) {
				t.Errorf("resumed: %v", did)
			}
			for j := range 3 {
				if flag(server) == "-tls1_3" {
					o.say("K") // asks for our KeyUpdate too
					updates++
					o.hears(fmt.Sprintf(`(?s)(SSL_do_handshake -> 1.*){%d}`, updates))
				}
				o.say(fmt.Sprint("server ", j))
				for s := ""; !strings.Contains(s, fmt.Sprint("server ", j)); {
					s += wait(t, got, "what the server says")
				}
				r.do(func() { fmt.Fprintf(conn, "answer %d.%d\n", i, j) })
				o.hears(fmt.Sprintf(`answer %d.%d`, i, j))
			}
			if i == 0 {
				r.do(conn.Close)
			} else {
				o.say("Q") // which says nothing to the client
			}
			if err := wait(t, ended, "Close"); err != nil && (i == 0 || err != io.ErrUnexpectedEOF) {
				t.Errorf("ended with %v", err)
			}
		}
	})
}
