package tlsstream

import (
	"net"
	"time"
)

// socket is the net.Conn below crypto/tls. None of its methods touches a descriptor:
// a handshake's goroutine, or a context that is cancelled, may call one when the
// connection has long ended and its number is somebody else's.
type socket layer

// errAgain says that there is no record yet. To crypto/tls an error that calls itself
// temporary is none to remember.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "tlsstream: no record yet" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

func (s *socket) Read(p []byte) (int, error) {
	if s.hs != nil {
		return s.hs.read((*layer)(s), p)
	}
	n := s.records.read(p, s.src)
	s.src = s.src[n:]
	if n == 0 {
		return 0, errAgain
	}
	return n, nil
}

// Write takes all of p: an error, even a temporary one, would be the last.
func (s *socket) Write(p []byte) (int, error) {
	if s.hs != nil {
		return s.hs.write(p)
	}
	s.w.Write(p)
	return len(p), nil
}

// Close does nothing: the Layer's ends the connection. crypto/tls calls it when the
// context of a handshake is cancelled, from another goroutine.
func (s *socket) Close() error { return nil }

// The addresses are for the callbacks of a tls.Config, which see a handshake.
func (s *socket) LocalAddr() net.Addr  { return s.hs.addr().local }
func (s *socket) RemoteAddr() net.Addr { return s.hs.addr().remote }

// Deadlines are the connection's. crypto/tls sets one before close_notify.
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
