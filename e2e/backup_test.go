package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A region loses its disk, and gets that of an older backup, taken under load in
// two parts: a full backup and an incremental one.
func TestI02_RestoredBackupIsANewReplicaAndLosesNothing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, l := c.Nodes[0], newLedger()
	c.MakeCollection(t, "ledger", `{}`)
	stop := writeUntil(t, a, l, "w", 4)
	others := writeUntil(t, c.Nodes[1], l, "x", 2)
	l.await(t, 200)
	dir := t.TempDir()
	full, more := filepath.Join(dir, "full"), filepath.Join(dir, "more")
	cluster.MustRun(t, "backup", "--addr", a.URL(), full)
	l.await(t, 200)
	cluster.MustRun(t, "backup", "--addr", a.URL(), "--since", full, more)
	l.await(t, 200)
	stop()
	others()
	c.AwaitEqual(t)
	before := a.MustCluster(t)

	a.Kill(t)
	if err := os.RemoveAll(a.Data); err != nil {
		t.Fatal(err)
	}
	if _, _, status := cluster.Run(t, "restore", more, "--data", a.Data); status != 1 {
		t.Errorf("restoring the incremental backup alone ends with %d", status)
	}
	cluster.MustRun(t, "restore", full, more, "--data", a.Data)
	if _, _, status := cluster.Run(t, "restore", full, "--data", a.Data); status != 1 {
		t.Errorf("restoring into a folder that is in use ends with %d", status)
	}
	// Writes go on elsewhere meanwhile.
	others = writeUntil(t, c.Nodes[1], l, "y", 2)
	a.Start(t)
	a.AwaitReady(t)
	l.put(t, a, "new")
	others()
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
	after := a.MustCluster(t)
	if after.Replica == before.Replica || l.last[after.Replica] == 0 {
		t.Errorf("replica %s before and %s after, of which %d changes are acknowledged", before.Replica, after.Replica, l.last[after.Replica])
	}
	for replica, seq := range before.Vector {
		if after.Vector[replica] < seq {
			t.Errorf("%d changes of %s were held before, and %d after", seq, replica, after.Vector[replica])
		}
	}
	if out, _, status := cluster.Run(t, "verify", "--cluster", "--addr", a.URL(), "--wait", (10 * time.Second).String()); status != 0 {
		t.Errorf("verify ends with %d: %s", status, out)
	}
	for _, n := range c.Nodes {
		if _, _, status := cluster.Run(t, "verify", n.Data); status != 1 {
			t.Errorf("verify of a folder that is in use ends with %d", status)
		}
		n.Stop(t)
		if out, _, status := cluster.Run(t, "verify", n.Data); status != 0 {
			t.Errorf("verify of %s ends with %d: %s", n.Region, status, out)
		}
	}
}
