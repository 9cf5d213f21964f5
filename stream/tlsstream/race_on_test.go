//go:build race

package tlsstream_test

const raceEnabled = true
