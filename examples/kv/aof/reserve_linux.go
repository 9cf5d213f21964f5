package aof

import (
	"os"

	"golang.org/x/sys/unix"
)

// reserve sees to it that n bytes can be written to a new file, or says at once
// that they cannot.
func reserve(f *os.File, n int64) error {
	if n == 0 {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n)
	if err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EFBIG {
		return os.NewSyscallError("fallocate", err)
	}
	return nil // not every file system can reserve: the writes will show
}
