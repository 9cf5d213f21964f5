package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
)

// TestTLS has package net/http speak HTTP/1.1, with connections that are used again,
// and HTTP/2, to a server of its own, with TLS on either side of the proxy and on both.
func TestTLS(t *testing.T) {
	id := testutil.NewIdentity(t)
	for _, c := range []struct {
		name        string
		front, back bool
		alpn        string
		proto       string
	}{
		{"ToTheProxy", true, false, "", "HTTP/1.1"},
		{"ToTheServer", false, true, "", "HTTP/1.1"},
		{"Both", true, true, "", "HTTP/1.1"},
		{"BothAgreeOnHTTP1", true, true, "http/1.1", "HTTP/1.1"},
		{"BothAgreeOnHTTP2", true, true, "h2,http/1.1", "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg config
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Proto", r.Proto)
				body, _ := io.ReadAll(r.Body) // all of it first: HTTP/1.1 is not for both at once
				w.Write(body)
			}))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{id.Pair}}
			s.EnableHTTP2 = true
			if c.back {
				s.StartTLS()
				cfg.toTLS, cfg.toCA = true, id.Cert
			} else {
				s.Start()
			}
			defer s.Close()
			scheme := "http"
			if c.front {
				scheme = "https"
				cfg.cert, cfg.key = id.Cert, id.Key
			}
			cfg.to, cfg.alpn = s.Listener.Addr().String(), c.alpn
			addr, _ := start(t, cfg)

			var dialed int
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: id.Pool}, ForceAttemptHTTP2: true,
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					dialed++
					return new(net.Dialer).DialContext(ctx, network, addr)
				},
			}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for i := range 10 {
				body := strings.Repeat("x", 1<<(2*i))
				resp, err := client.Post(scheme+"://"+addr, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				if _, err := io.Copy(&got, resp.Body); err != nil || got.String() != body {
					t.Fatalf("%d bytes of %d, %v", got.Len(), len(body), err)
				}
				resp.Body.Close()
				if p := resp.Header.Get("Proto"); p != c.proto {
					t.Errorf("the server was spoken to in %s", p)
				}
			}
			if dialed != 1 {
				t.Errorf("%d connections", dialed)
			}
		})
	}
}

// TestAServerThatIsNotTrusted ends the client's connection.
func TestAServerThatIsNotTrusted(t *testing.T) {
	id, other := testutil.NewIdentity(t), testutil.NewIdentity(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.Pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	addr, _ := start(t, config{to: ln.Addr().String(), toTLS: true, toCA: other.Cert})
	if n, err := dial(t, addr).Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes", n)
	}
}

func TestBadTLSFiles(t *testing.T) {
	id := testutil.NewIdentity(t)
	for _, cfg := range []config{
		{cert: "/nobody/is/here", key: id.Key},
		{cert: id.Cert},
		{cert: id.Cert, key: id.Cert},
		{toTLS: true, toCA: "/nobody/is/here"},
		{toTLS: true, toCA: id.Key},
	} {
		cfg.listen, cfg.to, cfg.loops = "127.0.0.1:0", "127.0.0.1:1", 1
		if err := serve(t.Context(), cfg, io.Discard); err == nil {
			t.Errorf("no error for %s", fmt.Sprint(cfg))
		}
	}
}

// TestCurl has curl fetch and send megabytes over TLS 1.2 and 1.3 and HTTP/1.1 and
// HTTP/2, through two proxies: the first decrypts, and the second encrypts again.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		testutil.SkipUnlessCI(t, "no curl here")
	}
	id := testutil.NewIdentity(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{id.Pair}}
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	body := make([]byte, 3<<20)
	rand.Read(body)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ alpn, flag, proto string }{{"h2", "--http2", "2"}, {"http/1.1", "--http1.1", "1.1"}} {
		second, _ := start(t, config{to: s.Listener.Addr().String(), toTLS: true, toCA: id.Cert, cert: id.Cert, key: id.Key, alpn: c.alpn})
		addr, _ := start(t, config{to: second, toTLS: true, toCA: id.Cert, cert: id.Cert, key: id.Key, alpn: c.alpn, loops: 2})
		for _, version := range []string{"1.2", "1.3"} {
			var out, errs bytes.Buffer
			cmd := exec.Command(curl, "-sS", "--max-time", "60", "--cacert", id.Cert, "--tls-max", version, c.flag, "--data-binary", "@"+file,
				"-w", "%{stderr}%{http_version}", "https://"+addr, "https://"+addr)
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil || !bytes.Equal(out.Bytes(), append(body[:len(body):len(body)], body...)) || errs.String() != c.proto+c.proto {
				t.Errorf("TLS %s, HTTP/%s: %d bytes, %v %s", version, c.proto, out.Len(), err, errs.String())
			}
		}
	}
}
