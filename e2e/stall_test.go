package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A peer that hangs keeps its connections and answers nothing: the worst kind of
// slow peer.
func TestI09_HangingPeersNeverBlockWrites(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "stall", `{}`)
	a, rest := c.Nodes[0], c.Nodes[1:]
	rate, d := 100, time.Duration(size(5, 30))*time.Second
	run := func() *cluster.Report {
		return cluster.Load{Rate: rate, Duration: d, Workers: 32, Do: func(ctx context.Context, i int) error {
			_, err := a.Try(ctx, cluster.PutRequest("stall", fmt.Sprint(i%100), fmt.Sprintf(`{"i":%d}`, i)), http.StatusOK, http.StatusCreated)
			return err
		}}.Run(t.Context())
	}
	well := run()
	for _, n := range rest {
		n.Pause(t)
	}
	stalled := run()
	for _, n := range rest {
		n.Resume(t)
	}
	for what, r := range map[string]*cluster.Report{"both peers well": well, "both peers hang": stalled} {
		t.Logf("%s: %v", what, r)
		if r.Failed > 0 {
			t.Errorf("%s: %d writes failed, such as: %v", what, r.Failed, r.Err)
		}
		if slowest := r.Latency.Quantile(1); slowest > sane {
			t.Errorf("%s: a write took %v", what, slowest)
		}
	}
	took := c.AwaitEqual(t)
	t.Logf("equal %v after the peers went on", took.Round(time.Millisecond))
	c.AwaitSame(t)
}
