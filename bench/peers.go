package main

import (
	"fmt"
	"image/color"
	"slices"
	"strconv"
	"strings"
)

// The names under which results are shown.
const (
	ours      = "ae"
	onStream  = "ae, package stream"
	watched   = "watched"
	lanes     = "watched, every callback recorded"
	oursKV    = "ae kv"
	epoll     = "bare epoll"
	threaded  = "bare epoll, 2 threads"
	libevent  = "libevent"
	libev     = "libev"
	libuv     = "libuv"
	goNet     = "Go net"
	goNet4K   = "Go net, 4 KiB"
	goTimer   = "time.Timer"
	afterFunc = "time.AfterFunc"
	goHeap    = "container/heap"
	channel   = "channel"
	buffered  = "buffered channel"
	gnet      = "gnet"
	evio      = "evio"
	nbio      = "nbio"
	netpoll   = "netpoll"
	redis     = "redis-server"
	memcached = "memcached"
)

// goLoops are what a Go program would take instead of ae.
var goLoops = []string{gnet, evio, nbio, netpoll}

// A peer is what ae is compared with, or ae itself.
type peer struct {
	name  string
	color color.RGBA // the same in all plots; ae has those that stand out

	worker string   // the program that stands for it here
	args   []string // what the worker is told besides
	libs   []string // of a worker in C: what it is linked with, which may not be here
	module string   // of a worker in Go: whose version is shown

	example string // one of this library's examples, which is its server

	program string   // or one that is installed; it may not be here
	version string   // what that is told to print its version
	serve   []string // and to serve
}

// What stands in serve for the port, and for as many clients as there are
// descriptors for.
const (
	portHere    = "PORT"
	clientsHere = "CLIENTS"
)

var peers = []peer{
	{name: ours, color: rgb(0xc0392b), worker: "ae", example: "echo"},
	{name: onStream, color: rgb(0xf39c12), worker: "ae"},
	{name: watched, color: rgb(0xe59866), worker: "ae", args: []string{"counters"}},
	{name: lanes, color: rgb(0xf5cba7), worker: "ae", args: []string{"lanes"}},
	{name: oursKV, color: rgb(0xe59866), example: "kv"},

	{name: epoll, color: rgb(0x2c3e50), worker: "epoll", libs: []string{"-lpthread"}},
	{name: threaded, color: rgb(0x85929e), worker: "epoll", libs: []string{"-lpthread"}, args: []string{"threaded"}},
	{name: libevent, color: rgb(0x2980b9), worker: "libevent", libs: []string{"-levent_core"}},
	{name: libev, color: rgb(0x7fb3d5), worker: "libev", libs: []string{"-lev"}},
	{name: libuv, color: rgb(0x16a085), worker: "libuv", libs: []string{"-luv", "-lpthread"}},

	{name: goNet, color: rgb(0x8e44ad), worker: "std"},
	{name: goNet4K, color: rgb(0x8e44ad), worker: "std", args: []string{"4096"}},
	{name: goTimer, color: rgb(0x8e44ad), worker: "std"},
	{name: afterFunc, color: rgb(0x8e44ad), worker: "std", args: []string{"afterfunc"}},
	{name: goHeap, color: rgb(0xd2b4de), worker: "std", args: []string{"heap"}},
	{name: channel, color: rgb(0x8e44ad), worker: "std"},
	{name: buffered, color: rgb(0xd2b4de), worker: "std", args: []string{"1024"}},

	{name: gnet, color: rgb(0x1e8449), worker: "gnet", module: "github.com/panjf2000/gnet/v2"},
	{name: evio, color: rgb(0x7dcea0), worker: "evio", module: "github.com/tidwall/evio"},
	{name: nbio, color: rgb(0xb7950b), worker: "nbio", module: "github.com/lesismal/nbio"},
	{name: netpoll, color: rgb(0xf7dc6f), worker: "netpoll", module: "github.com/cloudwego/netpoll"},

	{name: redis, color: rgb(0x7f8c8d), program: "redis-server", version: "--version", serve: []string{
		"--bind", "127.0.0.1", "--port", portHere, "--save", "", "--appendonly", "no", "--maxclients", clientsHere, "--logfile", "/dev/null"}},
	{name: memcached, color: rgb(0xbfc9ca), program: "memcached", version: "-V", serve: []string{
		"-l", "127.0.0.1", "-p", portHere, "-U", "0", "-t", "1", "-m", "8192", "-c", clientsHere, "-u", "root"}},
}

func rgb(c uint32) color.RGBA { return color.RGBA{uint8(c >> 16), uint8(c >> 8), uint8(c), 0xff} }

func find(name string) peer {
	i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
	if i < 0 {
		return peer{name: name}
	}
	return peers[i]
}

func (b *bench) has(name string) bool {
	p := find(name)
	return p.libs == nil && p.program == "" || b.versions[name] != ""
}

// serverArgs is the command that starts the server of a peer.
func (b *bench) serverArgs(name string, port int) []string {
	number := strconv.Itoa(port)
	switch p := find(name); {
	case p.example != "":
		return []string{b.program(p.example), "-addr", "127.0.0.1:" + number}
	case p.program != "":
		args := []string{p.program}
		here := strings.NewReplacer(portHere, number, clientsHere, fmt.Sprint(descriptors()-100))
		for _, arg := range p.serve {
			args = append(args, here.Replace(arg))
		}
		return args
	default:
		return append([]string{b.program(p.worker), "echo", number}, p.args...)
	}
}

// runAs runs the worker of a peer to its end.
func (b *bench) runAs(name string, cpus []int, args ...any) (values, error) {
	p := find(name)
	for _, arg := range p.args {
		args = append(args, arg)
	}
	return b.work(cpus, p.worker, args...)
}
