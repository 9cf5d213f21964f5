package main

import (
	"math"
	"slices"
	"strconv"

	"github.com/aeloop/ae/examples/internal/resp"
	"github.com/aeloop/ae/examples/kv/store"
)

// The commands on keys, whatever their values are.

func delCommand(c *client, args [][]byte)    { c.count(args[1:], c.db.Delete) }
func existsCommand(c *client, args [][]byte) { c.count(args[1:], c.db.Exists) }

// count replies with the number of keys for which done is true.
func (c *client) count(keys [][]byte, done func(key []byte) bool) {
	n := int64(0)
	for _, key := range keys {
		if done(key) {
			n++
		}
	}
	c.out.Integer(n)
}

func typeCommand(c *client, args [][]byte) {
	c.out.Status(either(c.db.Exists(args[1]), "string", "none"))
}

// A timeForm is a way to give a time: in units of so many milliseconds, from now or
// from 1970. SET has an option for each, and there is a kind of EXPIRE and of TTL.
type timeForm struct {
	option   string
	unit     int64
	absolute bool
}

var (
	ex   = &timeForm{"EX", 1000, false}
	px   = &timeForm{"PX", 1, false}
	exat = &timeForm{"EXAT", 1000, true}
	pxat = &timeForm{"PXAT", 1, true}
)

// findForm returns the form that an option of SET stands for, or nil.
func findForm(option []byte) *timeForm {
	for _, form := range [...]*timeForm{ex, px, exat, pxat} {
		if resp.Is(option, form.option) {
			return form
		}
	}
	return nil
}

// base returns the time that others are counted from.
func (c *client) base(form *timeForm) int64 { return either(form.absolute, 0, c.db.Now) }

// parseTime returns the time that is given in arg, in milliseconds since 1970. It
// replies with an error if that is too large, or the number in arg less than least.
func (c *client) parseTime(command string, form *timeForm, arg []byte, least int64) (when int64, ok bool) {
	n, ok := c.integer(arg)
	if !ok {
		return 0, false
	}
	base := c.base(form)
	if n < max(least, math.MinInt64/form.unit) || n > (math.MaxInt64-base)/form.unit {
		c.out.Error("ERR invalid expire time in '" + command + "' command")
		return 0, false
	}
	return base + n*form.unit, true
}

func expireCommand(c *client, args [][]byte)    { c.expire("expire", ex, args) }
func pexpireCommand(c *client, args [][]byte)   { c.expire("pexpire", px, args) }
func expireatCommand(c *client, args [][]byte)  { c.expire("expireat", exat, args) }
func pexpireatCommand(c *client, args [][]byte) { c.expire("pexpireat", pxat, args) }

// expireConditions say, by the times before and after, when EXPIRE changes a time:
// with NX only if there is none, with XX only if there is one, with GT and LT only to
// a later or an earlier one. Never, which is 0, is later than any time.
var expireConditions = map[string]func(before, when int64) bool{
	"nx": func(before, _ int64) bool { return before == 0 },
	"xx": func(before, _ int64) bool { return before != 0 },
	"gt": func(before, when int64) bool { return before != 0 && when > before },
	"lt": func(before, when int64) bool { return before == 0 || when < before },
}

// expire sets the time at which a key expires, if all conditions are met.
func (c *client) expire(command string, form *timeForm, args [][]byte) {
	given := make(map[string]bool)
	for _, arg := range args[3:] {
		name := folded(arg)
		if expireConditions[name] == nil {
			c.out.Error("ERR Unsupported option " + clip(arg, len(arg)))
			return
		}
		given[name] = true
	}
	switch {
	case given["nx"] && len(given) > 1:
		c.out.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	case given["gt"] && given["lt"]:
		c.out.Error("ERR GT and LT options at the same time are not compatible")
		return
	}
	when, ok := c.parseTime(command, form, args[2], math.MinInt64)
	if !ok {
		return
	}

	before, met := c.db.Expiry(args[1])
	for name := range given {
		met = met && expireConditions[name](before, when)
	}
	if met {
		c.expireAt(args[1], when)
	}
	c.out.Bool(met)
}

// expireAt sets the time at which a key expires. One that has passed removes the key.
func (c *client) expireAt(key []byte, when int64) {
	if when <= c.db.Now {
		c.db.Delete(key)
	} else {
		c.db.Expire(key, when)
	}
}

