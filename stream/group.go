package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/aeloop/ae"
	"golang.org/x/sys/unix"
)

// Group is a number of loops, each with a goroutine of its own. They share nothing:
// each has its connections and its Handler.
type Group struct {
	// Choose picks the loop, by its index, for a connection from peer. Nil takes
	// the one with the fewest connections, and of equals each in turn. Only the
	// first loop's goroutine calls it. Set it before Run.
	Choose func(peer netip.AddrPort) int

	loops []*Loop
	turn  int
}

// loopSize is the size of a Group's loops: more than any process has descriptors.
const loopSize = 1 << 24

// NewGroup returns n loops, not running yet. The error is unix.EINVAL for an n that
// is not positive, or what ae.New says.
func NewGroup(n int) (*Group, error) {
	if n <= 0 {
		return nil, fmt.Errorf("stream: a group of %d loops: %w", n, unix.EINVAL)
	}
	g := &Group{}
	for range n {
		el, err := ae.New(loopSize)
		if err != nil {
			for _, l := range g.loops {
				_ = l.el.Close()
			}
			return nil, err
		}
		g.loops = append(g.loops, On(el))
	}
	return g, nil
}

// Loops returns the loops. Before Run they may be used as any others; afterwards
// each belongs to its goroutine, which is reached by EventLoop().Post.
func (g *Group) Loops() []*Loop { return g.loops }

// Listen accepts connections for all loops; handler is called once for each, and
// returns its Handler. The first loop accepts, and hands connections over. With
// cfg.ReusePort each loop has a listener of its own instead, over which the system
// spreads connections; the one returned is the first loop's, and MaxConns is for
// each. Call it before Run.
func (g *Group) Listen(network, address string, cfg ListenConfig, handler func(l *Loop) *Handler) (*Listener, error) {
	if handler == nil {
		panic("stream: Group.Listen with a nil function")
	}
	handlers := make(map[*Loop]*Handler)
	for _, l := range g.loops {
		h := handler(l)
		if err := h.check(); err != nil {
			return nil, err
		}
		handlers[l] = h
	}
	if !cfg.ReusePort || network == "unix" {
		return g.loops[0].listen(network, address, cfg, func(peer netip.AddrPort) (*Loop, *Handler) {
			l := g.next(peer)
			return l, handlers[l]
		})
	}

	cfg.PerConn = orElse(cfg.PerConn, 1) * len(g.loops) // each has its share of the descriptors
	var lns []*Listener
	for _, l := range g.loops {
		ln, err := l.Listen(network, address, cfg, handlers[l])
		if err != nil {
			for _, ln := range lns {
				ln.Close()
			}
			return nil, err
		}
		lns = append(lns, ln)
		address = ln.Addr() // the port that the system chose for the first
	}
	return lns[0], nil
}

// next returns the loop for a connection from peer.
func (g *Group) next(peer netip.AddrPort) *Loop {
	if g.Choose != nil {
		if i := g.Choose(peer); i >= 0 && i < len(g.loops) {
			return g.loops[i]
		}
		panic("stream: Group.Choose has returned the index of no loop")
	}
	g.turn++
	least := g.loops[g.turn%len(g.loops)]
	for i := range g.loops {
		if l := g.loops[(g.turn+i)%len(g.loops)]; l.n.Load() < least.n.Load() {
			least = l
		}
	}
	return least
}

// Run runs all loops until ctx is done or one of them fails, then shuts them all
// down as Shutdown does, within grace, and closes them. It returns nil after ctx,
// and otherwise the error. A panic in one loop ends the others in the same way, and
// then Run panics with its value. A Group runs once.
func (g *Group) Run(ctx context.Context, grace time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make([]error, len(g.loops))
	var wg sync.WaitGroup
	for i, l := range g.loops {
		wg.Go(func() {
			defer cancel()
			ends[i] = errGoexit // unless it returns
			ends[i] = l.runAlone()
		})
	}

	<-ctx.Done()
	// Those who wait in a backlog are handed over first, to loops that still run.
	g.each((*Loop).acceptRest)
	g.each(func(l *Loop) { l.stopAfter(grace) })
	wg.Wait()

	for _, end := range ends {
		var p *loopPanic
		if errors.As(end, &p) {
			panic(p.value)
		}
	}
	return cmp.Or(ends...)
}

// stopAfter is Shutdown of a loop, which then stops, also when a callback of its
// own has shut it down before.
func (l *Loop) stopAfter(grace time.Duration) {
	if l.Shutdown(grace, l.el.Stop) == nil {
		return
	}
	down := l.down
	if down == nil {
		l.el.Stop()
		return
	}
	l.down = func() {
		defer l.el.Stop()
		down()
	}
	l.endAfter(grace)
}

// each has fn called on every loop, or on what is left of it, and waits for that.
func (g *Group) each(fn func(l *Loop)) {
	var wg sync.WaitGroup
	for _, l := range g.loops {
		wg.Add(1)
		err := l.el.Post(func(*ae.EventLoop) {
			defer wg.Done()
			fn(l)
		})
		if err != nil {
			wg.Done() // it has ended
		}
	}
	wg.Wait()
}

// loopPanic is a panic in a loop of a Group.
type loopPanic struct{ value any }

func (p *loopPanic) Error() string { return fmt.Sprint("stream: a loop panicked: ", p.value) }

var errGoexit = errors.New("stream: a callback has ended the goroutine of its loop")

// runAlone runs l until it is stopped, and closes it, which calls what is left to
// call, through panics too. It returns why it ended, or nil.
func (l *Loop) runAlone() (why error) {
	defer func() { _ = l.el.Close() }() // again, if a callback ends the goroutine
	defer func() {
		for closed := false; !closed; {
			why = cmp.Or(why, recovered(func() error {
				l.Close()
				closed = true
				return nil
			}))
		}
		why = cmp.Or(why, recovered(l.el.Close))
	}()
	return recovered(l.el.Main)
}

// recovered calls f, and makes an error of its panic.
func recovered(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &loopPanic{v}
		}
	}()
	return f()
}
