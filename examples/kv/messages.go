package main

import (
	"bytes"
	"io"
	"os"
	"time"
)

// What the server says to whoever runs it. A pipe that nobody reads is full some
// day, and a write to it waits for ever; the loop must not. So a goroutine writes,
// and what it cannot get rid of is lost.

// A messageQueue is a writer that never waits.
type messageQueue struct {
	to    io.Writer
	queue chan []byte
	done  chan struct{}
}

func newMessageQueue(to io.Writer) *messageQueue {
	q := &messageQueue{to: to, queue: make(chan []byte, 100), done: make(chan struct{})}
	go q.run()
	return q
}

var stderr = newMessageQueue(os.Stderr)

// Write queues a message, or drops it if too many wait.
func (q *messageQueue) Write(message []byte) (int, error) {
	select {
	case q.queue <- bytes.Clone(message):
	default:
	}
	return len(message), nil
}

func (q *messageQueue) run() {
	for message := range q.queue {
		_, _ = q.to.Write(message) // nobody is left to be told
	}
	close(q.done)
}

// close waits until everything is written, but not longer than patience. Nothing
// may be written afterwards.
func (q *messageQueue) close(patience time.Duration) {
	close(q.queue)
	select {
	case <-q.done:
	case <-time.After(patience):
	}
}

// seldom logs what clients can bring about, and as often as they like: once a minute
// is enough.
func (s *server) seldom(log func(string, ...any), message string, args ...any) {
	if last, ok := s.warned[message]; ok && s.now-last < time.Minute.Milliseconds() {
		return
	}
	s.warned[message] = s.now
	log(message, args...)
}
