package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae/examples/kv/store"
)

// commandTests are commands, each followed by its reply as it is on the wire,
// with spaces for line ends. The clock stands still. Each test begins with empty
// databases. The same commands are given to a redis-server: see
// differential_test.go.
var commandTests = []struct {
	name  string
	steps []string
}{
	{"PING", []string{
		"PING", "+PONG",
		"ping hello", "$5 hello",
		"PING a b", "-ERR wrong number of arguments for 'ping' command",
	}},
	{"ECHO", []string{
		"ECHO hello", "$5 hello",
		`echo ""`, "$0 ",
		"ECHO", "-ERR wrong number of arguments for 'echo' command",
		"ECHO a b", "-ERR wrong number of arguments for 'echo' command",
	}},
	{"unknown commands", []string{
		"FOO", "-ERR unknown command 'FOO', with args beginning with: ",
		"foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' ",
		"f " + strings.Repeat("x", 200) + " y", "-ERR unknown command 'f', with args beginning with: '" + strings.Repeat("x", 128) + "' ",
		strings.Repeat("y", 200), "-ERR unknown command '" + strings.Repeat("y", 128) + "', with args beginning with: ",
		"f " + strings.Repeat("x", 100) + " " + strings.Repeat("y", 100) + " z",
		"-ERR unknown command 'f', with args beginning with: '" + strings.Repeat("x", 100) + "' '" + strings.Repeat("y", 25) + "' ",
		`""`, "-ERR unknown command '', with args beginning with: ",
		"client|getname x", "-ERR unknown command 'client|getname', with args beginning with: 'x' ", // a name only within the table
		"CLIENT GETNAME", "$-1",
		"client|getname x", "-ERR unknown command 'client|getname', with args beginning with: 'x' ",
	}},
	{"GET and SET", []string{
		"GET k", "$-1",
		"SET k v", "+OK",
		"GET k", "$1 v",
		`set k ""`, "+OK",
		"get k", "$0 ",
		"SET k", "-ERR wrong number of arguments for 'set' command",
		"GET", "-ERR wrong number of arguments for 'get' command",
		"GET a b", "-ERR wrong number of arguments for 'get' command",
		"SET k v FOO", "-ERR syntax error",
		"SET k v EX", "-ERR syntax error",
		"GET k", "$0 ",
	}},
	{"SET NX and XX", []string{
		"SET k 1 XX", "$-1",
		"SET k 1 NX", "+OK",
		"SET k 2 NX", "$-1",
		"SET k 3 xx", "+OK",
		"GET k", "$1 3",
		"SET k 4 NX XX", "-ERR syntax error",
		"SET k 4 XX NX", "-ERR syntax error",
		"SET k 4 XX XX", "+OK",
	}},
	{"SET GET", []string{
		"SET k 1 GET", "$-1",
		"SET k 2 GET", "$1 1",
		"SET k 3 GET NX", "$1 2",
		"SET k 4 XX GET", "$1 2",
		"GET k", "$1 4",
		"SET other 1 XX GET", "$-1",
		"EXISTS other", ":0",
		"SET k 5 GET EX 0", "-ERR invalid expire time in 'set' command",
		"GET k", "$1 4",
	}},
	{"SET with a time", []string{
		"SET k v EX 100", "+OK",
		"TTL k", ":100",
		"SET k v PX 100000", "+OK",
		"TTL k", ":100",
		"SET k v KEEPTTL", "+OK",
		"TTL k", ":100",
		"SET k v", "+OK",
		"TTL k", ":-1",
		"SET k v EXAT 4000000000", "+OK",
		"PERSIST k", ":1",
		"SET k v PXAT 4000000000000", "+OK",
		"PERSIST k", ":1",
		"SET k v EXAT 1", "+OK",
		"GET k", "$-1",
		"SET k v EX 10 EX 20", "+OK",
		"TTL k", ":20",
		"SET k v EX 10 PX 20", "-ERR syntax error",
		"SET k v EX 10 KEEPTTL", "-ERR syntax error",
		"SET k v KEEPTTL EX 10", "-ERR syntax error",
		"SET k v EX 0", "-ERR invalid expire time in 'set' command",
		"SET k v PX -1", "-ERR invalid expire time in 'set' command",
		"SET k v EX x", "-ERR value is not an integer or out of range",
		"SET k v EX 1.5", "-ERR value is not an integer or out of range",
		"SET k v EX 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"SET k v PX 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"SET k v EXAT 9223372036854775807", "-ERR invalid expire time in 'set' command",
		"TTL k", ":20",
		"SET n v NX EX 30", "+OK",
		"TTL n", ":30",
	}},
	{"MGET and MSET", []string{
		"MSET a 1 b 2", "+OK",
		"MGET a x b", "*3 $1 1 $-1 $1 2",
		"MSET a 1 a 3", "+OK",
		"MGET a", "*1 $1 3",
		"MSET a 1 b", "-ERR wrong number of arguments for 'mset' command",
		"MSET a", "-ERR wrong number of arguments for 'mset' command",
		"MGET", "-ERR wrong number of arguments for 'mget' command",
		"SET a 1 EX 100", "+OK",
		"MSET a 2", "+OK",
		"TTL a", ":-1",
	}},
	{"INCR and its kin", []string{
		"INCR n", ":1",
		"INCR n", ":2",
		"DECR n", ":1",
		"INCRBY n 10", ":11",
		"DECRBY n 20", ":-9",
		"GET n", "$2 -9",
		"DECR m", ":-1",
		"INCRBY n x", "-ERR value is not an integer or out of range",
		"DECRBY n 1.5", "-ERR value is not an integer or out of range",
		"INCRBY n 9223372036854775808", "-ERR value is not an integer or out of range",
		"SET s hello", "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		"SET s 01", "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		`SET s ""`, "+OK",
		"INCR s", "-ERR value is not an integer or out of range",
		"SET n 9223372036854775807", "+OK",
		"INCR n", "-ERR increment or decrement would overflow",
		"DECR n", ":9223372036854775806",
		"SET n -9223372036854775808", "+OK",
		"DECR n", "-ERR increment or decrement would overflow",
		"DECRBY n -9223372036854775808", "-ERR decrement would overflow",
		"INCRBY n 9223372036854775807", ":-1",
		"INCRBY n -9223372036854775808", "-ERR increment or decrement would overflow",
		"SET n 5 EX 100", "+OK",
		"INCR n", ":6",
		"TTL n", ":100",
		"INCR", "-ERR wrong number of arguments for 'incr' command",
		"INCRBY n", "-ERR wrong number of arguments for 'incrby' command",
	}},
	{"DEL and EXISTS", []string{
		"MSET a 1 b 2 c 3", "+OK",
		"EXISTS a b x a", ":3",
		"DEL a b x a", ":2",
		"EXISTS a b c", ":1",
		"DEL", "-ERR wrong number of arguments for 'del' command",
		"EXISTS", "-ERR wrong number of arguments for 'exists' command",
	}},
	{"TYPE", []string{
		"TYPE k", "+none",
		"SET k v", "+OK",
		"TYPE k", "+string",
	}},
	{"EXPIRE", []string{
		"EXPIRE k 10", ":0",
		"SET k v", "+OK",
		"EXPIRE k 10", ":1",
		"TTL k", ":10",
		"PEXPIRE k 20000", ":1",
		"TTL k", ":20",
		"EXPIRE k x", "-ERR value is not an integer or out of range",
		"EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command",
		"EXPIRE k -9223372036854775808", "-ERR invalid expire time in 'expire' command",
		"PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command",
		"EXPIRE nokey 9223372036854775807", "-ERR invalid expire time in 'expire' command",
		"TTL k", ":20",
		"EXPIRE k -1", ":1",
		"EXISTS k", ":0",
		"SET k v", "+OK",
		"PEXPIRE k 0", ":1",
		"EXISTS k", ":0",
		"SET k v", "+OK",
		"PEXPIRE k -9223372036854775808", ":1",
		"EXISTS k", ":0",
		"EXPIRE k", "-ERR wrong number of arguments for 'expire' command",
	}},
	{"EXPIRE with a condition", []string{
		"SET k v", "+OK",
		"EXPIRE k 100 XX", ":0",
		"EXPIRE k 100 GT", ":0",
		"EXPIRE k 100 NX", ":1",
		"EXPIRE k 200 nx", ":0",
		"EXPIRE k 50 GT", ":0",
		"EXPIRE k 200 GT", ":1",
		"EXPIRE k 300 LT", ":0",
		"EXPIRE k 150 LT", ":1",
		"TTL k", ":150",
		"EXPIRE k 400 XX", ":1",
		"EXPIRE k 500 XX GT", ":1",
		"TTL k", ":500",
		"PERSIST k", ":1",
		"EXPIRE k 100 LT", ":1",
		"TTL k", ":100",
		"EXPIRE k 1 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible",
		"EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible",
		"EXPIRE k 1 FOO", "-ERR Unsupported option FOO",
		"EXPIRE k x FOO", "-ERR Unsupported option FOO",
	}},
	{"TTL, PTTL and PERSIST", []string{
		"TTL k", ":-2",
		"PTTL k", ":-2",
		"PERSIST k", ":0",
		"SET k v", "+OK",
		"TTL k", ":-1",
		"PTTL k", ":-1",
		"PERSIST k", ":0",
		"PEXPIRE k 100000", ":1",
		"PTTL k", ":100000",
		"PERSIST k", ":1",
		"TTL k", ":-1",
	}},
	{"SELECT and the databases", []string{
		"SET k zero", "+OK",
		"SELECT 15", "+OK",
		"GET k", "$-1",
		"SET k fifteen", "+OK",
		"SET l fifteen", "+OK",
		"DBSIZE", ":2",
		"SELECT 0", "+OK",
		"DBSIZE", ":1",
		"FLUSHDB", "+OK",
		"DBSIZE", ":0",
		"SELECT 15", "+OK",
		"DBSIZE", ":2",
		"SELECT 16", "-ERR DB index is out of range",
		"SELECT -1", "-ERR DB index is out of range",
		"SELECT x", "-ERR value is not an integer or out of range",
		"SELECT 99999999999", "-ERR value is out of range, value must between -2147483648 and 2147483647",
		"GET k", "$7 fifteen",
		"SELECT 0", "+OK",
		"FLUSHALL ASYNC", "+OK",
		"SELECT 15", "+OK",
		"DBSIZE", ":0",
		"FLUSHDB sync", "+OK",
		"FLUSHALL FOO", "-ERR syntax error",
		"FLUSHDB ASYNC SYNC", "-ERR syntax error",
		"DBSIZE x", "-ERR wrong number of arguments for 'dbsize' command",
		"SELECT 0", "+OK",
	}},
	{"CONFIG GET", []string{
		"CONFIG GET save", "*2 $4 save $0 ",
		"CONFIG GET appendonly", "*2 $10 appendonly $2 no",
		"CONFIG GET APPENDONL[X-Z]", "*2 $10 appendonly $2 no",
		"CONFIG GET nothing", "*0",
		"CONFIG GET", "-ERR wrong number of arguments for 'config|get' command",
		"CONFIG", "-ERR wrong number of arguments for 'config' command",
		"CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.",
		"CONFIG get save SAVE", "*2 $4 save $0 ",
	}},
	{"COMMAND", []string{
		"COMMAND INFO nothing", "*1 $-1",
		"COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command",
		"COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.",
		"COMMAND DOCS nothing", "*0",
	}},
	{"SETNX, SETEX and PSETEX", []string{
		"SETNX k 1", ":1",
		"SETNX k 2", ":0",
		"GET k", "$1 1",
		"SETEX k 100 v", "+OK",
		"TTL k", ":100",
		"PSETEX k 200000 w", "+OK",
		"PTTL k", ":200000",
		"GET k", "$1 w",
		"SETEX k 0 v", "-ERR invalid expire time in 'setex' command",
		"SETEX k x v", "-ERR value is not an integer or out of range",
		"PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command",
		"SETEX k 9223372036854775807 v", "-ERR invalid expire time in 'setex' command",
		"GET k", "$1 w",
		"SETNX k", "-ERR wrong number of arguments for 'setnx' command",
		"SETEX k 1", "-ERR wrong number of arguments for 'setex' command",
	}},
	{"GETSET, GETDEL and GETEX", []string{
		"GETSET k 1", "$-1",
		"GETSET k 2", "$1 1",
		"EXPIRE k 100", ":1",
		"GETSET k 3", "$1 2",
		"TTL k", ":-1",
		"GETDEL k", "$1 3",
		"GETDEL k", "$-1",
		"GETEX k", "$-1",
		"GETEX k EX x", "$-1",
		"GETEX k FOO", "-ERR syntax error",
		"SET k v", "+OK",
		"GETEX k", "$1 v",
		"GETEX k EX 100", "$1 v",
		"TTL k", ":100",
		"GETEX k PX 200000", "$1 v",
		"TTL k", ":200",
		"GETEX k", "$1 v",
		"TTL k", ":200",
		"GETEX k PERSIST", "$1 v",
		"TTL k", ":-1",
		"GETEX k EXAT 4000000000", "$1 v",
		"EXPIRETIME k", ":4000000000",
		"GETEX k PXAT 4000000001000", "$1 v",
		"PEXPIRETIME k", ":4000000001000",
		"GETEX k PERSIST EX 10", "-ERR syntax error",
		"GETEX k EX 10 PERSIST", "-ERR syntax error",
		"GETEX k EX 10 PX 10", "-ERR syntax error",
		"GETEX k EX", "-ERR syntax error",
		"GETEX k NX", "-ERR syntax error",
		"GETEX k KEEPTTL", "-ERR syntax error",
		"GETEX k EX 0", "-ERR invalid expire time in 'getex' command",
		"GETEX k PX y", "-ERR value is not an integer or out of range",
		"GETEX k EXAT 1", "$1 v",
		"EXISTS k", ":0",
	}},
	{"MSETNX", []string{
		"MSETNX a 1 b 2", ":1",
		"MSETNX b 3 c 4", ":0",
		"MGET a b c", "*3 $1 1 $1 2 $-1",
		"MSETNX c 1 c 2", ":1",
		"GET c", "$1 2",
		"MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command",
		"MSETNX a", "-ERR wrong number of arguments for 'msetnx' command",
	}},
	{"APPEND and STRLEN", []string{
		"APPEND k abc", ":3",
		"APPEND k defgh", ":8",
		"GET k", "$8 abcdefgh",
		"STRLEN k", ":8",
		"STRLEN nokey", ":0",
		"EXPIRE k 100", ":1",
		`APPEND k ""`, ":8",
		"TTL k", ":100",
		"APPEND k", "-ERR wrong number of arguments for 'append' command",
		"STRLEN", "-ERR wrong number of arguments for 'strlen' command",
	}},
	{"GETRANGE and SETRANGE", []string{
		"GETRANGE k 0 -1", "$0 ",
		"SET k 0123456789", "+OK",
		"GETRANGE k 0 -1", "$10 0123456789",
		"GETRANGE k 2 4", "$3 234",
		"GETRANGE k -3 -1", "$3 789",
		"GETRANGE k -3 -5", "$0 ",
		"GETRANGE k -100 -5", "$6 012345",
		"GETRANGE k -100 -50", "$1 0",
		"GETRANGE k 5 100", "$5 56789",
		"GETRANGE k 10 11", "$0 ",
		"GETRANGE k 5 4", "$0 ",
		"GETRANGE k x 1", "-ERR value is not an integer or out of range",
		"GETRANGE k 1 x", "-ERR value is not an integer or out of range",
		"GETRANGE k 0 9223372036854775807", "$10 0123456789",
		"SETRANGE k 3 abc", ":10",
		"GET k", "$10 012abc6789",
		"SETRANGE k 8 xyz", ":11",
		"GET k", "$11 012abc67xyz",
		"SETRANGE n 3 a", ":4",
		"GETRANGE n 3 3", "$1 a",
		`SETRANGE k 20 ""`, ":11",
		`SETRANGE nokey 20 ""`, ":0",
		"EXISTS nokey", ":0",
		"SETRANGE k -1 a", "-ERR offset is out of range",
		"SETRANGE k x a", "-ERR value is not an integer or out of range",
		"SETRANGE k 536870912 a", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
		"SETRANGE k 9223372036854775807 a", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
		"SETRANGE k 536870911", "-ERR wrong number of arguments for 'setrange' command",
		"EXPIRE k 100", ":1",
		"SETRANGE k 0 a", ":11",
		"TTL k", ":100",
	}},
	{"INCRBYFLOAT", []string{
		"INCRBYFLOAT f 10.5", "$4 10.5",
		"INCRBYFLOAT f 0.1", "$4 10.6",
		"INCRBYFLOAT f -5", "$3 5.6",
		"INCRBYFLOAT f 5.0e3", "$22 5005.60000000000000009",
		"SET f 3.0", "+OK",
		"INCRBYFLOAT f 1.", "$1 4",
		"INCRBYFLOAT f -4", "$1 0",
		"INCRBYFLOAT f .5", "$3 0.5",
		"INCRBYFLOAT f 1e30", "$31 1000000000000000000024696061952",
		"SET f 0.1", "+OK",
		"INCRBYFLOAT f 0.2", "$3 0.3",
		"INCRBYFLOAT f 1e-17", "$19 0.30000000000000001",
		"SET f -1", "+OK",
		"INCRBYFLOAT f 1", "$1 0",
		"INCRBYFLOAT f x", "-ERR value is not a valid float",
		`INCRBYFLOAT f ""`, "-ERR value is not a valid float",
		"INCRBYFLOAT f 1e", "-ERR value is not a valid float",
		"INCRBYFLOAT f 1_0", "-ERR value is not a valid float",
		"INCRBYFLOAT f nan", "-ERR value is not a valid float",
		"INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity",
		"INCRBYFLOAT f -inf", "-ERR increment would produce NaN or Infinity",
		"INCRBYFLOAT f 1e5000", "-ERR value is not a valid float",
		"INCRBYFLOAT f 1e999999999", "-ERR value is not a valid float",
		"INCRBYFLOAT f 1e-99999", "-ERR value is not a valid float",
		"SET s hello", "+OK",
		"INCRBYFLOAT s 1", "-ERR value is not a valid float",
		"SET s 5 EX 100", "+OK",
		"INCRBYFLOAT s 1.25", "$4 6.25",
		"TTL s", ":100",
	}},
	{"UNLINK and TOUCH", []string{
		"MSET a 1 b 2", "+OK",
		"TOUCH a b x a", ":3",
		"UNLINK a x", ":1",
		"EXISTS a b", ":1",
		"TOUCH", "-ERR wrong number of arguments for 'touch' command",
		"UNLINK", "-ERR wrong number of arguments for 'unlink' command",
	}},
	{"RENAME and RENAMENX", []string{
		"RENAME a b", "-ERR no such key",
		"RENAME a a", "-ERR no such key",
		"RENAMENX a b", "-ERR no such key",
		"SET a 1 EX 100", "+OK",
		"SET b 2", "+OK",
		"RENAMENX a b", ":0",
		"RENAMENX a a", ":0",
		"RENAME a a", "+OK",
		"RENAME a b", "+OK",
		"TTL b", ":100",
		"EXISTS a", ":0",
		"GET b", "$1 1",
		"RENAMENX b c", ":1",
		"TTL c", ":100",
		"SET d 5", "+OK",
		"RENAME d c", "+OK",
		"TTL c", ":-1",
		"DBSIZE", ":1",
	}},
	{"KEYS and RANDOMKEY", []string{
		"KEYS *", "*0",
		"RANDOMKEY", "$-1",
		"SET hello 1", "+OK",
		"RANDOMKEY", "$5 hello",
		"SET world 1", "+OK",
		"KEYS h*", "*1 $5 hello",
		"KEYS ?orld", "*1 $5 world",
		"KEYS x", "*0",
		"KEYS", "-ERR wrong number of arguments for 'keys' command",
	}},
	{"EXPIREAT, PEXPIREAT and their times", []string{
		"EXPIRETIME k", ":-2",
		"SET k v", "+OK",
		"EXPIRETIME k", ":-1",
		"PEXPIRETIME k", ":-1",
		"EXPIREAT k 4000000000", ":1",
		"EXPIRETIME k", ":4000000000",
		"PEXPIREAT k 4000000000499", ":1",
		"EXPIRETIME k", ":4000000000",
		"PEXPIRETIME k", ":4000000000499",
		"PEXPIREAT k 4000000000500", ":1",
		"EXPIRETIME k", ":4000000001",
		"EXPIREAT k 5000000000 LT", ":0",
		"EXPIREAT k 5000000000 GT", ":1",
		"EXPIREAT k 9223372036854775807", "-ERR invalid expire time in 'expireat' command",
		"PEXPIREAT k 9223372036854775807", ":1",
		"PEXPIRETIME k", ":9223372036854775807",
		"EXPIREAT k x", "-ERR value is not an integer or out of range",
		"EXPIREAT k 1", ":1",
		"EXISTS k", ":0",
	}},
	{"SCAN", []string{
		"SCAN 0", "*2 $1 0 *0",
		"SET a 1", "+OK",
		"SCAN 0 COUNT 1000", "*2 $1 0 *1 $1 a",
		"SCAN 0 COUNT 1000 MATCH b*", "*2 $1 0 *0",
		"SCAN 0 COUNT 1000 MATCH a TYPE string", "*2 $1 0 *1 $1 a",
		"SCAN 0 COUNT 1000 TYPE list", "*2 $1 0 *0",
		"SCAN x", "-ERR invalid cursor",
		"SCAN 99999999999999999999", "-ERR invalid cursor",
		"SCAN 0 COUNT 0", "-ERR syntax error",
		"SCAN 0 COUNT x", "-ERR value is not an integer or out of range",
		"SCAN 0 COUNT", "-ERR syntax error",
		"SCAN 0 FOO 1", "-ERR syntax error",
		"SCAN", "-ERR wrong number of arguments for 'scan' command",
	}},
	{"AUTH and HELLO without a password", []string{
		"AUTH x", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
		"AUTH default x", "+OK",
		"AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.",
		"AUTH a b c", "-ERR syntax error",
		"HELLO 1", "-NOPROTO unsupported protocol version",
		"HELLO 4", "-NOPROTO unsupported protocol version",
		"HELLO x", "-ERR Protocol version is not an integer or out of range",
		"HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'",
		"HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'",
		"HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'",
		"HELLO 3 AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.",
		"CLIENT GETNAME", "$-1",
	}},
	{"CLIENT", []string{
		"CLIENT GETNAME", "$-1",
		"CLIENT SETNAME me", "+OK",
		"CLIENT GETNAME", "$2 me",
		"CLIENT SETNAME é", "-ERR Client names cannot contain spaces, newlines or special characters.",
		`CLIENT SETNAME ""`, "+OK",
		"CLIENT GETNAME", "$-1",
		"CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command",
		"CLIENT NO-EVICT on", "+OK",
		"CLIENT NO-EVICT off", "+OK",
		"CLIENT NO-EVICT x", "-ERR syntax error",
		"CLIENT LIST x", "-ERR syntax error",
		"CLIENT LIST TYPE x", "-ERR Unknown client type 'x'",
		"CLIENT LIST ID x", "-ERR Invalid client ID",
		"CLIENT LIST TYPE replica", "$0 ",
		"CLIENT KILL 1.2.3.4:5", "-ERR No such client",
		"CLIENT KILL ID 999999", ":0",
		"CLIENT KILL ID 0", "-ERR client-id should be greater than 0",
		"CLIENT KILL ID x", "-ERR client-id should be greater than 0",
		"CLIENT KILL ID 1 ADDR", "-ERR syntax error",
		"CLIENT KILL USER nobody", "-ERR No such user 'nobody'",
		"CLIENT KILL TYPE x", "-ERR Unknown client type 'x'",
		"CLIENT KILL SKIPME x", "-ERR syntax error",
		"CLIENT KILL TYPE pubsub", ":0",
		"CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.",
		"CLIENT", "-ERR wrong number of arguments for 'client' command",
	}},
	{"PUBLISH and PUBSUB", []string{
		"PUBLISH c m", ":0",
		"PUBSUB CHANNELS", "*0",
		"PUBSUB CHANNELS a b", "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
		"PUBSUB NUMSUB a b", "*4 $1 a :0 $1 b :0",
		"PUBSUB NUMSUB", "*0",
		"PUBSUB NUMPAT", ":0",
		"UNSUBSCRIBE", "*3 $11 unsubscribe $-1 :0",
		"UNSUBSCRIBE a b", "*3 $11 unsubscribe $1 a :0",
	}},
	{"CONFIG SET", []string{
		"CONFIG SET maxmemory 1gb", "+OK",
		"CONFIG GET maxmemory", "*2 $9 maxmemory $10 1073741824",
		"CONFIG SET maxmemory 0 timeout 10", "+OK",
		"CONFIG GET timeout", "*2 $7 timeout $2 10",
		"CONFIG SET timeout 0 maxmemory x", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value",
		"CONFIG GET timeout", "*2 $7 timeout $2 10",
		"CONFIG SET timeout x", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer",
		"CONFIG SET timeout -1", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument must be between 0 and 2147483647 inclusive",
		"CONFIG SET timeout 0 timeout 1", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
		"CONFIG SET timeout 0", "+OK",
		"CONFIG SET databases 3", "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
		"CONFIG SET protected-mode x", "-ERR CONFIG SET failed (possibly related to argument 'protected-mode') - argument must be 'yes' or 'no'",
		"CONFIG SET maxclıents 5", "-ERR Unknown option or number of arguments for CONFIG SET - 'maxclıents'",
		"CONFIG SET maxclİents 5", "-ERR Unknown option or number of arguments for CONFIG SET - 'maxclİents'",
		"CONFIG SET protected-mode yeſ", "-ERR CONFIG SET failed (possibly related to argument 'protected-mode') - argument must be 'yes' or 'no'",
		"CONFIG SET loglevel notİce", "-ERR CONFIG SET failed (possibly related to argument 'loglevel') - argument(s) must be one of the following: debug, verbose, notice, warning",
		"CONFIG SET maxmemory 1K", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value",
		"CONFIG GET tİmeout", "*0",
		"CONFIG SET nothing 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'",
		"CONFIG SET timeout 0 foo", "-ERR syntax error",
		"CONFIG SET timeout", "-ERR wrong number of arguments for 'config|set' command",
		"CONFIG SET slowlog-max-len 5", "+OK",
		"CONFIG SET slowlog-max-len 128", "+OK",
	}},
	{"SLOWLOG", []string{
		"SLOWLOG RESET", "+OK",
		"SLOWLOG LEN", ":0",
		"SLOWLOG GET", "*0",
		"SLOWLOG HELP x", "-ERR wrong number of arguments for 'slowlog|help' command",
		"SLOWLOG GET -1", "*0",
		"SLOWLOG GET 5", "*0",
		"SLOWLOG GET -2", "-ERR count should be greater than or equal to -1",
		"SLOWLOG GET x", "-ERR count should be greater than or equal to -1",
		"SLOWLOG GET 1 2", "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
	}},
	{"FUNCTION, SHUTDOWN and DEBUG", []string{
		"FUNCTION FLUSH", "+OK",
		"FUNCTION FLUSH ASYNC", "+OK",
		"FUNCTION FLUSH x", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
		"SHUTDOWN FOO", "-ERR syntax error",
		"SHUTDOWN ABORT", "-ERR No shutdown in progress.",
	}},
	{"INCRBYFLOAT of long numbers", []string{
		"SET k 1e300", "+OK",
		"INCRBYFLOAT k 1", "$301 " + longFloat,
		"INCRBYFLOAT k 1", "$301 " + longFloat,
		"INCRBYFLOAT n " + longFloat, "$301 " + longFloat,
		"INCRBYFLOAT n " + strings.Repeat("0", 5118) + "1", "$301 " + longFloat,
		"INCRBYFLOAT n " + strings.Repeat("0", 5119) + "1", "-ERR value is not a valid float",
		"SET k 1e4932", "+OK",
		"INCRBYFLOAT k 1e4932", "-ERR increment would produce NaN or Infinity",
		"INCRBYFLOAT k 1e4933", "-ERR value is not a valid float",
	}},
	{"CONFIG SET of what cannot be changed", []string{
		`CONFIG SET save ""`, "+OK",
		"CONFIG SET maxmemory-policy NoEviction", "+OK",
		"CONFIG SET proto-max-bulk-len 512mb", "+OK",
		"CONFIG SET appendonly no", "+OK",
		`CONFIG SET save "" timeout 0 SAVE ""`, "-ERR CONFIG SET failed (possibly related to argument 'SAVE') - duplicate parameter",
		"CONFIG SET databases 16", "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
		"CONFIG SET appendfilename appendonly.aof", "-ERR CONFIG SET failed (possibly related to argument 'appendfilename') - can't set immutable config",
		"CONFIG RESETSTAT x", "-ERR wrong number of arguments for 'config|resetstat' command",
		"CONFIG RESETSTAT", "+OK",
	}},
	{"COMMAND LIST and DOCS", []string{
		"COMMAND LIST FILTERBY PATTERN CLIENT|i?", "*1 $9 client|id",
		"COMMAND LIST FILTERBY MODULE x", "*0",
		"COMMAND LIST FILTERBY ACLCAT nothing", "*0",
		"COMMAND LIST FILTERBY ACLCAT", "-ERR syntax error",
		"COMMAND LIST FILTERBY NAME x", "-ERR syntax error",
		"COMMAND LIST FILTERBY PATTERN host:", "*0",
		"COMMAND LIST FILTERBY PATTERN post", "*0",
		"COMMAND DOCS client|nothing get|x", "*0",
	}},
	{"RESET", []string{
		"SELECT 3", "+OK",
		"CLIENT SETNAME me", "+OK",
		"RESET", "+RESET",
		"CLIENT GETNAME", "$-1",
		"SET k v", "+OK",
		"SELECT 0", "+OK",
		"EXISTS k", ":1",
	}},
}

