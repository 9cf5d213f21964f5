package anet

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// ResolveFlags are options of Resolve, joined with |.
type ResolveFlags uint8

const (
	// NumericOnly refuses names of hosts and of services: nothing is looked up.
	NumericOnly ResolveFlags = 1 << iota
	// PreferIPv4 puts the IPv4 addresses first.
	PreferIPv4
	// PreferIPv6 puts the IPv6 addresses first.
	PreferIPv6
)

// Resolve turns host:port into addresses. The network is "tcp" or "udp", or one
// of these with a "4" or a "6" for one address family alone. The host is an
// address, a name, or nothing or "*" for any address; the port is a number or
// the name of a service, and nothing means 0. Any address is [::] with "tcp",
// "tcp6" and the like, 0.0.0.0 with "tcp4".
//
// An address with a name is looked up through net.DefaultResolver, and that
// waits: call Resolve on a goroutine of its own and post the result to the
// loop, or use NumericOnly. Without a preference the addresses stand in the
// resolver's order. There is always at least one unless there is an error,
// which is a *net.AddrError, a *net.DNSError or a net.UnknownNetworkError.
// (anetResolve)
func Resolve(ctx context.Context, network, address string, flags ResolveFlags) ([]netip.AddrPort, error) {
	family, err := ipNetwork(network)
	if err != nil {
		return nil, err
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := resolvePort(ctx, network, service, flags)
	if err != nil {
		return nil, err
	}
	ips, err := resolveHost(ctx, family, host, flags)
	if err != nil {
		return nil, err
	}

	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip, port)
	}
	return addrs, nil
}

// ipNetwork returns the address family that a network name restricts to, in the
// words of net: "ip", "ip4" or "ip6".
func ipNetwork(network string) (string, error) {
	switch network {
	case "tcp", "udp":
		return "ip", nil
	case "tcp4", "udp4":
		return "ip4", nil
	case "tcp6", "udp6":
		return "ip6", nil
	}
	return "", net.UnknownNetworkError(network)
}

func resolvePort(ctx context.Context, network, service string, flags ResolveFlags) (uint16, error) {
	if service == "" {
		return 0, nil
	}
	if flags&NumericOnly != 0 {
		port, err := strconv.ParseUint(service, 10, 16)
		if err != nil {
			return 0, &net.AddrError{Err: "port is not a number", Addr: service}
		}
		return uint16(port), nil
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	return uint16(port), err
}

func resolveHost(ctx context.Context, family, host string, flags ResolveFlags) ([]netip.Addr, error) {
	if isAny(host) {
		if family == "ip4" {
			return []netip.Addr{netip.IPv4Unspecified()}, nil
		}
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}
	ips, err := lookup(ctx, family, host, flags)
	if err != nil {
		return nil, err
	}

	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool {
		return family == "ip4" && !ip.Is4() || family == "ip6" && !ip.Is6()
	})
	if len(ips) == 0 {
		return nil, &net.AddrError{Err: "no suitable address", Addr: host}
	}

	prefer(ips, flags)
	return ips, nil
}

// isAny reports whether host stands for any address.
func isAny(host string) bool { return host == "" || host == "*" }

func lookup(ctx context.Context, family, host string, flags ResolveFlags) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if flags&NumericOnly != 0 {
		return nil, &net.AddrError{Err: "host is not a number", Addr: host}
	}
	return net.DefaultResolver.LookupNetIP(ctx, family, host)
}

// prefer moves the addresses of the preferred family to the front, and keeps
// the order within each.
func prefer(ips []netip.Addr, flags ResolveFlags) {
	rank := func(ip netip.Addr) int {
		if flags&PreferIPv4 != 0 && !ip.Is4() || flags&PreferIPv4 == 0 && flags&PreferIPv6 != 0 && !ip.Is6() {
			return 1
		}
		return 0
	}

	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return rank(a) - rank(b) })
}
