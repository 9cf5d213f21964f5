package stream_test

import (
	"github.com/aeloop/ae/internal/testutil"
	"golang.org/x/sys/unix"
)

// segmentsSent returns how many segments with data a TCP socket has sent.
func segmentsSent(e *env, fd int) int {
	testutil.NotEmulated(e, "it leaves out most of TCP_INFO")
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	e.must(err)
	return int(info.Data_segs_out)
}

// quickAck has the next segment acknowledged at once: a sender of less than one
// waits for that.
func quickAck(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
