package anet

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel tells a listener's backlog in the field of TCP_INFO that is
// otherwise for selective acknowledgements.
func TestBacklogZeroIsTheSystemsMaximum(t *testing.T) {
	if emulated {
		t.Skip("the emulator does not know TCP_INFO")
	}
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	noError(t, err)
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	noError(t, err)

	for backlog, want := range map[int]int{0: most, 1: 1, 7: 7, math.MaxInt: most} {
		fd := must(t)(ListenConfig{Backlog: backlog}.Listen("tcp", "127.0.0.1:0"))
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		noError(t, err)
		if int(info.Sacked) != want {
			t.Errorf("backlog %d became %d, want %d", backlog, info.Sacked, want)
		}
	}
}
