package main

import (
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/store"
)

// The commands on strings.

// value returns an argument as what is to be stored. If the parser has given it a
// buffer of its own, that is.
func (c *client) value(args [][]byte, i int) store.Value {
	if c.req.Own(i) {
		return store.Own(args[i])
	}
	return store.Copy(args[i])
}

// integer returns an argument as a number. If it is none, that is the reply.
func (c *client) integer(arg []byte) (n int64, ok bool) {
	if n, ok = resp.ParseInt(arg); !ok {
		c.out.Error(errNotInteger)
	}
	return n, ok
}

func getCommand(c *client, args [][]byte) { c.replyValue(args[1]) }

// replyValue replies with the value of key.
func (c *client) replyValue(key []byte) {
	value, ok := c.db.Get(key)
	if !ok {
		c.srv.stats.misses++
		c.out.Null()
		return
	}
	c.srv.stats.hits++
	c.out.Bulk(value)
}

func setCommand(c *client, args [][]byte) {
	opt, ok := c.parseOptions("set", args[3:])
	if !ok {
		return
	}
	when := int64(0)
	switch {
	case opt.keep:
		when = store.KeepTTL
	case opt.form != nil:
		if when, ok = c.parseTime("set", opt.form, opt.time, 1); !ok {
			return
		}
	}

	if opt.get {
		c.replyValue(args[1])
	}
	refused := (opt.onlyNew || opt.onlyOld) && c.db.Exists(args[1]) != opt.onlyOld
	if !refused {
		c.db.Set(args[1], c.value(args, 2), when)
	}
	switch {
	case opt.get:
	case refused:
		c.out.Null()
	default:
		c.out.Status("OK")
	}
}

// setOptions are what may follow SET key value and, without the conditions, GETEX key.
type setOptions struct {
	onlyNew, onlyOld, get bool
	keep                  bool      // SET leaves the expiry time as it is, GETEX removes it
	form                  *timeForm // nil: no time is given
	time                  []byte
}

// parseOptions reads the options of SET or GETEX, and replies with an error if there
// is one.
func (c *client) parseOptions(command string, args [][]byte) (opt setOptions, ok bool) {
	set := command == "set"
	for i := 0; i < len(args); i++ {
		arg, form := args[i], findForm(args[i])
		switch {
		case resp.Is(arg, "NX") && set && !opt.onlyOld:
			opt.onlyNew = true
		case resp.Is(arg, "XX") && set && !opt.onlyNew:
			opt.onlyOld = true
		case resp.Is(arg, "GET") && set:
			opt.get = true
		case resp.Is(arg, either(set, "KEEPTTL", "PERSIST")) && opt.form == nil:
			opt.keep = true
		case form != nil && (opt.form == nil || opt.form == form) && !opt.keep && i+1 < len(args):
			opt.form, opt.time = form, args[i+1]
			i++
		default:
			c.out.Error(errSyntax)
			return opt, false
		}
	}
	return opt, true
}

func setnxCommand(c *client, args [][]byte) {
	isNew := !c.db.Exists(args[1])
	if isNew {
		c.db.Set(args[1], c.value(args, 2), 0)
	}
	c.out.Bool(isNew)
}

func setexCommand(c *client, args [][]byte)  { c.setUntil("setex", ex, args) }
func psetexCommand(c *client, args [][]byte) { c.setUntil("psetex", px, args) }

func (c *client) setUntil(command string, form *timeForm, args [][]byte) {
	if when, ok := c.parseTime(command, form, args[2], 1); ok {
		c.db.Set(args[1], c.value(args, 3), when)
		c.out.Status("OK")
	}
}

func getsetCommand(c *client, args [][]byte) {
	c.replyValue(args[1])
	c.db.Set(args[1], c.value(args, 2), 0)
}

func getdelCommand(c *client, args [][]byte) {
	c.replyValue(args[1])
	c.db.Delete(args[1])
}

func getexCommand(c *client, args [][]byte) {
	opt, ok := c.parseOptions("getex", args[2:])
	if !ok {
		return
	}
	key, when := args[1], int64(0)
	timed := opt.form != nil && c.db.Exists(key)
	if timed {
		if when, ok = c.parseTime("getex", opt.form, opt.time, 1); !ok {
			return
		}
	}

	c.replyValue(key)
	switch {
	case timed:
		c.expireAt(key, when)
	case opt.keep:
		c.persist(key)
	}
}

func mgetCommand(c *client, args [][]byte) {
	c.out.Array(len(args) - 1)
	for _, key := range args[1:] {
		c.replyValue(key)
	}
}

func msetCommand(c *client, args [][]byte) {
	if len(args)%2 == 0 {
		c.wrongArity("mset")
		return
	}
	for i := 1; i < len(args); i += 2 {
		c.db.Set(args[i], c.value(args, i+1), 0)
	}
	c.out.Status("OK")
}

