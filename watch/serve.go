package watch

import (
	"net"
	"net/http"
	"time"
)

// Serve serves a Page of these loops with package net/http on addr, host:port,
// where host as a rule is 127.0.0.1, and returns its address for a browser. close
// ends that, and closes the Watchers: it belongs where their Close does. After an
// error they are closed already.
func Serve(addr string, ws ...*Watcher) (url string, close func(), err error) {
	closeAll := func() {
		for _, w := range ws {
			w.Close()
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		closeAll()
		return "", nil, err
	}
	server := &http.Server{Handler: NewPage(ws...), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(ln)
	return "http://" + ln.Addr().String() + "/", func() { server.Close(); closeAll() }, nil
}
