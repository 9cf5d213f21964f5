package ae_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkChainFloor is BenchmarkChain on bare epoll: raw system calls and an
// array lookup, with no loop around them. The difference is what the loop costs.
func BenchmarkChainFloor(b *testing.B) {
	for _, c := range chains {
		b.Run(c.String(), func(b *testing.B) {
			r, w := c.ends(b)
			epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			if err != nil {
				b.Fatal(err)
			}
			defer unix.Close(epfd)
			for i, fd := range r {
				ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
				if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
					b.Fatal(err)
				}
			}
			events := make([]unix.EpollEvent, 512)
			buf := make([]byte, 1)
			p := unsafe.Pointer(&buf[0])
			for b.Loop() {
				read, toWrite := 0, c.writes-c.active
				c.start(w)
				for read < c.writes {
					n, _, _ := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
						uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
					for _, ev := range events[:n] {
						i := int(ev.Fd)
						got, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(r[i]), uintptr(p), 1, unix.MSG_DONTWAIT, 0, 0)
						if errno != 0 || got == 0 {
							continue
						}
						read++
						if toWrite > 0 {
							toWrite--
							unix.RawSyscall6(unix.SYS_SENDTO, uintptr(w[(i+1)%c.n]), uintptr(p), 1, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.writes), "ns/event")
		})
	}
}
