package cluster

import (
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
)

// dieWithParent makes that no region outlives a test run that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

var vmRSS = regexp.MustCompile(`VmRSS:\s*(\d+) kB`)

// RSS is the resident memory of the process in bytes.
func (n *Node) RSS(tb testing.TB) int64 {
	tb.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n.PID()) + "/status")
	if err != nil {
		tb.Fatal(err)
	}
	m := vmRSS.FindSubmatch(b)
	if m == nil {
		tb.Fatalf("no VmRSS of %s:\n%s", n.Region, b)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}