// longFloat is 1e300 in 64 bits of precision.
const longFloat = "1000000000000000000008997324079559193870523944273290747938260082321265646596180935755849152083750497190350372508614274835903592556" +
	"184672983913096260520748646287327135641843653294084255107606016789726652932370030551382947620994540294772781889620606179267611627097" +
	"410650567187386105690089424915104006144"

func TestCommandsReplyAsRedisDoes(t *testing.T) {
	s := startServer(t, newClock().install)
	for _, tt := range commandTests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s)
			c.cmd("FLUSHALL")
			for i := 0; i < len(tt.steps); i += 2 {
				if got := c.cmd(tt.steps[i]); got != tt.steps[i+1] {
					t.Errorf("%.80s\n got %q\nwant %q", tt.steps[i], got, tt.steps[i+1])
				}
			}
		})
	}
}

func TestEveryCommandChecksItsArity(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	for _, cmd := range commandTable {
		name := strings.ReplaceAll(cmd.name, "|", " ")
		if cmd.proc == nil || cmd.name == "post" || cmd.name == "host:" || cmd.name == "quit" {
			continue
		}
		want := "-ERR wrong number of arguments for '" + cmd.name + "' command"
		if n := cmd.arity; n > 0 {
			if got := c.cmd(name + strings.Repeat(" x", n+1-len(strings.Fields(name)))); got != want {
				t.Errorf("%s with too many arguments: %q", name, got)
			}
		}
		if words := strings.Fields(name); len(words) < max(cmd.arity, -cmd.arity) {
			if got := c.cmd(name); got != want {
				t.Errorf("%s with too few arguments: %q", name, got)
			}
		}
	}
}

