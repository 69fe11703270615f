package cluster

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// dieWithParent makes that no region outlives a test run that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// RSS is the resident memory of the process in bytes.
func (n *Node) RSS(tb testing.TB) int64 {
	tb.Helper()
	return n.memory(tb, "VmRSS")
}

// Memory is the resident memory of the process in bytes: what it has taken, and pages of
// files that it has mapped, which the system can take back at any time.
func (n *Node) Memory(tb testing.TB) (taken, mapped int64) {
	tb.Helper()
	return n.memory(tb, "RssAnon"), n.memory(tb, "RssFile")
}

func (n *Node) memory(tb testing.TB, field string) int64 {
	tb.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n.PID()) + "/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kb << 10
		}
	}
	tb.Fatalf("no %s of %s:\n%s", field, n.Region, b)
	return 0
}
