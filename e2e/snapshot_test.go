package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// awaitCut waits until regions have cut their logs down to so many changes.
func awaitCut(t *testing.T, changes uint64, nodes ...*cluster.Node) {
	t.Helper()
	for _, n := range nodes {
		cluster.Await(t, cluster.Patience, "the log of "+n.Region+" to be cut", func() (bool, string) {
			s, err := n.Cluster(t.Context())
			if err != nil {
				return false, err.Error()
			}
			return s.Log.Changes <= changes, fmt.Sprintf("%d changes, %d were removed", s.Log.Changes, s.Log.Removed)
		})
	}
}

// A region that has lost its store finds logs that begin too late: it copies
// another region while writes go on there, goes on where it was when it is
// killed meanwhile, and ends up with the same.
func TestI12_RegionBehindTheLogsTakesASnapshotAndResumesIt(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Args: []string{"--log-keep", "20", "--catch-up-rate", "400000"}})
	c.MakeCollection(t, "copied", `{}`)
	docs := size(4000, 20_000)
	writeMany(t, c.Nodes, "copied", docs, docs, 1000)
	c.AwaitEqual(t)
	a, b, lost := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	awaitCut(t, 60+1, a, b)
	lost.Kill(t)
	if err := os.RemoveAll(lost.Data); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := make(chan *cluster.Report, 1)
	go func() {
		load <- cluster.Load{Rate: 100, Duration: time.Hour, Workers: 8, Do: func(ctx context.Context, i int) error {
			_, err := c.Nodes[i%2].Try(ctx, cluster.PutRequest("copied", fmt.Sprint(i*7%docs), fmt.Sprintf(`{"new":%d}`, i)), http.StatusOK, http.StatusCreated)
			return err
		}}.Run(ctx)
	}()
	start := time.Now()
	lost.Start(t)
	var before uint64
	cluster.Await(t, cluster.Patience, "documents of the snapshot", func() (bool, string) {
		s, err := lost.Cluster(t.Context())
		if err != nil {
			return false, err.Error()
		}
		if s.Snapshot == nil {
			return false, "no snapshot is being taken"
		}
		before = s.Snapshot.Documents
		return before >= uint64(docs/4), fmt.Sprintf("%+v", *s.Snapshot)
	})
	if res := lost.Must(t, cluster.Request{Path: cluster.DocPath("copied", "1")}, http.StatusServiceUnavailable); res.Header.Get("Retry-After") == "" {
		t.Errorf("a read while the snapshot is taken: %s", res.Body)
	}
	lost.Kill(t)
	// What is there of a snapshot is whole, and said to be unfinished.
	if out, _, status := cluster.Run(t, "verify", lost.Data); status != 0 || !strings.Contains(out, "takes a snapshot") {
		t.Errorf("verify of an unfinished snapshot ends with %d: %s", status, out)
	}
	lost.Start(t)
	line := lost.AwaitLog(t, "asks for a snapshot", "resumes=true")
	var after uint64
	if _, n, ok := strings.Cut(line, "documents="); !ok {
		t.Errorf("how many documents are there already? %s", line)
	} else if _, err := fmt.Sscan(n, &after); err != nil || after < before {
		t.Errorf("%d documents were there when it was killed, %d after it: %v", before, after, err)
	}
	lost.AwaitLog(t, "the snapshot is complete")
	lost.AwaitReady(t)
	took := time.Since(start)
	stop()
	if r := <-load; r.Failed > 1 { // the one that was under way at the end
		t.Errorf("%d writes failed meanwhile, such as: %v", r.Failed, r.Err)
	} else {
		t.Logf("%d documents, killed after %d, ready after %v; live writes meanwhile: %v", docs, before, took.Round(time.Millisecond), r)
	}
	c.AwaitSame(t)
	awaitCut(t, 100, c.Nodes...)
	lost.Put(t, "copied", "after", `{"v":1}`)
	c.AwaitSame(t)
	for _, n := range []*cluster.Node{a, lost} { // logs that were cut, and one that began with a snapshot
		n.Stop(t)
		if out, _, status := cluster.Run(t, "verify", n.Data); status != 0 {
			t.Errorf("verify of %s ends with %d: %s", n.Region, status, out)
		}
	}
}
