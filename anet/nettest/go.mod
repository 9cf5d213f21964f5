module github.com/aeloop/ae/anet/nettest

go 1.25.0

require (
	github.com/aeloop/ae v0.0.0
	golang.org/x/net v0.55.0
	golang.org/x/sys v0.47.0
)

replace github.com/aeloop/ae => ../..
