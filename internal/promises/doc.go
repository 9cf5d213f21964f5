// Package promises is tests: what package ae promises, in files by subject, each a
// table of named rows that every backend must hold. To run one row, or a group:
//
//	go test -run Conformance/Stale/NumberReused ./internal/promises
//
// Besides, a loop is compared with a model, its system calls are made to fail, and
// the example servers are abused. PITFALLS.md says what the numbers mean in
// comments such as "pitfall 12".
package promises
