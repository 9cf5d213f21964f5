package main

import "golang.org/x/sys/unix"

// lowerNofile sets how many descriptors this process may have.
func lowerNofile(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	lower(&limit.Cur, n)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// lower exists because the field's type differs from system to system.
func lower[T int64 | uint64](field *T, n int) { *field = min(*field, T(n)) }
