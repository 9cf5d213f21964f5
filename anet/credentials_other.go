//go:build unix && !linux && !darwin && !freebsd

package anet

import (
	"errors"
	"fmt"
)

func peerCredentials(fd int) (Credentials, error) {
	return Credentials{}, fmt.Errorf("peer credentials: %w", errors.ErrUnsupported)
}
