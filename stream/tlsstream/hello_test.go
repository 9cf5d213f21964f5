package tlsstream_test

import (
	"crypto/tls"
	"net"
	"sync"
)

// clientHello is what a client of package tls sends first.
var clientHello = sync.OnceValue(func() []byte { return helloFor(clientConfig()) })

func helloFor(config *tls.Config) []byte {
	a, b := net.Pipe()
	defer a.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(a, config).Handshake()
	}()
	buf := make([]byte, 20<<10)
	n, err := b.Read(buf)
	if err != nil {
		panic(err)
	}
	b.Close()
	<-done
	return buf[:n]
}
