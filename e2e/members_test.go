package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A region is added to a cluster that takes writes: refused before, it takes a
// snapshot once it is a member, goes on where it was when it is killed meanwhile,
// learns the others from the one that it was told of, and becomes ready by itself.
func TestRegionIsAddedUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Topology: cluster.Star, Args: []string{"--log-keep", "20", "--catch-up-rate", fmt.Sprint(size(400_000, 8_000_000))}})
	c.MakeCollection(t, "copied", `{}`)
	docs := size(2000, 200_000)
	writeMany(t, c.Nodes, "copied", docs, docs, 1000)
	c.AwaitEqual(t)
	awaitCut(t, 60+3, c.Nodes...)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	old := c.Nodes
	live := cluster.Load{Rate: size(100, 500), Duration: time.Duration(size(2, 30)) * time.Second, Workers: 8, Do: func(ctx context.Context, i int) error {
		_, err := old[i%3].Try(ctx, cluster.PutRequest("copied", fmt.Sprint(i*7%docs), fmt.Sprintf(`{"new":%d}`, i)), http.StatusOK, http.StatusCreated)
		return err
	}}
	before := live.Run(ctx)
	quiet := live
	live.Duration = time.Hour
	load := make(chan *cluster.Report, 1)
	go func() { load <- live.Run(ctx) }()

	added := c.Join(t, "sa-east", c.Nodes[2], "--log-keep", "20")
	added.Start(t)
	added.AwaitLog(t, "does not know sa-east")
	if res := added.Must(t, cluster.PutRequest("copied", "early", `{}`), http.StatusServiceUnavailable); !strings.Contains(string(res.Body), "region add sa-east") {
		t.Errorf("a write before it was added: %s", res.Body)
	}
	cluster.MustRun(t, "region", "add", added.Region, "--address", added.PeerAddr, "--addr", c.Nodes[0].URL())
	start := time.Now()
	cluster.Await(t, cluster.Patience, "half of the snapshot", func() (bool, string) {
		s, err := added.Cluster(t.Context())
		if err != nil {
			return false, err.Error()
		}
		return s.Snapshot != nil && s.Snapshot.Documents >= uint64(docs/2), fmt.Sprintf("%+v", s.Snapshot)
	})
	added.Kill(t)
	added.Start(t)
	added.AwaitLog(t, "asks for a snapshot", "resumes=true")
	added.AwaitReady(t)
	took := time.Since(start)
	stop()
	r := <-load
	if r.Failed > 1 { // the one that was under way at the end
		t.Errorf("%d writes failed meanwhile, such as: %v", r.Failed, r.Err)
	}
	added.Put(t, "copied", "late", `{"v":1}`)
	c.AwaitSame(t)
	// The stores may still have been busy with the documents before.
	after := quiet.Run(t.Context())
	ratios := func(q float64) string {
		was, is, then := before.Latency.Quantile(q).Seconds(), r.Latency.Quantile(q).Seconds(), after.Latency.Quantile(q).Seconds()
		return fmt.Sprintf("%.1f times that before, %.1f times that afterwards", is/was, is/then)
	}
	t.Logf("%d documents, ready after %v; live writes before: %v; meanwhile: %v; afterwards: %v; median %s; p99 %s",
		docs, took.Round(time.Millisecond), before, r, after, ratios(0.5), ratios(0.99))
	awaitCut(t, 120, c.Nodes...)

	list := cluster.MustRun(t, "region", "list", "--addr", added.URL())
	for _, n := range c.Nodes {
		if !strings.Contains(list, n.Region) {
			t.Errorf("%s is missing:\n%s", n.Region, list)
		}
	}
	if strings.Contains(list, "joining") {
		t.Errorf("it is still joining:\n%s", list)
	}
}

// The topology is changed while writes go on, and all regions take it up.
func TestTopologyIsChangedUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: []string{"us-east", "eu-west", "ap-south", "sa-east"}})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := make(chan *cluster.Report, 1)
	go func() {
		load <- cluster.Load{Rate: 100, Duration: time.Hour, Workers: 8, Do: func(ctx context.Context, i int) error {
			_, err := c.Nodes[i%4].Try(ctx, cluster.PutRequest("carts", fmt.Sprint(i%50), fmt.Sprintf(`{"new":%d}`, i)), http.StatusOK, http.StatusCreated)
			return err
		}}.Run(ctx)
	}()
	for i, args := range [][]string{{"star", "--hub", "eu-west", "--deputies", "us-east"}, {"ring"}, {"mesh"}, {"star", "--hub", "sa-east"}} {
		cluster.MustRun(t, append([]string{"topology", "--addr", c.Nodes[i].URL()}, args...)...)
		for _, n := range c.Nodes {
			cluster.Await(t, cluster.Patience, n.Region+" to have a "+args[0], func() (bool, string) {
				s, err := n.Cluster(t.Context())
				if err != nil {
					return false, err.Error()
				}
				return s.Topology.Kind == args[0], s.Topology.Kind
			})
		}
	}
	hub := c.Nodes[3]
	for _, n := range c.Nodes[:3] {
		cluster.Await(t, cluster.Patience, n.Region+" to be linked with the hub alone", func() (bool, string) {
			s, err := n.Cluster(t.Context())
			if err != nil {
				return false, err.Error()
			}
			up, others := false, ""
			for i := range s.Regions {
				if s.Regions[i].Link.State == "up" {
					up = up || s.Regions[i].Region == hub.Region
					others += s.Regions[i].Region + " "
				}
			}
			return up, others
		})
	}
	stop()
	if r := <-load; r.Failed > 1 {
		t.Errorf("%d writes failed meanwhile, such as: %v", r.Failed, r.Err)
	}
	c.AwaitSame(t)
	// Who starts again has the topology of the cluster, not that of its flags.
	c.Nodes[0].Kill(t)
	c.Nodes[0].Start(t)
	if s, err := c.Nodes[0].Cluster(t.Context()); err != nil || s.Topology.Hub != hub.Region {
		t.Errorf("the topology after a restart: %+v %v", s, err)
	}
}
