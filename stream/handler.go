package stream

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Handler says what happens to connections. One Handler serves any number of
// them, and must not change while it does. Every func may be nil, though not all
// of them. All are called by the loop's goroutine, and none from inside a method
// of this package.
type Handler struct {
	// Open is the first call for a connection that was accepted, connected or
	// adopted, unless it was closed before.
	Open func(c *Conn)

	// Data has input. p is valid until the return, and may be changed. The result
	// is how much of p was used; the rest comes again, in front of what comes
	// next, once more has come or after Resume. Data that finds several messages
	// takes them one by one while c.Open() and it has not paused c; and if replies
	// are large, while Queued is below High: what it leaves then comes again once the
	// peer has taken them. Nil drops all input.
	Data func(c *Conn, p []byte) int

	// EOF says that the peer has finished sending. It may still read: what was
	// written goes out, and more can be written. Input that Data has left is not
	// offered again; Detach returns it. Nil is Close.
	EOF func(c *Conn)

	// Drained says that Queued had reached High and is at Low again.
	Drained func(c *Conn)

	// Idled says that Idle has passed. A last word can be written before Close; a
	// connection that is left open gets another Idle. Nil ends it with ErrIdle.
	Idled func(c *Conn)

	// Shutdown says that the loop shuts down: finish what is under way, then
	// Close. Nil leaves the connection alone until the grace ends.
	Shutdown func(c *Conn)

	// Close is the last call, and there is exactly one, unless Detach took the
	// connection away. It comes also if there was no Open: because nobody could be
	// reached, a Layer has failed, or the loop was closed. The descriptor is closed
	// by then. err is nil after Close,
	// and when both sides have finished sending; otherwise it says why: an error
	// of this package, or what the system says, such as ECONNRESET, also after a
	// Close whose output may not have arrived. A connection whose Data panics ends
	// with ErrAborted.
	Close func(c *Conn, err error)

	// Idle ends a connection on which no byte has moved for so long, in or out; 0
	// is never. It counts from the iteration in which a byte moved (see
	// ae.EventLoop.Now), is not early, and late by at most 20 ms or a callback that
	// runs long. Bytes that the peer takes out of the kernel's buffer count, where
	// the system tells of them: output that lies there when Idle has passed makes
	// it wait for another, to see whether the peer takes some.
	Idle time.Duration

	// Input stops being read when Queued reaches High after a send, and is read
	// again when it has fallen to Low. 0 is 64 KiB for High, and a quarter of High
	// for Low. FullDuplex reads on; then Limit alone bounds what waits.
	High, Low  int
	FullDuplex bool

	// Limit bounds Queued: what the kernel has refused beyond it ends the
	// connection with ErrSlow. The kernel is asked first, so a peer that keeps up
	// is never cut off. 0 is 16 MiB.
	Limit int

	// MaxInput bounds input that waits: when Data has used nothing of so much, or
	// leaves 64 KiB more than that each time, the connection ends with ErrTooLong.
	// 0 is 1 MiB. What Need asks for may be more.
	MaxInput int

	// Linger is how long Close waits for a peer that takes nothing of what was
	// written, and then for its end. 0 is 5 s.
	Linger time.Duration
}

// Errors with which connections end; errors.Is finds them.
var (
	ErrClosed   = errors.New("stream: connection is closed")                   // what methods return after the end
	ErrIdle     = errors.New("stream: idle for too long")                      // Handler.Idle
	ErrSlow     = errors.New("stream: the peer does not take its output")      // Handler.Limit
	ErrTooLong  = errors.New("stream: input too long")                         // Handler.MaxInput
	ErrLinger   = errors.New("stream: closed before the peer took everything") // Handler.Linger
	ErrAborted  = errors.New("stream: aborted")                                // Abort
	ErrShutdown = errors.New("stream: the loop has shut down")                 // the grace of Shutdown has ended

	// ErrTimeout is the end of a Dial that took too long, and of a connection at
	// its deadline. It wraps os.ErrDeadlineExceeded.
	ErrTimeout = fmt.Errorf("stream: timed out: %w", os.ErrDeadlineExceeded)
)

var errHandler = fmt.Errorf("stream: bad Handler: %w", unix.EINVAL)

// check returns what is wrong with h.
func (h *Handler) check() error {
	switch {
	case h == nil:
		return fmt.Errorf("%w: nil", errHandler)
	case h.Open == nil && h.Data == nil && h.EOF == nil && h.Close == nil:
		return fmt.Errorf("%w: empty", errHandler)
	case h.Idle < 0 || h.Linger < 0 || h.High < 0 || h.Low < 0 || h.Limit < 0 || h.MaxInput < 0:
		return fmt.Errorf("%w: negative", errHandler)
	case h.low() > h.high():
		return fmt.Errorf("%w: Low is above High", errHandler)
	}
	return nil
}

func (h *Handler) high() int             { return orElse(h.High, 64<<10) }
func (h *Handler) low() int              { return orElse(h.Low, h.high()/4) }
func (h *Handler) limit() int            { return orElse(h.Limit, 16<<20) }
func (h *Handler) maxInput() int         { return orElse(h.MaxInput, 1<<20) }
func (h *Handler) linger() time.Duration { return orElse(h.Linger, 5*time.Second) }

func orElse[T int | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}
