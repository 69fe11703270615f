//go:build unix

package cluster

import (
	"syscall"
	"testing"
)

// Pause stops the process where it is: its peers hear nothing of it, and its
// connections stay.
func (n *Node) Pause(tb testing.TB) {
	tb.Helper()
	n.signal(tb, syscall.SIGSTOP)
}

// Resume lets a paused process go on.
func (n *Node) Resume(tb testing.TB) {
	tb.Helper()
	n.signal(tb, syscall.SIGCONT)
}
