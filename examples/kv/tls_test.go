package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
)

// Clients with TLS and without are served at once, and who has to show a certificate
// is as the flag says.
func TestTLSClientsAreServed(t *testing.T) {
	id := testutil.NewIdentity(t)
	cfg := tlsConfig{addr: "127.0.0.1:0", cert: id.Cert, key: id.Key, ca: id.Cert}
	for _, c := range []struct {
		auth        string
		with, alone bool // a client with a certificate, and one without, is served
	}{{"yes", true, false}, {"optional", true, true}, {"no", true, true}} {
		cfg.authClients = c.auth
		var addr string
		s := startServer(t, func(s *server) {
			var err error
			if addr, err = s.listenTLS(cfg); err != nil {
				t.Fatal(err)
			}
		})
		dial(t, s).cmd("SET k plain")

		for _, client := range []struct {
			certs  []tls.Certificate
			served bool
		}{{[]tls.Certificate{id.Pair}, c.with}, {nil, c.alone}} {
			nc, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: id.Pool, Certificates: client.certs})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(deadline())
			value := bytes.Repeat([]byte("v"), 1<<20)
			in := bufio.NewReader(nc)
			nc.Write([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1048576\r\n"))
			nc.Write(append(value, "\r\nGET b\r\n"...))
			line, err := in.ReadString('\n')
			if !client.served {
				if err == nil {
					t.Errorf("%s: a client without a certificate is answered %q", c.auth, line)
				}
				continue
			}
			rest := make([]byte, len("plain\r\n+OK\r\n$1048576\r\n")+len(value))
			if _, err := io.ReadFull(in, rest); err != nil || line != "$5\r\n" || !bytes.HasSuffix(rest, value) {
				t.Errorf("%s: %q, then %.40q, %v", c.auth, line, rest, err)
			}
		}
		s.stop()
	}
}

func TestBadTLSFlagsAreErrors(t *testing.T) {
	id := testutil.NewIdentity(t)
	good := tlsConfig{cert: id.Cert, key: id.Key, ca: id.Cert, authClients: "yes"}
	for name, spoil := range map[string]func(*tlsConfig){
		"no certificate":       func(c *tlsConfig) { c.cert = "" },
		"no authorities":       func(c *tlsConfig) { c.ca = "" },
		"a key as authorities": func(c *tlsConfig) { c.ca = c.key },
		"maybe":                func(c *tlsConfig) { c.authClients = "maybe" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := cfg.endpoint(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := good.endpoint(); err != nil {
		t.Error(err)
	}
}
