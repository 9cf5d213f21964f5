package watch_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/anet"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/watch"
)

// scene is a server at work, with a page that shows it: an echo with clients that
// come and go, time events, posted functions, and now and then something slow.
type scene struct {
	el  *ae.EventLoop
	w   *watch.Watcher
	url string
}

func newScene(t testing.TB) *scene {
	el := aetest.Loop(t)
	s := &scene{el: el}
	s.w = start(t, el, watch.Options{Name: "echo"})
	s.url = servePage(t, s.w)

	ln := aetest.Listen(t)
	aetest.Create(t, el, ln, ae.Readable, s.onAccept)
	el.CreateTimeEvent(0, s.onTick)
	el.AddBeforeSleep(s.flush)
	run(t, el)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() { client(stop, anet.LocalString(ln)) })
	}
	clients.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond):
			}
			el.Post(s.answer)
			if i%150 == 0 {
				el.Post(s.compact)
			}
		}
	})
	t.Cleanup(func() { close(stop); clients.Wait() })
	return s
}

// client sends lines and reads them back, on one connection after the other.
func client(stop <-chan struct{}, addr string) {
	buf := make([]byte, 64)
	for {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		for range 20 + rand.IntN(40) {
			for range 1 + rand.IntN(4) {
				c.Write(buf)
				c.Read(buf)
			}
			select {
			case <-stop:
				c.Close()
				return
			case <-time.After(time.Duration(rand.IntN(30)) * time.Millisecond):
			}
		}
		c.Close()
	}
}

func (s *scene) onAccept(el *ae.EventLoop, ln int, _ ae.Mask) {
	fd, _, err := anet.Accept(ln)
	if err == nil {
		el.CreateFileEvent(fd, ae.Readable, s.onReadable)
	}
}

func (s *scene) onReadable(el *ae.EventLoop, fd int, _ ae.Mask) {
	var buf [4096]byte
	n, err := anet.Read(fd, buf[:])
	if err == anet.ErrWouldBlock {
		return
	}
	if err != nil {
		el.DeleteFileEvent(fd, ae.Readable|ae.Writable)
		anet.Close(fd)
		return
	}
	if rand.IntN(20) == 0 { // as if there were no room
		el.CreateFileEvent(fd, ae.Writable, func(el *ae.EventLoop, fd int, _ ae.Mask) { s.onWritable(el, fd, buf[:n]) })
		return
	}
	anet.Write(fd, buf[:n])
}

func (s *scene) onWritable(el *ae.EventLoop, fd int, rest []byte) {
	anet.Write(fd, rest)
	el.DeleteFileEvent(fd, ae.Writable)
}

func (s *scene) onTick(*ae.EventLoop, ae.TimeEventID) time.Duration { return 10 * time.Millisecond }

func (s *scene) answer(*ae.EventLoop) {}

func (s *scene) flush(*ae.EventLoop) {}

//go:noinline
func (s *scene) compact(*ae.EventLoop) {
	for end := time.Now().Add(time.Duration(60+rand.IntN(90)) * time.Millisecond); time.Now().Before(end); {
	}
}
