package ae_test

import (
	"testing"
	"time"

	"github.com/aeloop/ae"
)

// promise is one thing that users may rely on, on every backend.
type promise struct {
	name string // a sentence in one word: what `go test -run` takes
	says string // the promise, for whoever reads a failure
	test func(t *testing.T)
}

// TestConformance holds the backend of this build to every promise. The rows
// stand next to each other by subject, in conformance_*_test.go.
func TestConformance(t *testing.T) {
	for _, group := range []struct {
		name string
		rows []promise
	}{
		{"File", filePromises},
		{"Stale", rowsOf(stalePromises, reusePromises(), heldPromises)},
		{"Hangup", rowsOf(hangupPromises, endingPromises, tailPromises)},
		{"Connect", connectPromises},
		{"Kind", kindPromises},
		{"Callback", callbackPromises},
		{"Nested", nestedPromises},
		{"Time", timePromises},
		{"Door", doorPromises},
		{"Iteration", iterationPromises},
	} {
		for _, p := range group.rows {
			t.Run(group.name+"/"+p.name, func(t *testing.T) {
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("%s breaks the promise: %s", ae.APIName(), p.says)
					}
				})
				guard := time.AfterFunc(2*patience, func() { panic(t.Name() + " does not end, though it is promised that " + p.says) })
				defer guard.Stop()
				p.test(t)
			})
		}
	}
}