func persistCommand(c *client, args [][]byte) { c.out.Bool(c.persist(args[1])) }

// persist removes the time at which a key expires, and reports whether there was one.
func (c *client) persist(key []byte) bool {
	when, _ := c.db.Expiry(key)
	if when != 0 {
		c.db.Expire(key, 0)
	}
	return when != 0
}

func ttlCommand(c *client, args [][]byte)         { c.replyTime(args[1], ex) }
func pttlCommand(c *client, args [][]byte)        { c.replyTime(args[1], px) }
func expiretimeCommand(c *client, args [][]byte)  { c.replyTime(args[1], exat) }
func pexpiretimeCommand(c *client, args [][]byte) { c.replyTime(args[1], pxat) }

// replyTime replies with the time at which a key expires; -1 if it does not expire,
// -2 if there is none.
func (c *client) replyTime(key []byte, form *timeForm) {
	when, ok := c.db.Expiry(key)
	switch {
	case !ok:
		c.out.Integer(-2)
	case when == 0:
		c.out.Integer(-1)
	default:
		left := uint64(when - c.base(form) + form.unit/2) // the sum may need the 64th bit
		c.out.Integer(int64(left / uint64(form.unit)))
	}
}

const errNoKey = "ERR no such key"

func renameCommand(c *client, args [][]byte) {
	if c.db.Rename(args[1], args[2]) {
		c.out.Status("OK")
	} else {
		c.out.Error(errNoKey)
	}
}

func renamenxCommand(c *client, args [][]byte) {
	switch from, to := args[1], args[2]; {
	case c.db.Exists(from) && c.db.Exists(to):
		c.out.Integer(0)
	case c.db.Rename(from, to):
		c.out.Integer(1)
	default:
		c.out.Error(errNoKey)
	}
}

func keysCommand(c *client, args [][]byte) { c.replyKeys(c.db.All(), args[1]) }

// replyKeys replies with the keys that match a pattern.
func (c *client) replyKeys(refs []store.Ref, pattern []byte) {
	if string(pattern) != "*" {
		refs = slices.DeleteFunc(refs, func(at store.Ref) bool { return !match(pattern, c.db.Key(at), false) })
	}
	c.out.Array(len(refs))
	for _, at := range refs {
		c.out.Bulk(c.db.Key(at))
	}
}

func scanCommand(c *client, args [][]byte) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		c.out.Error("ERR invalid cursor")
		return
	}

	pattern, count, others := []byte("*"), int64(10), false
	for option := range slices.Chunk(args[2:], 2) {
		ok := len(option) == 2
		switch arg := option[len(option)-1]; {
		case resp.Is(option[0], "MATCH"):
			pattern = arg
		case resp.Is(option[0], "TYPE"):
			others = !resp.Is(arg, "STRING")
		case resp.Is(option[0], "COUNT") && ok:
			if count, ok = c.integer(arg); !ok {
				return
			}
			ok = count >= 1
		default:
			ok = false
		}
		if !ok {
			c.out.Error(errSyntax)
			return
		}
	}

	next, refs := c.db.Scan(cursor, int(min(count, math.MaxInt32/10)))
	if others {
		refs = nil
	}
	c.out.Array(2)
	c.out.Text(strconv.FormatUint(next, 10))
	c.replyKeys(refs, pattern)
}

func randomkeyCommand(c *client, args [][]byte) {
	if key, ok := c.db.Random(); ok {
		c.out.Bulk(key)
	} else {
		c.out.Null()
	}
}

func dbsizeCommand(c *client, args [][]byte) { c.out.Integer(int64(c.db.Len())) }

func flushdbCommand(c *client, args [][]byte)  { c.flushDBs(args, c.db) }
func flushallCommand(c *client, args [][]byte) { c.flushDBs(args, c.srv.dbs[:]...) }

// flushDBs accepts ASYNC and SYNC. They do the same: what goes away is left to
// the garbage collector, which is another thread.
func (c *client) flushDBs(args [][]byte, dbs ...*store.DB) {
	if len(args) > 2 || len(args) == 2 && !resp.Is(args[1], "ASYNC") && !resp.Is(args[1], "SYNC") {
		c.out.Error(errSyntax)
		return
	}
	for _, db := range dbs {
		db.Flush()
	}
	c.out.Status("OK")
}
