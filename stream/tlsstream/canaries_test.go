package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
)

// The package leans on what package tls does and does not promise. Each such fact has
// a test here, named for it: if a release of Go changes one, this says which. (Comments
// say what depends on it.)

// tapped is a socket whose Read and Write a test takes over after the handshake.
type tapped struct {
	net.Conn
	read, write func(p []byte) (int, error)
	closed      atomic.Int32
	deadlines   []time.Time
}

func (c *tapped) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(p)
	}
	return c.Conn.Read(p)
}

func (c *tapped) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(p)
	}
	return c.Conn.Write(p)
}

func (c *tapped) Close() error { c.closed.Add(1); return nil }

func (c *tapped) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// temporary is an error as the package's own.
type temporary struct{}

func (temporary) Error() string   { return "not yet" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

// pair returns the two ends of a connection after the handshake: a tls.Conn on a socket
// that can be taken over, and its client, which writes to the same TCP connection.
func pair(t *testing.T, config *tls.Config) (server *tls.Conn, socket *tapped, client *tls.Conn) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	conn := dial(t, ln.Addr().String())
	accepted := must(ln.Accept())
	t.Cleanup(func() { accepted.Close() })
	accepted.SetDeadline(testutil.Deadline())
	socket = &tapped{Conn: accepted}
	server, client = tls.Server(socket, config), tls.Client(conn, clientConfig())
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done, "the client's handshake"); err != nil {
		t.Fatal(err)
	}
	return server, socket, client
}

// wireBytes returns what the client writes when it does something, as one slice.
func wireBytes(t *testing.T, socket *tapped, size int, do func()) []byte {
	t.Helper()
	do()
	p := make([]byte, size)
	n, err := io.ReadAtLeast(socket.Conn, p, 5)
	if err != nil {
		t.Fatal(err)
	}
	want := 5 + int(p[3])<<8 + int(p[4])
	if _, err := io.ReadFull(socket.Conn, p[n:max(n, want)]); err != nil {
		t.Fatal(err)
	}
	return p[:max(n, want)]
}

// TestCanaryTemporaryErrorsAreForgotten: socket.Read says that there is no record yet,
// between records, and in one.
func TestCanaryTemporaryErrorsAreForgotten(t *testing.T) {
	versions(t, func(t *testing.T, config, _ *tls.Config) {
		server, socket, client := pair(t, config)
		record := wireBytes(t, socket, 20<<10, func() { client.Write([]byte("hello")) })
		for i := 0; i < len(record); i++ {
			given := false
			socket.read = func(p []byte) (int, error) {
				if given {
					return 0, temporary{}
				}
				given = true
				p[0] = record[i]
				return 1, nil
			}
			got := make([]byte, 10)
			n, err := server.Read(got)
			switch {
			case i < len(record)-1 && (n != 0 || err != temporary{}):
				t.Fatalf("after byte %d: %d, %v", i, n, err)
			case i == len(record)-1 && (string(got[:n]) != "hello" || err != nil):
				t.Fatalf("after the record: %q, %v", got[:n], err)
			}
		}
		if n, err := server.Read(make([]byte, 1)); n != 0 || err != (temporary{}) {
			t.Errorf("after that: %d, %v", n, err)
		}
	})
}

// TestCanaryNothingIsReadAhead: when a socket gives a record and no more, Read returns
// without asking for the next. records feeds it so, and Decode calls Read only if there
// is a record or plaintext is left.
func TestCanaryNothingIsReadAhead(t *testing.T) {
	versions(t, func(t *testing.T, config, _ *tls.Config) {
		server, socket, client := pair(t, config)
		for range 3 {
			record := wireBytes(t, socket, 20<<10, func() { client.Write([]byte("hello")) })
			reads := 0
			socket.read = func(p []byte) (int, error) {
				reads++
				n := copy(p, record)
				if record = record[n:]; n == 0 {
					return 0, temporary{}
				}
				return n, nil
			}
			got := make([]byte, 2)
			for _, want := range []string{"he", "ll", "o"} { // what there is no room for stays
				if n, err := server.Read(got); string(got[:n]) != want || err != nil {
					t.Fatalf("%q, %v, want %q", got[:n], err, want)
				}
			}
			if reads > 2 {
				t.Errorf("%d reads for a record", reads)
			}
			socket.read = nil
		}
	})
}

// TestCanaryWriteErrorsAreRemembered: socket.Write may not say that there is no room.
func TestCanaryWriteErrorsAreRemembered(t *testing.T) {
	server, socket, _ := pair(t, serverConfig())
	socket.write = func([]byte) (int, error) { return 0, temporary{} }
	if _, err := server.Write([]byte("x")); err == nil {
		t.Fatal("no error")
	}
	socket.write = nil
	if _, err := server.Write([]byte("x")); err == nil {
		t.Error("a temporary write error is forgotten now: output need not be taken whole")
	}
}