func TestKeysExpireWhenTheClockSaysSo(t *testing.T) {
	clock := newClock()
	s := startServer(t, clock.install)
	c := dial(t, s)

	c.cmd("SET k v PX 1000")
	c.cmd("SET stays v")
	clock.advance(1000 * time.Millisecond)
	if got := c.cmd("GET k"); got != "$1 v" {
		t.Errorf("in its last millisecond: %q", got)
	}
	if got := c.cmd("PTTL k"); got != ":0" {
		t.Errorf("time left in its last millisecond: %q", got)
	}

	clock.advance(time.Millisecond)
	for _, step := range [][2]string{{"GET k", "$-1"}, {"EXISTS k", ":0"}, {"TTL k", ":-2"}, {"SET k w XX", "$-1"},
		{"INCR k", ":1"}, {"TTL k", ":-1"}, {"GET stays", "$1 v"}} {
		if got := c.cmd(step[0]); got != step[1] {
			t.Errorf("%s after its time: %q, want %q", step[0], got, step[1])
		}
	}
}

func TestKeysNobodyAsksForAreRemovedByATimeEvent(t *testing.T) {
	const n = 5000
	clock := newClock()
	s, err := newServer(defaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	clock.install(s)

	db := s.dbs[3]
	for i := range n {
		db.Set(fmt.Appendf(nil, "key:%d", i), store.Copy([]byte("v")), clock.now.Load()+100)
	}
	if wait := s.expireKeys(s.el, 0); db.Len() != n || wait < 100*time.Millisecond {
		t.Errorf("before their time: %d keys, next look in %v", db.Len(), wait)
	}

	clock.advance(time.Second)
	runs := 0
	for wait := time.Duration(0); wait < 100*time.Millisecond; runs++ {
		wait = s.expireKeys(s.el, 0)
	}
	if db.Len() != 0 || runs < 2 {
		t.Errorf("%d keys are left after %d runs", db.Len(), runs)
	}
}

func TestInfoHasWhatIsAskedFor(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	c.cmd("MSET a 1 b 2")
	c.cmd("EXPIRE a 100")
	c.cmd("GET a")
	c.cmd("GET x")

	s.do(t, func() { s.stats.sampled = 0; s.sampleRates(nil, 0) })
	all := c.cmd("INFO")
	for _, want := range []string{"# Server", "redis_version:7", "tcp_port:" + s.addr[len("127.0.0.1:"):] + " ", "# Clients", "connected_clients:1 ",
		"# Memory", "used_memory:", "role:master", "keyspace_hits:1 ", "keyspace_misses:1 ", "# Keyspace", "instantaneous_ops_per_sec:4 ",
		"maxmemory_policy:noeviction ", "rejected_connections:0 ", "pubsub_channels:0 ", "cluster_enabled:0 ", "monitor_clients:0 ", "db0:keys=2,expires=1,avg_ttl=0"} {
		if !strings.Contains(all+" ", want) {
			t.Errorf("INFO has no %q:\n%s", want, all)
		}
	}
	if got := c.cmd("INFO keyspace"); !strings.Contains(got, "# Keyspace") || strings.Contains(got, "# Server") {
		t.Errorf("INFO keyspace: %q", got)
	}
	if got := c.cmd("INFO nothing"); got != "$0 " {
		t.Errorf("INFO nothing: %q", got)
	}
}

func TestStatisticsBeginAnew(t *testing.T) {
	clock := newClock()
	s := startServer(t, clock.install)
	c := dial(t, s)
	c.expect("SET k v PX 1", "+OK")
	c.expect("GET k", "$1 v")
	clock.advance(time.Second)
	c.expect("GET k", "$-1")
	c.expect("CONFIG RESETSTAT", "+OK")
	got := c.cmd("INFO stats")
	for _, want := range []string{"total_connections_received:0 ", "total_commands_processed:1 ", "expired_keys:0 ", "keyspace_hits:0 ", "keyspace_misses:0 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

func TestCommandDescribesTheTable(t *testing.T) {
	s := startServer(t)
	c := dial(t, s)
	if got, want := c.cmd("COMMAND INFO mset"), "*1 *10 $4 mset :-3 *2 +write +denyoom :1 :-1 :2 *0 *0 *0 *0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	if got, want := c.cmd("COMMAND INFO Client|ID post client|x"), "*3 *10 $9 client|id :2 *3 +noscript +loading +stale :0 :0 :0 *0 *0 *0 *0 $-1 $-1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.cmd("COMMAND DOCS client|getname"), "*2 $14 client|getname *0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	top, all := 0, 0
	containers := make(map[string]bool) // each has a HELP too
	for _, cmd := range commandTable {
		container, _, ok := strings.Cut(cmd.name, "|")
		if cmd.name == "post" || cmd.name == "host:" {
			continue
		}
		all++
		if ok {
			containers[container] = true
		} else {
			top++
		}
	}
	if got, want := c.cmd("COMMAND LIST"), fmt.Sprintf("*%d ", all+len(containers)); !strings.HasPrefix(got, want) {
		t.Errorf("COMMAND LIST: %.40q, want %q...", got, want)
	}
	if got, want := c.cmd("COMMAND COUNT"), fmt.Sprintf(":%d", top); got != want {
		t.Errorf("COUNT: %q, want %q", got, want)
	}
	for _, line := range []string{"COMMAND", "COMMAND INFO"} {
		if got, want := c.cmd(line), fmt.Sprintf("*%d ", top); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %.40q, want %q...", line, got, want)
		}
	}
	if got, want := c.cmd("COMMAND DOCS"), fmt.Sprintf("*%d ", 2*top); !strings.HasPrefix(got, want) {
		t.Errorf("COMMAND DOCS: %.40q, want %q...", got, want)
	}
}

func TestScanSkipsWhatHasExpired(t *testing.T) {
	clock := newClock()
	s := startServer(t, clock.install)
	c := dial(t, s)
	c.cmd("SET stays v")
	for i := range 50 {
		c.cmd("SET gone:" + strconv.Itoa(i) + " v PX 100")
	}
	clock.advance(101 * time.Millisecond)
	if got := c.cmd("SCAN 0 COUNT 1000"); got != "*2 $1 0 *1 $5 stays" {
		t.Error(got)
	}
	if got := c.cmd("KEYS *"); got != "*1 $5 stays" {
		t.Error(got)
	}
	for range 20 {
		if got := c.cmd("RANDOMKEY"); got != "$5 stays" {
			t.Error(got)
		}
	}
}
