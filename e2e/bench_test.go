package e2e

import (
	"encoding/json"
	"testing"

	"github.com/meridiandb/meridian/cmd/bench"
	"github.com/meridiandb/meridian/e2e/cluster"
)

// The sums of counters that regions increment at once are checked by the
// benchmark itself; what it tells of the regions is looked at here.
func TestBenchMeasuresALocalCluster(t *testing.T) {
	out := cluster.MustRun(t, "bench", "--regions", "2", "--workload", "counter", "--duration", "1s", "--warmup", "200ms",
		"--clients", "8", "--json", "--quiet")
	var r bench.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	t.Logf("\n%s", &r)
	switch p := r.Replication; {
	case r.Checked == "" || r.Total.Count == 0 || len(r.Failed) > 0:
		t.Errorf("%d operations, %v failed, checked %q", r.Total.Count, r.Failed, r.Checked)
	case p == nil || p.Changes == 0 || p.WireBytes < p.FrameBytes || p.FrameBytes == 0:
		t.Errorf("replication: %+v", p)
	case len(r.Visible) != 2 || r.Visible[0].Acknowledged.Count == 0:
		t.Errorf("visible: %+v", r.Visible)
	case len(r.Regions) != 2 || !r.Regions[0].Process || r.Regions[0].Allocations == 0 || r.Regions[0].DiskBytes == 0:
		t.Errorf("regions: %+v", r.Regions)
	}
}

// That every reader has every write is checked by the benchmark itself.
func TestBenchMeasuresFeeds(t *testing.T) {
	const readers = 20
	out := cluster.MustRun(t, "bench", "--regions", "2", "--workload", "feed", "--readers", "20", "--rate", "100", "--duration", "1s",
		"--warmup", "200ms", "--clients", "8", "--json", "--quiet")
	var r bench.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	t.Logf("\n%s", &r)
	f := r.Feeds
	if r.Checked == "" || f == nil || f.Readers != readers || len(f.Deliveries) != 4 || f.PerSecond == 0 {
		t.Fatalf("feeds: %+v, checked %q", f, r.Checked)
	}
	for _, d := range f.Deliveries {
		if d.Count == 0 || d.P50 <= 0 || d.P50 > d.Max {
			t.Errorf("delivered: %+v", d)
		}
	}
}
