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

func expireCommand(c *client, args [][]byte)    { c.expire(args, "expire", true, c.db.Now) }
func pexpireCommand(c *client, args [][]byte)   { c.expire(args, "pexpire", false, c.db.Now) }
func expireatCommand(c *client, args [][]byte)  { c.expire(args, "expireat", true, 0) }
func pexpireatCommand(c *client, args [][]byte) { c.expire(args, "pexpireat", false, 0) }

// expire sets the time at which a key expires, counted from base. A time that has
// passed removes the key.
func (c *client) expire(args [][]byte, command string, seconds bool, base int64) {
	cond, ok := c.parseExpire(args[3:])
	if !ok {
		return
	}
	n, ok := c.integer(args[2])
	if !ok {
		return
	}
	when, ok := addTime(base, n, seconds)
	if !ok {
		c.out.Error("ERR invalid expire time in '" + command + "' command")
		return
	}

	key := args[1]
	before, exists := c.db.Expiry(key)
	switch {
	case !exists || !cond.met(before, when):
		c.out.Integer(0)
	case when <= c.db.Now:
		c.db.Delete(key)
		c.out.Integer(1)
	default:
		c.db.Expire(key, when)
		c.out.Integer(1)
	}
}

// An expireCondition says when EXPIRE changes a time: with NX only if there is
// none, with XX only if there is one, with GT and LT only to a later or an
// earlier one. Never is later than any time.
type expireCondition struct{ nx, xx, gt, lt bool }

func (o expireCondition) met(before, when int64) bool {
	switch {
	case o.nx && before != 0, o.xx && before == 0:
		return false
	case o.gt && (before == 0 || when <= before), o.lt && before != 0 && when >= before:
		return false
	}
	return true
}

func (c *client) parseExpire(args [][]byte) (o expireCondition, ok bool) {
	for _, arg := range args {
		switch {
		case resp.Is(arg, "NX"):
			o.nx = true
		case resp.Is(arg, "XX"):
			o.xx = true
		case resp.Is(arg, "GT"):
			o.gt = true
		case resp.Is(arg, "LT"):
			o.lt = true
		default:
			c.out.Error("ERR Unsupported option " + clip(arg, len(arg)))
			return o, false
		}
	}

	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		c.out.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return o, false
	case o.gt && o.lt:
		c.out.Error("ERR GT and LT options at the same time are not compatible")
		return o, false
	}
	return o, true
}

func ttlCommand(c *client, args [][]byte)         { c.replyTime(args[1], 1000, c.db.Now) }
func pttlCommand(c *client, args [][]byte)        { c.replyTime(args[1], 1, c.db.Now) }
func expiretimeCommand(c *client, args [][]byte)  { c.replyTime(args[1], 1000, 0) }
func pexpiretimeCommand(c *client, args [][]byte) { c.replyTime(args[1], 1, 0) }

// replyTime replies with the time at which a key expires, counted from base in
// units of so many milliseconds; -1 if it does not expire, -2 if there is none.
func (c *client) replyTime(key []byte, unit, base int64) {
	when, ok := c.db.Expiry(key)
	switch {
	case !ok:
		c.out.Integer(-2)
	case when == 0:
		c.out.Integer(-1)
	default:
		c.out.Integer(int64(uint64(when-base+unit/2) / uint64(unit))) // the sum may need the 64th bit
	}
}

func persistCommand(c *client, args [][]byte) {
	if when, ok := c.db.Expiry(args[1]); !ok || when == 0 {
		c.out.Integer(0)
		return
	}
	c.db.Expire(args[1], 0)
	c.out.Integer(1)
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
