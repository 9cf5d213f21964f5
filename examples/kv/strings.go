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

// setOptions are what may follow SET key value.
type setOptions struct {
	onlyNew, onlyOld, get bool
	when                  int64 // as DB.Set takes it
}

func setCommand(c *client, args [][]byte) {
	opt, ok := c.parseSet(args)
	if !ok {
		return
	}

	if opt.get {
		c.replyValue(args[1])
	}
	if opt.onlyNew || opt.onlyOld {
		if c.db.Exists(args[1]) != opt.onlyOld {
			if !opt.get {
				c.out.Null()
			}
			return
		}
	}

	c.db.Set(args[1], c.value(args, 2), opt.when)
	if !opt.get {
		c.out.Status("OK")
	}
}

// parseSet reads the options of SET, and replies with an error if there is one.
func (c *client) parseSet(args [][]byte) (opt setOptions, ok bool) {
	var unit string // the option that gives the expiry time
	var expire []byte
	for i := 3; i < len(args); i++ {
		arg := args[i]
		switch {
		case resp.Is(arg, "NX") && !opt.onlyOld:
			opt.onlyNew = true
		case resp.Is(arg, "XX") && !opt.onlyNew:
			opt.onlyOld = true
		case resp.Is(arg, "GET"):
			opt.get = true
		case resp.Is(arg, "KEEPTTL") && expire == nil:
			opt.when = store.KeepTTL
		case isTimeOption(arg, unit) && opt.when != store.KeepTTL && i+1 < len(args):
			unit, expire = timeOption(arg), args[i+1]
			i++
		default:
			c.out.Error(errSyntax)
			return opt, false
		}
	}
	if expire == nil {
		return opt, true
	}
	opt.when, ok = c.expiryTime(unit, expire, "set")
	return opt, ok
}

func setnxCommand(c *client, args [][]byte) {
	isNew := !c.db.Exists(args[1])
	if isNew {
		c.db.Set(args[1], c.value(args, 2), 0)
	}
	c.out.Bool(isNew)
}

func setexCommand(c *client, args [][]byte)  { c.setUntil(args, "EX", "setex") }
func psetexCommand(c *client, args [][]byte) { c.setUntil(args, "PX", "psetex") }

func (c *client) setUntil(args [][]byte, unit, command string) {
	if when, ok := c.expiryTime(unit, args[2], command); ok {
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
	var unit string
	var expire []byte
	persist := false
	for i := 2; i < len(args); i++ {
		switch arg := args[i]; {
		case resp.Is(arg, "PERSIST") && expire == nil:
			persist = true
		case isTimeOption(arg, unit) && !persist && i+1 < len(args):
			unit, expire = timeOption(arg), args[i+1]
			i++
		default:
			c.out.Error(errSyntax)
			return
		}
	}

	key := args[1]
	before, exists := c.db.Expiry(key)
	if !exists {
		c.replyValue(key)
		return
	}
	when := before
	if expire != nil {
		var ok bool
		if when, ok = c.expiryTime(unit, expire, "getex"); !ok {
			return
		}
	}
	c.replyValue(key)
	switch {
	case expire != nil && when <= c.db.Now:
		c.db.Delete(key)
	case expire != nil:
		c.db.Expire(key, when)
	case persist && before != 0:
		c.db.Expire(key, 0)
	}
}

// isTimeOption reports whether arg is one of the options that give a time, and no
// other than the one that came before, if any.
func isTimeOption(arg []byte, before string) bool {
	option := timeOption(arg)
	return option != "" && (before == "" || before == option)
}

func timeOption(arg []byte) string {
	for _, option := range [...]string{"EX", "PX", "EXAT", "PXAT"} {
		if resp.Is(arg, option) {
			return option
		}
	}
	return ""
}

// expiryTime returns the time given by such an option and its argument, in
// milliseconds since 1970. It replies with an error if that is not positive.
func (c *client) expiryTime(option string, arg []byte, command string) (when int64, ok bool) {
	n, ok := c.integer(arg)
	if !ok {
		return 0, false
	}

	base := c.db.Now
	if option == "EXAT" || option == "PXAT" {
		base = 0
	}
	when, ok = addTime(base, n, option[0] == 'E')
	if n <= 0 || !ok {
		c.out.Error("ERR invalid expire time in '" + command + "' command")
		return 0, false
	}
	return when, true
}

// addTime returns base plus n milliseconds, or n seconds, unless that overflows.
func addTime(base, n int64, seconds bool) (when int64, ok bool) {
	if seconds {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, false
		}
		n *= 1000
	}
	if n > math.MaxInt64-base {
		return 0, false
	}
	return base + n, true
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

const errTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

func appendStringCommand(c *client, args [][]byte) {
	value, _ := c.db.Get(args[1])
	if len(value)+len(args[2]) > resp.MaxBulk {
		c.out.Error(errTooLong)
		return
	}
	c.out.Integer(int64(c.db.Patch(args[1], len(value), args[2])))
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
	case offset > resp.MaxBulk-int64(len(args[3])):
		c.out.Error(errTooLong)
	default:
		c.out.Integer(int64(c.db.Patch(args[1], int(offset), args[3])))
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
	unsigned := strings.ToLower(strings.TrimLeft(s, "+-"))
	if unsigned == "inf" || unsigned == "infinity" {
		return new(big.Float).SetInf(false), len(s) <= len(unsigned)+1
	}
	if len(s) == 0 || len(s) >= maxFloat || strings.Trim(unsigned, "0123456789.e+-") != "" {
		return nil, false
	}

	n, _, err := big.ParseFloat(s, 10, 64, big.ToNearestEven)
	if err != nil || n.IsInf() || n.MantExp(nil) > 1<<14 || n.MantExp(nil) < -16445 {
		return nil, false
	}
	return n, true
}