// msetnxCommand sets all or, if one of the keys is there, none.
func msetnxCommand(c *client, args [][]byte) {
	if len(args)%2 == 0 {
		c.wrongArity("msetnx")
		return
	}
	for i := 1; i < len(args); i += 2 {
		if c.db.Exists(args[i]) {
			c.out.Integer(0)
			return
		}
	}
	for i := 1; i < len(args); i += 2 {
		c.db.Set(args[i], c.value(args, i+1), 0)
	}
	c.out.Integer(1)
}

func appendStringCommand(c *client, args [][]byte) {
	value, _ := c.db.Get(args[1])
	c.patch(args[1], int64(len(value)), args[2])
}

// patch writes a part of a value, unless that becomes too long.
func (c *client) patch(key []byte, offset int64, part []byte) {
	if offset > resp.MaxBulk-int64(len(part)) {
		c.out.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return
	}
	c.out.Integer(int64(c.db.Patch(key, int(offset), part)))
}

func strlenCommand(c *client, args [][]byte) {
	value, _ := c.db.Get(args[1])
	c.out.Integer(int64(len(value)))
}

func getrangeCommand(c *client, args [][]byte) {
	start, ok := c.integer(args[2])
	if !ok {
		return
	}
	end, ok := c.integer(args[3])
	if !ok {
		return
	}

	value, _ := c.db.Get(args[1])
	n := int64(len(value))
	if start < 0 && end < 0 && start > end {
		n = 0
	}
	index := func(i int64) int64 { return either(i < 0, max(0, n+i), i) } // -1 is the last
	start, end = index(start), min(index(end), n-1)+1
	c.out.Bulk(value[min(start, end):end])
}

func setrangeCommand(c *client, args [][]byte) {
	switch offset, ok := c.integer(args[2]); {
	case !ok:
	case offset < 0:
		c.out.Error("ERR offset is out of range")
	case len(args[3]) == 0:
		strlenCommand(c, args)
	default:
		c.patch(args[1], offset, args[3])
	}
}

func incrCommand(c *client, args [][]byte) { c.add(args[1], 1) }
func decrCommand(c *client, args [][]byte) { c.add(args[1], -1) }

func incrbyCommand(c *client, args [][]byte) {
	if n, ok := c.integer(args[2]); ok {
		c.add(args[1], n)
	}
}

func decrbyCommand(c *client, args [][]byte) {
	switch n, ok := c.integer(args[2]); {
	case !ok:
	case n == math.MinInt64:
		c.out.Error("ERR decrement would overflow")
	default:
		c.add(args[1], -n)
	}
}

// add adds delta to the number in key; there is a 0 where there is no key.
func (c *client) add(key []byte, delta int64) {
	var n int64
	at := c.db.Seek(key)
	if value, ok := c.db.ValueAt(at); ok {
		if n, ok = c.integer(value); !ok {
			return
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		c.out.Error("ERR increment or decrement would overflow")
		return
	}

	n += delta
	c.srv.digits = strconv.AppendInt(c.srv.digits[:0], n, 10)
	c.db.SetAt(at, key, store.Copy(c.srv.digits), store.KeepTTL)
	c.out.Integer(n)
}

// incrbyfloatCommand computes as Redis does on amd64, in the 80-bit numbers of C's
// long double: 64 bits of precision. Hexadecimal numbers are not understood.
func incrbyfloatCommand(c *client, args [][]byte) {
	value, exists := c.db.Get(args[1])
	if !exists {
		value = []byte("0")
	}
	n, ok1 := parseFloat(value)
	delta, ok2 := parseFloat(args[2])
	if !ok1 || !ok2 {
		c.out.Error("ERR value is not a valid float")
		return
	}
	if n.IsInf() || delta.IsInf() || n.Add(n, delta).MantExp(nil) > 1<<14 {
		c.out.Error("ERR increment would produce NaN or Infinity")
		return
	}

	sum := n.Text('f', 17)
	sum = strings.TrimRight(strings.TrimRight(sum, "0"), ".")
	if sum == "-0" {
		sum = "0"
	}
	c.db.Set(args[1], store.Copy([]byte(sum)), store.KeepTTL)
	c.out.Text(sum)
}

// maxFloat is how long a number is at most, and one more: the largest ones that
// INCRBYFLOAT makes have nearly 5000 digits.
const maxFloat = 5 << 10

func parseFloat(b []byte) (n *big.Float, ok bool) {
	s := string(b)
	if len(s) >= maxFloat || strings.ContainsAny(s, "pP") { // p begins an exponent too, for big
		return nil, false
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && math.IsInf(f, 0) {
		return new(big.Float).SetInf(false), true // big does not know all of its names
	}
	n, _, err := big.ParseFloat(s, 10, 64, big.ToNearestEven)
	return n, err == nil && !n.IsInf() && -16445 <= n.MantExp(nil) && n.MantExp(nil) <= 1<<14
}
