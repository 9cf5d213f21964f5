package testutil

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Serve runs a server in this process until the test ends. It returns the last words
// of the first lines that the server writes, which say where it listens. stop ends
// it earlier, and returns what serve returned.
func Serve(t testing.TB, lines int, serve func(ctx context.Context, out io.Writer) error) (addrs []string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, w)
		w.CloseWithError(errors.Join(io.EOF, err))
		ended <- err
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(Patience):
			return errors.New("the server does not end")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	out := bufio.NewReader(r)
	addrs = lastWords(t, out, lines)
	go io.Copy(io.Discard, out)
	return addrs, stop
}

// Spawn starts a server in a process of its own, which is killed when the test ends,
// with whatever it is wrapped in. pipe is the command's StdoutPipe or StderrPipe. The
// addresses are those of Serve, and out is what is written after them.
func Spawn(t testing.TB, cmd *exec.Cmd, lines int, pipe func() (io.ReadCloser, error)) (addrs []string, out *bufio.Reader) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil { // nobody has waited for it yet
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
		}
	})
	out = bufio.NewReader(r)
	return lastWords(t, out, lines), out
}

func lastWords(t testing.TB, r *bufio.Reader, lines int) (words []string) {
	t.Helper()
	for range lines {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the server does not say where it listens: %q, %v", line, err)
		}
		fields := strings.Fields(line)
		words = append(words, fields[len(fields)-1])
	}
	return words
}
