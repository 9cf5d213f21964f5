package promises_test

import (
	"testing"

	"github.com/aeloop/ae"
	"github.com/aeloop/ae/internal/aetest"
	"github.com/aeloop/ae/internal/testutil"
)

// promise is one thing that users may rely on, on every backend.
type promise struct {
	name string // a sentence in one word: what `go test -run` takes
	says string // the promise, for whoever reads a failure
	test func(t *testing.T)
}

func TestMain(m *testing.M) { testutil.Main(m) }

// TestConformance holds the backend of this build to every promise. The rows of a
// group are in the file of its name.
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
		{"Observer", observerPromises},
	} {
		for _, p := range group.rows {
			t.Run(group.name+"/"+p.name, func(t *testing.T) {
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("%s breaks the promise: %s", ae.APIName(), p.says)
					}
				})
				defer testutil.Guard(t, 2*testutil.Patience, "no end, though it is promised that "+p.says)()
				p.test(t)
			})
		}
	}
}

func rowsOf(groups ...[]promise) (rows []promise) {
	for _, g := range groups {
		rows = append(rows, g...)
	}
	return rows
}

// transport makes connected descriptors of one kind: bytes go from w to r.
type transport struct {
	name string
	open func(testing.TB) (w, r int)
}

// transports are treated differently by systems, so what holds for each of them
// alike is a row for each.
var transports = []transport{
	{"TCP", aetest.TCPPair},
	{"Unix", aetest.SocketPair},
	{"Pipe", func(t testing.TB) (w, r int) { r, w = aetest.Pipe(t); return w, r }},
}

// variants makes a row for each transport that is a socket, and for pipes too if
// pipes is set.
func variants(name, says string, pipes bool, test func(t *testing.T, tr transport)) (rows []promise) {
	for _, tr := range transports {
		if pipes || tr.name != "Pipe" {
			rows = append(rows, promise{name + tr.name, says, func(t *testing.T) { test(t, tr) }})
		}
	}
	return rows
}
