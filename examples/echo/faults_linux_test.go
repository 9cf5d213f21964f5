package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aeloop/ae/internal/testutil"
)

// The server under strace(1), which makes its system calls fail. Whatever
// happens to accept, a client that waits is served in the end.
func TestFaultsInAcceptCostNobodyTheConnection(t *testing.T) {
	for _, errno := range []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EPROTO", "EINTR", "EAGAIN"} {
		t.Run(errno, func(t *testing.T) {
			addr, log := underStrace(t, "/dev/null", 0, "trace=accept4", "inject=accept4:error="+errno+":when=1..2")
			for range 3 {
				roundTrip(t, dial(t, "tcp", addr), "hello")
			}
			if strings.Contains(log.String(), "panic") {
				t.Error(log)
			}
		})
	}
}

func TestFaultsInReadAndWriteLoseNoByte(t *testing.T) {
	for _, inject := range []string{
		"inject=recvfrom:error=EINTR:when=1+2", "inject=recvfrom:error=EAGAIN:when=1+2",
		"inject=sendto:error=EINTR:when=1+2", "inject=sendto:error=EAGAIN:when=1+2",
	} {
		t.Run(inject, func(t *testing.T) {
			addr, _ := underStrace(t, "/dev/null", 0, "trace=recvfrom,sendto", inject)
			c := dial(t, "tcp", addr)
			for range 50 {
				roundTrip(t, c, "hello")
			}
			exchange(t, c, 7, 100_000, 5000)
		})
	}
}

func TestAReadErrorCostsThatClientOnly(t *testing.T) {
	addr, log := underStrace(t, "/dev/null", 0, "trace=recvfrom", "inject=recvfrom:error=EIO:when=1")
	c := dial(t, "tcp", addr)
	c.Write([]byte("x"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v, and the read had failed", n, err)
	}
	for range 3 {
		roundTrip(t, dial(t, "tcp", addr), "hello")
	}
	if strings.Contains(log.String(), "panic") {
		t.Error(log)
	}
}

// Out of descriptors the server looks again once in a while, and sleeps between
// two looks.
func TestOutOfDescriptorsTheServerDoesNotSpin(t *testing.T) {
	const limit, clients = 64, 100
	began := time.Now()
	file := t.TempDir() + "/accepts"
	addr, _ := underStrace(t, file, limit, "trace=accept4")
	first := dial(t, "tcp", addr)
	for range clients {
		dial(t, "tcp", addr)
		roundTrip(t, first, "still served")
	}
	failed := 0
	for failed < 4 {
		roundTrip(t, first, "still served")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		failed = strings.Count(string(text), "EMFILE")
	}
	if most := int(time.Since(began)/acceptPause) + 2; failed > most {
		t.Errorf("%d accepts failed in %v, with a pause of %v after each: the server spins", failed, time.Since(began), acceptPause)
	}
}

// underStrace runs the server under strace, which writes to file, or to nowhere.
func underStrace(t *testing.T, file string, nofile int, expressions ...string) (addr string, log *lines) {
	t.Helper()
	return spawn(t, nofile, testutil.Strace(t, file, expressions...)...)
}
