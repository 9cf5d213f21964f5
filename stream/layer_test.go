package stream_test

import (
	"io"
	"testing"

	"github.com/aeloop/ae/internal/testutil"
	"github.com/aeloop/ae/stream"
)

// plain is a Layer that changes nothing, in awkward pieces.
type plain struct {
	w      *stream.Wire
	calls  int
	closed bool
}

func (y *plain) Start(w *stream.Wire) {
	y.w = w
	w.Ready(nil)
}

func (y *plain) Decode(dst, src []byte, eof bool) (nDst, nSrc int, err error) {
	y.calls++
	n := copy(dst[:min(len(dst), 1+y.calls*7919%(16<<10))], src)
	if n == 0 && eof {
		return 0, 0, io.EOF
	}
	return n, n, nil
}

func (y *plain) Encode(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), 16<<10)
		y.w.Write(p[:n])
		p = p[n:]
	}
	return nil
}

func (y *plain) CloseWrite() {}

func (y *plain) Close() {
	if y.closed {
		panic("closed twice")
	}
	y.closed = true
}

// TestPromisesThroughALayer holds connections with a Layer to the promises about
// connections.
func TestPromisesThroughALayer(t *testing.T) {
	testutil.StartPoller()
	t.Cleanup(testutil.NoLeak(t))
	run := func(rows []promise, parallel bool) {
		for _, p := range rows {
			switch p.name {
			case "IdleConnection", // a Layer costs what it costs
				"BeforeSendForOutputAlone": // its last word is output
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				keep(t, p, "tcp", true)
			})
		}
	}
	for _, rows := range [][]promise{inputPromises, outputPromises, joinPromises, postPromises, memoryPromises} {
		run(rows, false)
	}
	for _, rows := range [][]promise{pressurePromises, endsPromises, callbackPromises, timePromises, shutdownPromises} {
		run(rows, true)
	}
}
