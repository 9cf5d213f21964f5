// Package tlsstream is TLS for connections of package stream.
package tlsstream
