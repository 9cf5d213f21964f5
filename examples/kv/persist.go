package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/aeloop/ae/examples/kv/aof"
)

// How the server and its append-only file go together: no reply leaves before the
// file has what it acknowledges. Package aof has the rest.

// openAOF loads the file, and from then on logs to it.
func (s *server) openAOF(path string) (err error) {
	s.aof, err = aof.Open(aof.Config{
		Path:     path,
		Loop:     s.el,
		DBs:      s.dbs[:],
		Commands: replay{&client{srv: s, db: s.dbs[0], index: -1}},
		Policy:   func() aof.Policy { return aof.Policy(s.cfg.appendFsync) },
		Clock:    s.clock,
		Logger:   s.log,
		Failed:   s.retract,
	})
	return err
}

// replay executes the commands in the file. The clock stands at 1970 meanwhile, for
// no key to expire before the commands that came in its lifetime: what the file says
// about it is in the file.
type replay struct{ c *client }

func (r replay) Known(name []byte) bool { return r.c.srv.find("", name) != nil }

func (r replay) Check(args [][]byte) error {
	cmd := r.c.srv.find("", args[0])
	switch {
	case cmd == nil || !cmd.write && cmd.name != "select":
		return fmt.Errorf("%q is no command that changes data", clip(args[0], 64))
	case !cmd.takes(len(args)):
		return fmt.Errorf("wrong number of arguments for %q", cmd.name)
	}
	return nil
}

func (r replay) Execute(args [][]byte) error {
	out := &r.c.out
	out.Buf = out.Buf[:0]
	r.c.srv.find("", args[0]).proc(r.c, args)
	if len(out.Buf) > 0 && out.Buf[0] == '-' {
		return errors.New(strings.TrimSpace(string(out.Buf[1:])))
	}
	return nil
}

// callLogged executes a command, and notes if its reply has to wait for the file.
func (c *client) callLogged(cmd *command, args [][]byte) {
	file := c.srv.aof
	if cmd.write && file.Err() != nil {
		c.out.Error(c.srv.misconf())
		return
	}
	reply := len(c.out.Buf)
	file.Begin()
	cmd.proc(c, args)
	if file.End() && cmd.write && c.doubtful == 0 {
		c.doubtful = reply + 1
	}
}

func (s *server) misconf() string {
	cause := s.aof.Err()
	if errno := syscall.Errno(0); errors.As(cause, &errno) {
		cause = errno
	}
	return "MISCONF Errors writing to the AOF file: " + cause.Error()
}

// settle lets go of the replies that waited for what they acknowledge.
func (s *server) settle() {
	for _, c := range s.pending {
		c.doubtful = 0
	}
}

// retract takes back the replies to commands that did not come to disk. They are
// executed, and will come there with the next success, so the one thing that can
// be said is that nothing is sure: an error for the first of them, and the end.
// Messages to the client that came later in the iteration go the same way.
func (s *server) retract() {
	for _, c := range s.pending {
		if c.doubtful > 0 && c.index >= 0 {
			c.out.Buf = c.out.Buf[:c.doubtful-1]
			c.doubtful = 0
			c.out.Error(s.misconf())
			c.finish()
		}
	}
}

// infoPersistence writes the section of INFO about it.
func infoPersistence(s *server, b *strings.Builder) {
	enabled, pending, status := 0, 0, "ok"
	if s.aof != nil {
		enabled = 1
		if s.aof.Syncing() {
			pending = 1
		}
		if s.aof.Err() != nil {
			status = "err"
		}
	}
	fmt.Fprintf(b, "loading:0\r\naof_enabled:%d\r\naof_last_write_status:%s\r\naof_pending_bio_fsync:%d\r\n", enabled, status, pending)
}
