package tlsstream_test

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
)

// The content types, messages and alerts that the tests send themselves.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23

	alertCloseNotify    = 0
	alertUnexpected     = 10
	alertBadRecordMAC   = 20
	alertRecordOverflow = 22
	alertUserCanceled   = 90
)

// keyUpdate is that message; requested asks for the peer's.
func keyUpdate(requested bool) []byte {
	if requested {
		return []byte{24, 0, 0, 1, 1}
	}
	return []byte{24, 0, 0, 1, 0}
}

// rawClient is a client of TLS 1.3 that package tls has connected, and that writes and
// reads its records itself from then on: it can send what package tls never would.
type rawClient struct {
	t       testing.TB
	conn    net.Conn
	out, in half
}

// half is one direction.
type half struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expand(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label...)
	info = append(info, 0)
	return must(hkdf.Expand(sha256.New, secret, string(info), n))
}

func (h *half) set(secret []byte) {
	h.secret, h.seq = secret, 0
	h.aead = must(cipher.NewGCM(must(aes.NewCipher(expand(secret, "key", 16)))))
	h.iv = expand(secret, "iv", 12)
}

func (h *half) update() { h.set(expand(h.secret, "traffic upd", 32)) }

func (h *half) nonce() []byte {
	nonce := bytes.Clone(h.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(h.seq >> (56 - 8*i))
	}
	h.seq++
	return nonce
}

// dialRaw makes a handshake over conn. The server must not send tickets.
func dialRaw(t testing.TB, conn net.Conn) *rawClient {
	t.Helper()
	var keys bytes.Buffer
	config := clientConfig()
	config.KeyLogWriter = &keys
	config.MinVersion = tls.VersionTLS13
	c := tls.Client(conn, config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if s := c.ConnectionState().CipherSuite; s != tls.TLS_AES_128_GCM_SHA256 {
		testutil.SkipUnlessCI(t, "no AES here: %s", tls.CipherSuiteName(s))
	}
	raw := &rawClient{t: t, conn: conn}
	for lines := bufio.NewScanner(&keys); lines.Scan(); {
		words := strings.Fields(lines.Text())
		secret := must(hex.DecodeString(words[2]))
		switch words[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			raw.out.set(secret)
		case "SERVER_TRAFFIC_SECRET_0":
			raw.in.set(secret)
		}
	}
	return raw
}

// record encrypts one record.
func (c *rawClient) record(typ byte, p []byte) []byte {
	inner := append(bytes.Clone(p), typ)
	header := []byte{typeData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+c.out.aead.Overhead()))
	return c.out.aead.Seal(header, c.out.nonce(), inner, header)
}

// write sends bytes as they are.
func (c *rawClient) write(p []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) send(typ byte, p []byte) { c.t.Helper(); c.write(c.record(typ, p)) }

// update sends a KeyUpdate and goes over to the next key.
func (c *rawClient) update(requested bool) []byte {
	r := c.record(typeHandshake, keyUpdate(requested))
	c.out.update()
	return r
}

// receive reads one record.
func (c *rawClient) receive() (typ byte, p []byte, err error) {
	header := make([]byte, 5)
	if _, err := io.ReadFull(c.conn, header); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return 0, nil, err
	}
	p, err = c.in.aead.Open(nil, c.in.nonce(), body, header)
	if err != nil {
		return 0, nil, err
	}
	p = bytes.TrimRight(p, "\x00")
	return p[len(p)-1], p[:len(p)-1], nil
}

// expect reads one record, which must be this.
func (c *rawClient) expect(typ byte, want []byte) {
	c.t.Helper()
	got, p, err := c.receive()
	if err != nil || got != typ || !bytes.Equal(p, want) {
		c.t.Fatalf("a record of type %d, %.40q, %v; want %d, %.40q", got, p, err, typ, want)
	}
}

// expectAlert reads a last record, an alert, and the end.
func (c *rawClient) expectAlert(alert byte) {
	c.t.Helper()
	level := byte(2)
	if alert == alertCloseNotify {
		level = 1
	}
	c.expect(typeAlert, []byte{level, alert})
	if _, _, err := c.receive(); err != io.EOF {
		c.t.Fatalf("behind the last alert: %v", err)
	}
}
