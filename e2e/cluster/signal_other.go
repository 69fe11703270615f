//go:build !unix

package cluster

import "testing"

// Pause needs the signals of Unix: elsewhere the test is skipped.
func (n *Node) Pause(tb testing.TB) {
	tb.Helper()
	tb.Skip("processes are paused on Unix only")
}

// Resume lets a paused process go on.
func (n *Node) Resume(tb testing.TB) {
	tb.Helper()
	tb.Skip("processes are paused on Unix only")
}
