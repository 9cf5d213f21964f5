package anet

// Writev writes the bytes of bufs to fd, one after the other, as Write would
// write them joined: it returns how many bytes it wrote, possibly fewer than
// all with a nil error, and ErrWouldBlock only if it wrote none. There may be
// any number of bufs, empty ones too; neither the slice nor its elements are
// changed. It is for streams: a datagram is one buffer.
func Writev(fd int, bufs [][]byte) (int, error) {
	total := 0
	for len(bufs) > 0 {
		n, size, used, err := writevSome(fd, bufs)
		total += n
		if err != nil && total == 0 {
			return 0, err
		}
		if err != nil || n < size {
			break // an error that stays shows again in the next call
		}
		bufs = bufs[used:]
	}
	return total, nil
}
