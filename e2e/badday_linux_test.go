package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// The disk of one region of three is full, under load: that region refuses writes
// with 507 and goes on reading, the others go on, and it recovers in the same
// process when there is room. Nothing acknowledged is lost.
func TestBadDayDiskFullUnderLoad(t *testing.T) {
	disk := smallDisk(t)
	c := cluster.Start(t, cluster.Options{Prepare: func(c *cluster.Cluster) {
		c.Nodes[0].SetArg("--data", filepath.Join(disk, "data"))
	}})
	c.MakeCollection(t, "ledger", `{}`)
	full := c.Nodes[0]
	l := newLedger()
	stop := keepWriting(t, c, l, 2)
	defer stop()
	l.await(t, 100)
	pid := full.PID()
	by := func(n *cluster.Node) (count int, last string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for id := range l.docs {
			if strings.HasPrefix(id, n.Region+"-") {
				count, last = count+1, id
			}
		}
		return count, last
	}
	free := occupy(t, disk, 1<<20)
	probe := 0
	try := func(statuses ...int) int {
		probe++
		return full.Must(t, cluster.PutRequest("probes", strconv.Itoa(probe), `{}`), statuses...).Status
	}
	cluster.Await(t, cluster.Patience, "writes to be refused", func() (bool, string) {
		return try(http.StatusCreated, http.StatusInsufficientStorage) == http.StatusInsufficientStorage, "they are taken"
	})
	atFull, some := by(full)
	before := map[string]int{}
	for _, n := range c.Others(full) {
		before[n.Region], _ = by(n)
	}
	for _, n := range c.Others(full) {
		cluster.Await(t, cluster.Patience, n.Region+" to go on", func() (bool, string) {
			now, _ := by(n)
			return now >= before[n.Region]+50, fmt.Sprintf("%d acknowledged", now)
		})
	}
	full.Get(t, "ledger", some)
	full.Must(t, cluster.Request{Path: "/livez"}, http.StatusOK)
	if now, _ := by(full); now > atFull {
		t.Errorf("the full region acknowledged %d writes", now-atFull)
	}
	free()
	cluster.Await(t, cluster.Patience, "writes to be taken again", func() (bool, string) {
		return try(http.StatusCreated, http.StatusInsufficientStorage, http.StatusServiceUnavailable) == http.StatusCreated, "they are refused"
	})
	cluster.Await(t, cluster.Patience, "the load to go on there", func() (bool, string) {
		now, _ := by(full)
		return now > atFull+20, fmt.Sprint(now)
	})
	stop()
	if full.PID() != pid {
		t.Error("the region was started again")
	}
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
	t.Logf("%d writes were acknowledged, %d of them by the full region before it was", len(l.docs), atFull)
}

// failSyncs lets all that a process wants to make durable fail, as on a broken disk.
func failSyncs(t *testing.T, pid int) (end func()) {
	t.Helper()
	const calls = "fsync,fdatasync,msync"
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("NOT TESTED: a disk whose writes fail: strace makes them fail, and is not installed: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-f", "-qq", "-p", strconv.Itoa(pid), "-o", "/dev/null",
		"-e", "trace="+calls, "-e", "inject="+calls+":error=EIO")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It says so at once if it may not.
	failed := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			if strings.Contains(lines.Text(), "ptrace") {
				failed <- lines.Text()
			}
		}
		close(failed)
	}()
	cluster.Await(t, cluster.Patience, "the process to be traced", func() (bool, string) {
		select {
		case why := <-failed:
			if why != "" {
				t.Skipf("NOT TESTED: a disk whose writes fail: %s", why)
			}
			return true, "" // the process has ended
		default:
		}
		return tracer(pid) > 0, "not traced yet"
	})
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
}

// The disk of a region breaks: nothing becomes durable any more. The region
// acknowledges nothing from then on, and ends with a message, for what is in memory
// cannot be trusted. The others go on. Started again it has all that was
// acknowledged, and goes on as the same replica.
func TestBadDayIOError(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "ledger", `{}`)
	broken := c.Nodes[0]
	l := newLedger()
	replica := broken.MustCluster(t).Replica
	stop := keepWriting(t, c, l, 2)
	defer stop()
	l.await(t, 100)
	end := failSyncs(t, broken.PID())
	if status := broken.AwaitExit(t); status != 1 {
		t.Errorf("with a broken disk the process ends with %d", status)
	}
	end()
	if log := broken.Log(); !strings.Contains(log, "input/output error") {
		t.Error("the log does not say why")
	}
	l.await(t, 100) // by the others
	broken.Start(t)
	broken.AwaitReady(t)
	l.await(t, 100)
	stop()
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
	if now := broken.MustCluster(t).Replica; now != replica {
		t.Errorf("it was replica %s and is %s", replica, now)
	}
}

// tracer returns the process that traces another one, 0 if there is none.
func tracer(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(text))
			return n
		}
	}
	return 0
}
