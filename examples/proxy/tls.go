package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

// front returns what makes TLS of a client's connection, or nil.
func (cfg config) front() (func(*stream.Conn) stream.Layer, error) {
	if cfg.cert == "" && cfg.key == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.cert, cfg.key)
	if err != nil {
		return nil, err
	}
	e, err := tlsstream.Server(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: cfg.protocols()}, tlsstream.Limits{})
	if err != nil {
		return nil, err
	}
	return e.Layer, nil
}

// back returns how to connect to the server for a client.
func (cfg config) back() (dial func(client *stream.Conn) *stream.Conn, err error) {
	server := &stream.Handler{Idle: cfg.idle, EOF: (*stream.Conn).Close} // Join does the rest
	if !cfg.toTLS {
		return func(client *stream.Conn) *stream.Conn {
			return client.Loop().Dial("tcp", cfg.to, cfg.connect, server)
		}, nil
	}

	var trusted *x509.CertPool // nil is the system's
	if cfg.toCA != "" {
		pem, err := os.ReadFile(cfg.toCA)
		if err != nil {
			return nil, err
		}
		if trusted = x509.NewCertPool(); !trusted.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", cfg.toCA)
		}
	}
	ends := map[string]*tlsstream.Endpoint{} // by what the client has agreed on
	for _, p := range append(cfg.protocols(), "") {
		config := &tls.Config{RootCAs: trusted}
		if p != "" {
			config.NextProtos = []string{p}
		}
		if ends[p], err = tlsstream.Client(config, tlsstream.Limits{}); err != nil {
			return nil, err
		}
	}
	return func(client *stream.Conn) *stream.Conn {
		state, _ := tlsstream.State(client)
		return ends[state.NegotiatedProtocol].Dial(client.Loop(), "tcp", cfg.to, cfg.connect, server)
	}, nil
}

func (cfg config) protocols() []string {
	return strings.FieldsFunc(cfg.alpn, func(r rune) bool { return r == ',' })
}
