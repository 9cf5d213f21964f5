package tlsstream_test

import (
	"crypto/tls"
	"net"
	"sync"
)

// clientHello is what a client of package tls sends first.
var clientHello = sync.OnceValue(func() []byte {
	a, b := net.Pipe()
	defer a.Close()
	go tls.Client(a, clientConfig()).Handshake()
	buf := make([]byte, 20<<10)
	n, err := b.Read(buf)
	if err != nil {
		panic(err)
	}
	b.Close()
	return buf[:n]
})
