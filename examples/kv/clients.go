package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/examples/internal/resp"
)

// What a connection is, as far as its client can see and change it: HELLO, AUTH,
// SELECT, RESET, CLIENT and the like.

func pingCommand(c *client, args [][]byte) {
	switch {
	case len(args) > 2:
		c.wrongArity("ping")
	case c.subscriptions() > 0 && !c.out.V3: // where replies have to look like messages
		c.out.Array(2)
		c.out.Text("pong")
		c.out.Bulk(slices.Concat(args[1:]...)) // the message, if there is one
	case len(args) == 1:
		c.out.Status("PONG")
	default:
		c.out.Bulk(args[1])
	}
}

func echoCommand(c *client, args [][]byte) { c.out.Bulk(args[1]) }

func selectCommand(c *client, args [][]byte) {
	switch index, ok := c.integer(args[1]); {
	case !ok:
	case index != int64(int32(index)):
		c.out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case index < 0 || index >= databases:
		c.out.Error("ERR DB index is out of range")
	default:
		c.db = c.srv.dbs[index]
		c.out.Status("OK")
	}
}

func quitCommand(c *client, args [][]byte) {
	c.out.Status("OK")
	c.closing = true
}

func webCommand(c *client, args [][]byte) {
	c.srv.seldom(c.srv.log.Warn, "possible attack: a web browser was made to send commands", "client", c.id)
	c.closing = true
}

// AUTH and HELLO.

const (
	errNoAuth = "NOAUTH Authentication required."
	errName   = "ERR Client names cannot contain spaces, newlines or special characters."
)

// mustAuth reports whether the client has to give the password first. One that came
// when there was none does not.
func (c *client) mustAuth() bool { return c.stranger && c.srv.cfg.password != "" }

// Whoever has not given the password cannot make the server hold much.
var strangerLimits = &resp.Limits{Args: 10, Bulk: 16 << 10, Reason: "unauthenticated"}

func (c *client) limits() *resp.Limits { return either(c.mustAuth(), strangerLimits, nil) }

// login checks a name and a password. There is one user, "default".
func (c *client) login(user, password []byte) bool {
	// The sums have the same length whatever was sent, and comparing them takes the
	// same time wherever they differ: the time tells nothing about the password.
	want, got := sha256.Sum256([]byte(c.srv.cfg.password)), sha256.Sum256(password)
	right := subtle.ConstantTimeCompare(want[:], got[:]) == 1 || c.srv.cfg.password == ""
	if string(user) != "default" || !right {
		c.out.Error("WRONGPASS invalid username-password pair or user is disabled.")
		return false
	}
	c.stranger = false
	return true
}

func authCommand(c *client, args [][]byte) {
	user, password := []byte("default"), args[len(args)-1]
	switch {
	case len(args) > 3:
		c.out.Error(errSyntax)
		return
	case len(args) == 3:
		user = args[1]
	case c.srv.cfg.password == "":
		c.out.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if c.login(user, password) {
		c.out.Status("OK")
	}
}

func helloCommand(c *client, args [][]byte) {
	version := either[int64](c.out.V3, 3, 2)
	if len(args) > 1 {
		var ok bool
		if version, ok = resp.ParseInt(args[1]); !ok {
			c.out.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			c.out.Error("NOPROTO unsupported protocol version")
			return
		}
	}

	var user, password, name []byte
	for rest := args[min(2, len(args)):]; len(rest) > 0; {
		switch {
		case resp.Is(rest[0], "AUTH") && len(rest) > 2:
			user, password, rest = rest[1], rest[2], rest[3:]
		case resp.Is(rest[0], "SETNAME") && len(rest) > 1 && !isName(rest[1]):
			c.out.Error(errName)
			return
		case resp.Is(rest[0], "SETNAME") && len(rest) > 1:
			name, rest = rest[1], rest[2:]
		default:
			c.out.Error("ERR Syntax error in HELLO option '" + clip(rest[0], len(rest[0])) + "'")
			return
		}
	}

	switch {
	case user != nil && !c.login(user, password):
		return
	case c.mustAuth():
		c.out.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> " +
			"option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	case name != nil:
		c.name = string(name)
	}
	c.out.V3 = version == 3

	c.out.Pairs(7)
	for _, text := range []string{"server", "redis", "version", redisVersion, "proto"} {
		c.out.Text(text)
	}
	c.out.Integer(version)
	c.out.Text("id")
	c.out.Integer(c.id)
	for _, text := range []string{"mode", "standalone", "role", "master", "modules"} {
		c.out.Text(text)
	}
	c.out.Array(0)
}

// resetCommand makes the client what it was when it came.
func resetCommand(c *client, args [][]byte) {
	s := c.srv
	s.leave(c)
	c.db, c.name, c.noEvict, c.out.V3 = s.dbs[0], "", false, false
	c.stranger = s.cfg.password != ""
	c.out.Status("RESET")
}

// CLIENT.

func clientIDCommand(c *client, args [][]byte) { c.out.Integer(c.id) }

func clientGetnameCommand(c *client, args [][]byte) {
	if c.name == "" {
		c.out.Null()
	} else {
		c.out.Text(c.name)
	}
}

func clientSetnameCommand(c *client, args [][]byte) {
	if !isName(args[2]) {
		c.out.Error(errName)
		return
	}
	c.name = string(args[2])
	c.out.Status("OK")
}

// clientSetinfoCommand is how client libraries introduce themselves.
func clientSetinfoCommand(c *client, args [][]byte) {
	attributes := []string{"lib-name", "lib-ver"}
	i := slices.IndexFunc(attributes, func(name string) bool { return resp.Is(args[2], name) })
	switch {
	case i < 0:
		c.out.Error("ERR Unrecognized option '" + clip(args[2], len(args[2])) + "'")
	case !isName(args[3]):
		c.out.Error("ERR " + attributes[i] + " cannot contain spaces, newlines or special characters.")
	default:
		c.library[i] = string(args[3])
		c.out.Status("OK")
	}
}

func isName(b []byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x < '!' || x > '~' })
}

