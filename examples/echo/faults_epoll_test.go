//go:build linux && !ae_select

package main

import "testing"

// A client that cannot be registered is closed, and the next one is served.
func TestFaultsInRegistrationCloseThatClient(t *testing.T) {
	for _, errno := range []string{"ENOMEM", "ENOSPC"} {
		t.Run(errno, func(t *testing.T) {
			addr, _ := underStrace(t, "/dev/null", nil, "trace=epoll_ctl", "inject=epoll_ctl:error="+errno+":when=3")
			c := dial(t, "tcp", addr)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			roundTrip(t, dial(t, "tcp", addr), "hello")
		})
	}
}
