//go:build !linux

package cluster

import (
	"syscall"
	"testing"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// RSS is the resident memory of the process. It is read from /proc, so the test
// is skipped elsewhere than on Linux.
func (n *Node) RSS(tb testing.TB) int64 {
	tb.Helper()
	tb.Skip("the memory of a process is measured on Linux only")
	return 0
}

// Memory is what RSS is made of.
func (n *Node) Memory(tb testing.TB) (taken, mapped int64) { return n.RSS(tb), 0 }
