//go:build race && linux

package anet

import (
	"runtime"
	"syscall"
	"unsafe"
)

// The race detector does not see what a raw system call does to memory, nor
// that bytes which arrive were sent before. Package syscall tells it both, the
// second through one variable that all its reads and writes share. An empty
// read and a write to no descriptor reach that variable, so that a goroutine on
// net and a callback on anet are ordered as two goroutines on net are.

func raceReceived(fd int, p []byte) {
	runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	syscall.Read(fd, nil)
}

func raceSending(p []byte) {
	runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	syscall.Write(-1, nil)
}
