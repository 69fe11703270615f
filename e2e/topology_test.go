package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

const (
	// loadRate is the load, in writes per second over all regions, under which
	// writes still have to be visible elsewhere at once.
	loadRate = 1000
	// loadWorkers is how many requests of the load are under way at most.
	loadWorkers = 128
	// loadKeys is how many documents the load writes to, per region.
	loadKeys = 500
)

// sane is the time beyond which a write that is not visible elsewhere is taken
// to be lost. The figures that count are printed.
const sane = 10 * time.Second

// visibility writes in each region in turn and measures when each other region
// shows it: from the acknowledgement of the write to the answer of a read that
// waits for its token.
func visibility(t *testing.T, c *cluster.Cluster, rounds int) (afterAck, total cluster.Sample) {
	t.Helper()
	for i := range rounds {
		for _, from := range c.Nodes {
			id := fmt.Sprintf("%s-%d", from.Region, i%20)
			doc := fmt.Sprintf(`{"from":%q,"round":%d}`, from.Region, i)
			start := time.Now()
			res := from.Put(t, "visible", id, doc)
			acked := time.Now()
			for _, to := range c.Others(from) {
				got := to.GetAfter(t, res.Token(), "visible", id).Text()
				seen := time.Now()
				if got != doc {
					t.Fatalf("%s shows %s, written in %s was %s", to.Region, got, from.Region, doc)
				}
				afterAck = append(afterAck, seen.Sub(acked))
				total = append(total, seen.Sub(start))
			}
		}
	}
	if slowest := afterAck.Quantile(1); slowest > sane {
		t.Errorf("a write took %v to be visible in another region", slowest)
	}
	return afterAck, total
}

// load writes at loadRate, to all regions, until stopped. It returns the
// function that stops it and reports.
func load(t *testing.T, nodes []*cluster.Node, d time.Duration) (stop func() *cluster.Report) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *cluster.Report, 1)
	go func() {
		done <- cluster.Load{
			Rate: loadRate, Duration: d, Workers: loadWorkers,
			Do: func(ctx context.Context, i int) error {
				n := nodes[i%len(nodes)]
				id := fmt.Sprintf("%s-%d", n.Region, i/len(nodes)%loadKeys)
				doc := fmt.Sprintf(`{"n":%d,"text":"a document of about a hundred bytes, as those of a shopping cart are"}`, i)
				_, err := n.Try(ctx, cluster.PutRequest("load", id, doc), http.StatusOK, http.StatusCreated)
				return err
			},
		}.Run(ctx)
	}()
	return func() *cluster.Report {
		cancel()
		return <-done
	}
}

func TestWriteIsReadableInEveryRegion(t *testing.T) {
	for _, topology := range []string{cluster.Mesh, cluster.Ring, cluster.Star} {
		t.Run(topology, func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{Topology: topology})
			visibility(t, c, 5) // connections and caches are there
			rounds := size(40, 400)
			afterAck, total := visibility(t, c, rounds)
			t.Logf("%s, idle: visible elsewhere after the acknowledgement: %v", topology, afterAck)
			t.Logf("%s, idle: from request to visible elsewhere: %v", topology, total)

			d := time.Duration(size(4, 30)) * time.Second
			stop := load(t, c.Nodes, d)
			afterAck, total = nil, nil
			for end := time.Now().Add(d - time.Second/2); time.Now().Before(end); {
				a, b := visibility(t, c, 1)
				afterAck, total = append(afterAck, a...), append(total, b...)
			}
			report := stop()
			t.Logf("%s, %d writes/s: visible elsewhere after the acknowledgement: %v", topology, loadRate, afterAck)
			t.Logf("%s, %d writes/s: from request to visible elsewhere: %v", topology, loadRate, total)
			t.Logf("%s, the load: %v", topology, report)
			if report.Failed > 0 {
				t.Errorf("%d writes of the load failed, such as: %v", report.Failed, report.Err)
			}
			t.Logf("%s: %d documents are equal everywhere", topology, c.AwaitSame(t))
		})
	}
}