// clientNoEvictCommand only notes it: no client is ever evicted here.
func clientNoEvictCommand(c *client, args [][]byte) {
	if !resp.Is(args[2], "ON") && !resp.Is(args[2], "OFF") {
		c.out.Error(errSyntax)
		return
	}
	c.noEvict = resp.Is(args[2], "ON")
	c.out.Status("OK")
}

// clientTrackingCommand accepts the one mode in which nothing is tracked until the
// client asks for it, with CLIENT CACHING, which there is not: some clients turn
// it on whether they use it or not.
func clientTrackingCommand(c *client, args [][]byte) {
	switch {
	case len(args) == 3 && resp.Is(args[2], "OFF"), len(args) == 4 && resp.Is(args[2], "ON") && resp.Is(args[3], "OPTIN") && c.out.V3:
		c.out.Status("OK")
	default:
		c.out.Error("ERR only CLIENT TRACKING ON OPTIN, in version 3 of the protocol, and OFF are supported")
	}
}

func clientInfoCommand(c *client, args [][]byte) { c.out.Verbatim(c.describe() + "\n") }

func clientListCommand(c *client, args [][]byte) {
	filter, wrong := clientFilter{}, ""
	switch {
	case len(args) == 2:
	case len(args) == 4 && resp.Is(args[2], "TYPE"):
		wrong = filter.add(c, args[2:])
	case len(args) > 3 && resp.Is(args[2], "ID"):
		ids := make(map[int64]bool)
		for _, arg := range args[3:] {
			id, ok := resp.ParseInt(arg)
			if !ok {
				wrong = "ERR Invalid client ID"
				break
			}
			ids[id] = true
		}
		filter["id"] = func(other *client) bool { return ids[other.id] }
	default:
		wrong = errSyntax
	}
	if wrong != "" {
		c.out.Error(wrong)
		return
	}

	var b strings.Builder
	for _, other := range filter.of(c.srv.clients) {
		b.WriteString(other.describe() + "\n")
	}
	c.out.Verbatim(b.String())
}

func (c *client) class() int {
	return either(c.subscriptions() > 0 || c.monitor, pubsubClass, normalClass)
}

// waiting returns how much output is not sent.
func (c *client) waiting() int { return len(c.out.Buf) + c.conn.Queued() }

// describe returns what CLIENT LIST says about a client, in one line.
func (c *client) describe() string {
	s := c.srv
	flags := either(c.monitor, "O", "") + either(c.subscriptions() > 0, "P", "") + either(c.noEvict, "e", "") + either(c.unix(), "U", "")
	watched := s.el.FileEvents(c.conn.FD())
	events := either(watched&ae.Readable != 0, "r", "") + either(watched&ae.Writable != 0, "w", "")
	last := "NULL"
	if c.last != nil {
		last = c.last.name
	}

	peer, local := c.addresses()
	waiting := c.waiting()
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=0 multi=-1 "+
		"qbuf=%d qbuf-free=0 argv-mem=%d multi-mem=0 rbs=%d rbp=%d obl=%d oll=0 omem=%d tot-mem=%d events=%s cmd=%s user=default "+
		"redir=-1 resp=%d lib-name=%s lib-ver=%s",
		c.id, peer, local, c.conn.FD(), c.name, (s.now-c.created)/1000, (s.now-c.active)/1000, cmp.Or(flags, "N"), c.db.Index,
		len(c.channels), len(c.patterns), c.left, c.req.Size(), cap(c.out.Buf), cap(c.out.Buf), waiting, waiting,
		c.left+c.req.Size()+waiting, events, last, either(c.out.V3, 3, 2), c.library[0], c.library[1])
}

// unix reports whether the client has come through a unix socket.
func (c *client) unix() bool { return !c.conn.Peer().IsValid() }

