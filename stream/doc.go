// Package stream is buffered connections on an ae event loop.
package stream
