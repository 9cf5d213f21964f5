package watch

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strings"
)

// Frame is one line of a stack.
type Frame struct {
	Func string `json:"func"`
	File string `json:"file"` // with its line
}

const (
	loopPackage = "github.com/aeloop/ae"
	process     = loopPackage + ".(*EventLoop).ProcessEvents"
)

// stackOf returns what the loop with that label has called, innermost first: the
// callback is last. It is nil if nobody runs that loop. The stacks are
// those of the goroutine profile: it does not stop the world for long, and has no
// values of arguments in it.
func stackOf(name string) []Frame {
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	return findStack(profile.String(), name)
}

// findStack looks for the goroutine that has the label and runs a loop; if none
// has it, for the only one that runs a loop.
func findStack(profile, name string) []Frame {
	want := fmt.Sprintf("%q:%q", label, name)
	var others [][]Frame
	for block := range strings.SplitSeq(profile, "\n\n") {
		if !strings.Contains(block, process+"+") {
			continue
		}
		frames := callback(parseFrames(block))
		if labels, ok := labelsOf(block); ok && strings.Contains(labels, want) {
			return frames
		}
		others = append(others, frames)
	}
	if len(others) == 1 {
		return others[0]
	}
	return nil
}

func labelsOf(block string) (labels string, ok bool) {
	_, rest, ok := strings.Cut(block, "\n# labels: ")
	labels, _, _ = strings.Cut(rest, "\n")
	return labels, ok
}

// parseFrames reads lines such as
//
//	#	0x4a5b6c	main.(*server).onReadable+0x12c	/src/main.go:40
func parseFrames(block string) (frames []Frame) {
	for line := range strings.Lines(block) {
		// The columns are aligned with more tabs where they need it.
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == '\t' || r == '\n' })
		if len(fields) < 4 || fields[0] != "#" {
			continue
		}
		name := fields[2]
		if i := strings.LastIndex(name, "+0x"); i > 0 {
			name = name[:i]
		}
		frames = append(frames, Frame{name, fields[3]})
	}
	return frames
}

// callback leaves what is inside the outermost ProcessEvents, and of that what the
// loop has called. A callback may itself call the loop: what is nested stays.
func callback(frames []Frame) []Frame {
	for i := len(frames) - 1; i >= 0; i-- {
		if frames[i].Func != process {
			continue
		}
		for i > 0 && strings.HasPrefix(frames[i].Func, loopPackage+".") {
			i--
		}
		return frames[:i+1]
	}
	return nil
}

// blame returns the outermost function that is not of this module's library: what
// a program has to look at. Under package stream, every callback of the loop is
// stream's.
func blame(stack []Frame) string {
	for i := len(stack) - 1; i >= 0; i-- {
		if f := stack[i].Func; !ours(f) {
			return f
		}
	}
	if len(stack) > 0 {
		return stack[len(stack)-1].Func
	}
	return ""
}

func ours(function string) bool {
	for _, p := range []string{loopPackage, loopPackage + "/anet", loopPackage + "/stream", loopPackage + "/stream/tlsstream"} {
		if strings.HasPrefix(function, p+".") {
			return true
		}
	}
	return false
}

// funcName returns the name of the function that pc is the entry of, without the
// suffix that the compiler gives to a method value.
func funcName(pc uintptr) string {
	if f := runtime.FuncForPC(pc); f != nil {
		return strings.TrimSuffix(f.Name(), "-fm")
	}
	return "?"
}

// brief leaves out the path of a function's package: main.f stays, and
// github.com/a/b.f becomes b.f.
func brief(function string) string { return function[strings.LastIndexByte(function, '/')+1:] }

// entry returns the entry of a callback, by which its name can be found later.
func entry(fn any) uintptr { return reflect.ValueOf(fn).Pointer() }
