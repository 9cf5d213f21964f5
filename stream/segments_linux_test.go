package stream_test

import "golang.org/x/sys/unix"

// segmentsSent returns how many segments with data a TCP socket has sent.
func segmentsSent(e *env, fd int) int {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	e.must(err)
	return int(info.Data_segs_out)
}
