// Package resp is RESP, the protocol of Redis. A client sends arrays of bulk
// strings, or plain lines for people with a terminal ("inline commands"), and may
// send any number of them without waiting for the replies.
//
//	*3\r\n $3\r\nSET\r\n $3\r\nkey\r\n $5\r\nhello\r\n
//	SET key hello\r\n
//
// A read hands over whatever has arrived, which may end in the middle of anything.
// So [Parser] is a state machine that stops at any byte and goes on later, and it
// never looks twice at an argument that it has completed: a command of a million
// arguments in a thousand pieces costs no more than in one. It takes bytes as
// stream.Handler.Data has them, and says how many it is done with:
//
//	for used < len(p) && c.Open() {
//		n, complete, err := parser.Parse(p[used:])
//		used += n
//		if err != nil || !complete {
//			break
//		}
//		execute(parser.Args)
//		parser.Reset()
//	}
//
// [Writer] makes the replies.
package resp
