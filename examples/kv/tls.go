package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/aeloop/ae/stream/tlsstream"
)

// tlsConfig is what the flags say of TLS. All but -tls-addr mean what Redis's
// settings of these names do; clients of both kinds can be served at once.
type tlsConfig struct {
	addr, cert, key, ca, authClients string
}

func (cfg *tlsConfig) addFlags(flags *flag.FlagSet) {
	flags.StringVar(&cfg.addr, "tls-addr", "", "listen for TLS on `host:port` too")
	flags.StringVar(&cfg.cert, "tls-cert-file", "", "the server's certificate, a PEM `file`")
	flags.StringVar(&cfg.key, "tls-key-file", "", "and its key, a PEM `file`")
	flags.StringVar(&cfg.ca, "tls-ca-cert-file", "", "the authorities that clients' certificates have to come from, a PEM `file`")
	flags.StringVar(&cfg.authClients, "tls-auth-clients", "yes", "whether clients need a certificate: `yes, no or optional`")
}

var clientAuth = map[string]tls.ClientAuthType{
	"no":       tls.NoClientCert,
	"optional": tls.VerifyClientCertIfGiven,
	"yes":      tls.RequireAndVerifyClientCert,
}

// endpoint returns what makes TLS of a connection.
func (cfg *tlsConfig) endpoint() (*tlsstream.Endpoint, error) {
	auth, ok := clientAuth[cfg.authClients]
	if !ok {
		return nil, fmt.Errorf("tls-auth-clients is yes, no or optional, not %q", cfg.authClients)
	}
	cert, err := tls.LoadX509KeyPair(cfg.cert, cfg.key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: auth}
	if auth != tls.NoClientCert {
		if cfg.ca == "" {
			return nil, errors.New("tls-auth-clients needs tls-ca-cert-file")
		}
		pem, err := os.ReadFile(cfg.ca)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", cfg.ca)
		}
	}
	return tlsstream.Server(config, tlsstream.Limits{})
}

// listenTLS begins to accept clients that speak TLS, and returns where.
func (s *server) listenTLS(cfg tlsConfig) (addr string, err error) {
	e, err := cfg.endpoint()
	if err != nil {
		return "", err
	}
	return s.accept("tcp", cfg.addr, e.Layer)
}