// TestCanaryHandshakeErrorsAreRemembered: that is why a handshake has a goroutine.
func TestCanaryHandshakeErrorsAreRemembered(t *testing.T) {
	socket := &tapped{read: func([]byte) (int, error) { return 0, temporary{} }}
	c := tls.Server(socket, serverConfig())
	if err := c.Handshake(); !errors.As(err, new(temporary)) {
		t.Fatal(err)
	}
	reads := 0
	socket.read = func([]byte) (int, error) { reads++; return 0, temporary{} }
	if c.Handshake(); reads > 0 {
		t.Error("a handshake can go on now after a temporary error: it needs no goroutine")
	}
}

// TestCanaryEOFBetweenRecordsIsTaken: package tls takes the end of the socket between
// two records for the end of the stream, so the layer has to tell.
func TestCanaryEOFBetweenRecordsIsTaken(t *testing.T) {
	server, socket, _ := pair(t, serverConfig())
	socket.read = func([]byte) (int, error) { return 0, io.EOF }
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v: package tls tells truncation now", err)
	}
}

// TestCanaryEndsAreRemembered: Decode has an error come again.
func TestCanaryEndsAreRemembered(t *testing.T) {
	versions(t, func(t *testing.T, config, _ *tls.Config) {
		server, _, client := pair(t, config)
		client.CloseWrite()
		for range 2 {
			if _, err := server.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after close_notify: %v", err)
			}
		}
	})
}

// TestCanaryCloseWriteSetsDeadlines and does no more than write: socket ignores them.
func TestCanaryCloseWriteSetsDeadlines(t *testing.T) {
	server, socket, client := pair(t, serverConfig())
	wrote := 0
	socket.write = func(p []byte) (int, error) { wrote++; return socket.Conn.Write(p) }
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if wrote != 1 || socket.closed.Load() != 0 || len(socket.deadlines) != 2 {
		t.Errorf("%d writes, %d closes, deadlines %v", wrote, socket.closed.Load(), socket.deadlines)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	// Reading goes on.
	io.WriteString(client, "still here")
	expect(t, server, "still here")
}

// TestCanaryCancellationClosesTheSocket from another goroutine: socket.Close does
// nothing.
func TestCanaryCancellationClosesTheSocket(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	block := make(chan bool)
	socket := &tapped{read: func([]byte) (int, error) {
		cancel()
		<-block
		return 0, net.ErrClosed
	}}
	done := make(chan error, 1)
	go func() { done <- tls.Server(socket, serverConfig()).HandshakeContext(ctx) }()
	for end := testutil.Deadline(); socket.closed.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the socket was not closed")
		}
	}
	close(block)
	if err := wait(t, done, "the handshake"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestCanaryAlertsAreWritten before Read returns the error for which they are: the
// layer fails then, and what was written goes out.
func TestCanaryAlertsAreWritten(t *testing.T) {
	versions(t, func(t *testing.T, config, _ *tls.Config) {
		server, socket, client := pair(t, config)
		record := wireBytes(t, socket, 20<<10, func() { client.Write([]byte("hello")) })
		record[len(record)-1]++
		socket.read = bytes.NewReader(record).Read
		var out []byte
		socket.write = func(p []byte) (int, error) { out = append(out, p...); return len(p), nil }
		if _, err := server.Read(make([]byte, 10)); err == nil || len(out) == 0 {
			t.Errorf("%v, %d bytes written", err, len(out))
		}
	})
}

// TestCanaryBufferIsARecord: what package tls keeps to read into has room for the longest
// record so far and bytes.MinRead, and not for twice that. It shows in what is offered
// to Read.
func TestCanaryBufferIsARecord(t *testing.T) {
	server, socket, client := pair(t, serverConfig())
	most := 0
	size := 0
	read := func() {
		record := wireBytes(t, socket, 40<<10, func() { client.Write(make([]byte, size)) })
		socket.read = func(p []byte) (int, error) {
			most = max(most, len(p))
			n := copy(p, record)
			record = record[n:]
			return n, nil
		}
		for got := 0; got < size; {
			n, err := server.Read(make([]byte, 32<<10))
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		socket.read = nil
	}
	for range 10 {
		size = 64
		read()
	}
	if most > 5<<10 {
		t.Errorf("%d bytes are offered to read a record of 64 bytes", most)
	}
}

// TestCanaryHelloHasTheSocket: callbacks see the net.Conn that tls.Server was given,
// and no deadline is set during a handshake.
func TestCanaryHelloHasTheSocket(t *testing.T) {
	var seen net.Conn
	config := serverConfig()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = hello.Conn
		return nil, nil
	}
	_, socket, _ := pair(t, config)
	if seen != socket || len(socket.deadlines) > 0 || socket.closed.Load() > 0 {
		t.Errorf("%v, deadlines %v, %d closes", seen, socket.deadlines, socket.closed.Load())
	}
}
