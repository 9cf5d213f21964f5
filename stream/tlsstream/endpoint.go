package tlsstream

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/aeloop/ae/stream"
	"golang.org/x/sys/unix"
)

// Endpoint is what connections with the same tls.Config share. Any number of
// listeners and loops may use it, from any goroutine.
type Endpoint struct {
	config    *tls.Config
	client    bool
	limits    Limits
	slots     slots
	computing tokens
}

// Limits bounds what peers can cost that have not shown who they are. The zero value
// is right for most programs.
type Limits struct {
	// Handshakes is how many may be under way at once. Each has a goroutine then,
	// which costs some 30 kB; a server's begins when the whole ClientHello is there.
	// More of them wait in turn, within their Timeout. 0 is 1000.
	Handshakes int

	// Computing is how many of them may compute at once, so that the loops keep a
	// processor. 0 is GOMAXPROCS-1, but at least 1. One that computes for 100 ms
	// is taken to wait for something, in a callback of the tls.Config, and does not
	// count any more.
	Computing int

	// Timeout is how long a handshake may take, from when the socket is connected.
	// A connection that takes longer ends with stream.ErrTimeout. 0 is 10 s.
	Timeout time.Duration

	// Input is how many bytes may wait for a handshake before the socket is not read
	// any more. 0 is 20 KiB, which is also the least: room for the longest record.
	Input int
}

const minInput = 20 << 10

// Server returns an Endpoint for servers: its Layer is for stream.ListenConfig. config
// is used as it is, and as package tls says: it may be shared, and must not be
// changed, but for its session ticket keys. The error is unix.EINVAL for a config
// without a certificate, and for bad Limits.
func Server(config *tls.Config, limits Limits) (*Endpoint, error) {
	if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nil, fmt.Errorf("tlsstream: a server without a certificate: %w", unix.EINVAL)
	}
	return newEndpoint(config, limits, false)
}

// Client returns an Endpoint for clients. A nil config is the zero tls.Config, which
// trusts the system's authorities. The error is unix.EINVAL for bad Limits, and for a
// config that allows renegotiation, which this package does not do.
func Client(config *tls.Config, limits Limits) (*Endpoint, error) {
	if config == nil {
		config = &tls.Config{}
	}
	if config.Renegotiation != tls.RenegotiateNever {
		return nil, fmt.Errorf("tlsstream: a client that renegotiates: %w", unix.EINVAL)
	}
	return newEndpoint(config, limits, true)
}

func newEndpoint(config *tls.Config, limits Limits, client bool) (*Endpoint, error) {
	set := func(v *int, zero int) {
		if *v == 0 {
			*v = zero
		}
	}
	set(&limits.Handshakes, 1000)
	set(&limits.Computing, max(1, runtime.GOMAXPROCS(0)-1))
	set(&limits.Input, minInput)
	if limits.Timeout == 0 {
		limits.Timeout = 10 * time.Second
	}
	if limits.Handshakes < 0 || limits.Computing < 0 || limits.Timeout < 0 || limits.Input < minInput {
		return nil, fmt.Errorf("tlsstream: bad Limits: %w", unix.EINVAL)
	}
	e := &Endpoint{config: config, client: client, limits: limits}
	e.slots.free, e.computing.free = limits.Handshakes, limits.Computing
	return e, nil
}

// Layer returns the TLS side of a connection: for stream.ListenConfig.Layer, or for
// stream.Conn.SetLayer where a protocol changes over to TLS. Open is called when the
// handshake has succeeded; if it fails Close alone is, with the reason.
func (e *Endpoint) Layer(*stream.Conn) stream.Layer { return &layer{e: e, config: e.config} }

// Dial is l.Dial, with TLS. timeout is for connecting; the handshake has its own. If
// the config has no ServerName, the certificate has to be for the host in address.
func (e *Endpoint) Dial(l *stream.Loop, network, address string, timeout time.Duration, h *stream.Handler) *stream.Conn {
	y := &layer{e: e, config: e.config}
	if y.config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		y.config = y.config.Clone()
		y.config.ServerName = host
	}
	c := l.Dial(network, address, timeout, h)
	c.SetLayer(y)
	return c
}

// State returns what the handshake of c has agreed on. ok is false before Open, and
// for a connection without TLS.
func State(c *stream.Conn) (state tls.ConnectionState, ok bool) {
	y, isTLS := c.Layer().(*layer)
	if !isTLS || !y.open {
		return state, false
	}
	return y.conn.ConnectionState(), true
}
