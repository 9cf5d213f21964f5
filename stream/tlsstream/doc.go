// Package tlsstream is TLS for connections of package stream: Go's own crypto/tls, as
// it is, and no goroutine for a connection that is open. The same stream.Handler
// serves TLS and plain connections. An echo server:
//
//	cert, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
//	if err != nil {
//		log.Fatal(err)
//	}
//	server, err := tlsstream.Server(&tls.Config{Certificates: []tls.Certificate{cert}}, tlsstream.Limits{})
//	if err != nil {
//		log.Fatal(err)
//	}
//	_, err = stream.On(el).Listen("tcp", ":7443", stream.ListenConfig{Layer: server.Layer}, &stream.Handler{
//		Data: func(c *stream.Conn, p []byte) int { c.Write(p); return len(p) },
//	})
//
// A client is [Client] and [Endpoint.Dial]; a protocol that changes over to TLS in the
// middle (STARTTLS) is stream.Conn.SetLayer.
//
// # What differs from a plain connection
//
// Open is called after the handshake; [State] tells what it has agreed on. If it
// fails, Close is called without Open, with the reason: what package tls says, a
// [*PanicError], io.ErrUnexpectedEOF for a peer that has gone, stream.ErrTimeout. What
// is written before waits for it, and so does Close for what was written.
//
// CloseWrite and Close send close_notify in front of the socket's end, and EOF is the
// peer's close_notify. A socket that ends without one may have been cut off by anybody,
// and what came may be half of what was sent: the connection ends with
// io.ErrUnexpectedEOF. Many clients end so, and have lost nothing: whether it matters
// is for the protocol above to know. A joined connection passes it on as a reset.
//
// A violation of the protocol ends the connection as Close does, so that the alert that
// says why arrives, with the error for Handler.Close. Renegotiation is refused. Detach
// returns the socket in the middle of its encryption, which is of little use.
//
// What Queued counts, and High and Limit bound, is encrypted for the most part, and a
// little longer than what was written.
//
// # Handshakes
//
// A handshake computes for a millisecond or ten, and calls back into a tls.Config that
// may wait for a database. So it runs in a goroutine of its own, which ends with it, and
// the loop goes on. A server's begins when the whole ClientHello is there: who connects
// and sends less costs some 750 bytes, and what it has sent. [Limits] bounds how many
// there are at once, how many compute at once, how long they take, and how much of
// their input waits. The callbacks of a tls.Config are called in these goroutines, any
// number at a time, except those of a ClientSessionCache, which the loop calls too.
//
// An open connection is the loop's alone: decrypting and encrypting delays the others,
// as any callback does.
//
// Limits.Handshakes bounds memory, not patience: clients that begin a handshake and do
// not go on keep others waiting until their Timeout. Where that is to be feared, a
// shorter Timeout helps, and a limit for each address in front of it.
//
// # When to take package net
//
// Take net and crypto/tls, a goroutine for each connection, unless most connections are
// idle most of the time or the program is on a loop for another reason. It is simpler,
// all processors decrypt, net/http speaks HTTP/2 on it, and a slow callback is nobody
// else's. With many processors and heavy traffic it is faster as well: here each loop
// has one, and a stream.Group spreads connections, not bytes.
//
// The memory of an open connection is mostly crypto/tls's own: its keys, and a buffer
// as long as the longest record that has come, which it never gives back.
package tlsstream