// addresses returns both ends of the connection.
func (c *client) addresses() (peer, local string) {
	if c.conn == nil {
		return "", ""
	}
	if c.unix() {
		path := strings.TrimPrefix(c.srv.address, "unix:") + ":0"
		return path, path
	}
	return anet.PeerString(c.conn.FD()), anet.LocalString(c.conn.FD())
}

// clientKillCommand closes other clients' connections: their descriptors leave the
// loop at once, also when the loop has just polled an event for them.
func clientKillCommand(c *client, args [][]byte) {
	options := [][]byte{[]byte("addr"), args[2]}
	old := len(args) == 3 // an address alone, which may be the client's own
	if !old {
		options = append([][]byte{[]byte("skipme"), []byte("yes")}, args[2:]...)
	}
	filter := clientFilter{}
	for option := range slices.Chunk(options, 2) {
		if wrong := filter.add(c, option); wrong != "" {
			c.out.Error(wrong)
			return
		}
	}

	killed := filter.of(c.srv.clients)
	for _, other := range killed {
		if other == c {
			c.closing = true // behind the reply
		} else {
			other.drop()
		}
	}
	switch {
	case !old:
		c.out.Integer(int64(len(killed)))
	case len(killed) == 0:
		c.out.Error("ERR No such client")
	default:
		c.out.Status("OK")
	}
}

// A clientFilter is what LIST and KILL are told about the clients that are meant: for
// each option, whether it is true of a client.
type clientFilter map[string]func(*client) bool

// of returns those of which all of it is true.
func (f clientFilter) of(clients []*client) []*client {
	return slices.DeleteFunc(slices.Clone(clients), func(c *client) bool {
		for _, is := range f {
			if !is(c) {
				return true
			}
		}
		return false
	})
}

// classOf has the types of clients. There never are any of another server.
var classOf = map[string]int{"normal": normalClass, "pubsub": pubsubClass, "replica": replicaClass, "slave": replicaClass, "master": -1}

// add reads an option and its argument, given by c; the last of each name counts. It
// returns what is wrong with it, or "".
func (f clientFilter) add(c *client, option [][]byte) (wrong string) {
	if len(option) != 2 {
		return errSyntax
	}
	name, arg := folded(option[0]), option[1]
	class, isClass := classOf[folded(arg)]
	switch {
	case name == "id":
		id, ok := resp.ParseInt(arg)
		if !ok || id < 1 {
			return "ERR client-id should be greater than 0"
		}
		f[name] = func(other *client) bool { return other.id == id }
	case name == "type" && !isClass:
		return "ERR Unknown client type '" + clip(arg, len(arg)) + "'"
	case name == "type":
		f[name] = func(other *client) bool { return other.class() == class }
	case name == "addr", name == "laddr":
		f[name] = func(other *client) bool {
			peer, local := other.addresses()
			return string(arg) == either(name == "addr", peer, local)
		}
	case name == "user" && string(arg) != "default":
		return "ERR No such user '" + clip(arg, len(arg)) + "'"
	case name == "user": // everybody
	case name == "skipme" && resp.Is(arg, "YES"):
		f[name] = func(other *client) bool { return other != c }
	case name == "skipme" && resp.Is(arg, "NO"):
		delete(f, name)
	default:
		return errSyntax
	}
	return ""
}

// The limits of a client.

const denied = "-DENIED kv is running in protected mode: no password is set, and connections are only accepted from this machine. " +
	"To let others in, give it a password (-requirepass) or, where nobody else can reach it, turn the protection off (-protected-mode no).\r\n"

// refuse returns what to tell a new client that cannot be served, or "".
func (s *server) refuse(peer netip.AddrPort) string {
	switch {
	case int64(len(s.clients)) >= s.cfg.maxClients:
		return "-ERR max number of clients reached\r\n"
	case s.cfg.protected && s.cfg.password == "" && peer.IsValid() && !peer.Addr().Unmap().IsLoopback():
		return denied
	}
	return ""
}

// checkClients is the time event that closes clients which have been over their soft
// limit for too long. Each time it looks at a tenth of them. The hard limit, and the
// time that a client may be idle, are the connection's business: see setHandlers.
func (s *server) checkClients(*ae.EventLoop, ae.TimeEventID) time.Duration {
	s.readClock()
	for range (len(s.clients) + 9) / 10 { // none of which closes another
		s.checked = (s.checked + 1) % len(s.clients)
		s.clients[s.checked].checkSoft()
	}
	return 100 * time.Millisecond
}

// checkSoft closes the client if what the kernel does not take has been more than the
// soft limit for as long as it may.
func (c *client) checkSoft() {
	s, limit := c.srv, &c.srv.cfg.output[c.class()]
	switch waiting := int64(c.conn.Queued()); {
	case limit.soft == 0 || waiting < limit.soft:
		c.softSince = 0
	case c.softSince == 0:
		c.softSince = s.now
	case s.now-c.softSince >= limit.seconds*1000:
		s.seldom(s.log.Warn, "client closed for overcoming of output buffer limits", "id", c.id, "name", c.name, "bytes", waiting)
		c.conn.Abort()
	}
}
