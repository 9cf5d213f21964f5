// Package watch shows an event loop of package ae at work, and catches the callback
// that holds it up.
package watch
