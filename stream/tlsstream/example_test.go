package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"log"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/stream"
	"github.com/aeloop/ae/stream/tlsstream"
)

// A server and a client on one loop. The Handler of neither knows of TLS, but for who
// wants to know what was agreed on.
func Example() {
	el, err := ae.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)

	config := serverConfig() // a certificate for example.test
	config.NextProtos = []string{"shout"}
	server, err := tlsstream.Server(config, tlsstream.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{Layer: server.Layer}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			fmt.Fprintf(c, "%s!", p)
			return len(p)
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	config = clientConfig() // which trusts that certificate
	config.NextProtos = []string{"shout"}
	client, err := tlsstream.Client(config, tlsstream.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	c := client.Dial(l, "tcp", ln.Addr(), time.Minute, &stream.Handler{
		Open: func(c *stream.Conn) {
			state, _ := tlsstream.State(c)
			fmt.Println(tls.VersionName(state.Version), state.NegotiatedProtocol)
		},
		Data: func(c *stream.Conn, p []byte) int {
			fmt.Printf("%s\n", p)
			c.Close()
			return len(p)
		},
		Close: func(_ *stream.Conn, err error) {
			fmt.Println("closed:", err)
			l.Shutdown(time.Minute, el.Stop)
		},
	})
	c.Write([]byte("hello")) // sent once the handshake is done

	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// TLS 1.3 shout
	// hello!
	// closed: <nil>
}

// A protocol that begins in plain text and changes over: the answer to STARTTLS goes
// out as it is, and everything behind it is encrypted.
func Example_startTLS() {
	el, err := ae.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	defer el.Close()
	l := stream.On(el)
	server, err := tlsstream.Server(serverConfig(), tlsstream.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := tlsstream.Client(clientConfig(), tlsstream.Limits{})
	if err != nil {
		log.Fatal(err)
	}

	secure := &stream.Handler{Data: func(c *stream.Conn, p []byte) int {
		fmt.Printf("the server has received: %s\n", p)
		c.Close()
		return len(p)
	}}
	ln, err := l.Listen("tcp", "127.0.0.1:0", stream.ListenConfig{}, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			c.Write([]byte("go ahead"))
			c.SetHandler(secure)
			c.SetLayer(server.Layer(c))
			return len(p)
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	c := l.Dial("tcp", ln.Addr(), time.Minute, &stream.Handler{
		Data: func(c *stream.Conn, p []byte) int {
			fmt.Printf("the client has received: %s\n", p)
			c.SetLayer(client.Layer(c))
			c.Write([]byte("a secret"))
			return len(p)
		},
		Close: func(*stream.Conn, error) { l.Shutdown(time.Minute, el.Stop) },
	})
	c.Write([]byte("STARTTLS"))

	if err := el.Main(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the client has received: go ahead
	// the server has received: a secret
}
