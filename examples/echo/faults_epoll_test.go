//go:build linux && !ae_select

package main

import (
	"net"
	"os"
	"strings"
	"testing"
)

// A client that cannot be registered is closed, and the next one is served.
func TestFaultsInRegistrationCloseThatClient(t *testing.T) {
	for _, errno := range []string{"ENOMEM", "ENOSPC"} {
		t.Run(errno, func(t *testing.T) {
			addr, _ := underStrace(t, "/dev/null", 0, "trace=epoll_ctl", "inject=epoll_ctl:error="+errno+":when=3")
			c := dial(t, "tcp", addr)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			roundTrip(t, dial(t, "tcp", addr), "hello")
		})
	}
}

// A client is taken off the loop before it is closed. Otherwise the registration
// of the next one with its number would meet that of a file that is gone.
func TestAClientThatGoesIsTakenOffTheLoop(t *testing.T) {
	file := t.TempDir() + "/registrations"
	addr, _ := underStrace(t, file, 0, "trace=epoll_ctl")
	for range 3 {
		c := dial(t, "tcp", addr)
		roundTrip(t, c, "hello")
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 1)) // the server has closed it
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "EPOLL_CTL_DEL") || strings.Contains(string(log), "ENOENT") || strings.Contains(string(log), "EEXIST") {
		t.Errorf("registrations:\n%s", log)
	}
}
