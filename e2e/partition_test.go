package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// writers write to each of these regions at once, n documents of their own and
// as many that all of them write to, and demand that each write is taken.
func writers(t *testing.T, nodes []*cluster.Node, what string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(nodes))
	for _, node := range nodes {
		wg.Go(func() {
			for i := range n {
				own := cluster.PutRequest("own", fmt.Sprintf("%s-%s-%d", node.Region, what, i), fmt.Sprintf(`{"by":%q,"i":%d}`, node.Region, i))
				shared := cluster.Request{
					Method: http.MethodPatch, Path: cluster.DocPath("shared", fmt.Sprint(i%10)), Type: cluster.Ops,
					Body: fmt.Sprintf(`[{"op":"inc","path":"/count","value":1},{"op":"set","path":"/of/%s/%s","value":%d},{"op":"set","path":"/last","value":%q}]`,
						node.Region, what, i, node.Region),
				}
				for _, q := range []cluster.Request{own, shared} {
					if _, err := node.Try(t.Context(), q, http.StatusOK, http.StatusCreated); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Errorf("%s: a write was refused: %v", what, err)
	}
}

// checkCounts demands that the shared counters have counted each increment.
func checkCounts(t *testing.T, c *cluster.Cluster, want int) {
	t.Helper()
	for _, n := range c.Nodes {
		sum := 0
		for i := range 10 {
			sum += cluster.Field[int](t, n.Get(t, "shared", fmt.Sprint(i)).Body, "count")
		}
		if sum != want {
			t.Errorf("%s: the counters have counted %d of %d increments", n.Region, sum, want)
		}
	}
}

// seedShared makes the shared documents, so that nothing depends on which region
// made them first.
func seedShared(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for i := range 10 {
		c.Nodes[0].Put(t, "shared", fmt.Sprint(i), `{"count":{"$counter":0},"of":{}}`)
	}
	c.AwaitEqual(t)
}

func TestI05_CutLinksThenEqualDocuments(t *testing.T) {
	for _, topology := range []string{cluster.Mesh, cluster.Ring, cluster.Star} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, cluster.Options{Topology: topology})
			seedShared(t, c)
			const n = 60
			writers(t, c.Nodes, "before", n)

			// All on their own.
			cluster.Cut(t, c.AllLinks()...)
			writers(t, c.Nodes, "alone", n)
			for _, node := range c.Nodes {
				if s := node.MustCluster(t); len(s.Vector) != len(c.Nodes) {
					t.Errorf("%s knows of %d replicas", node.Region, len(s.Vector))
				}
				for _, other := range c.Others(node) {
					path := cluster.DocPath("own", other.Region+"-alone-0")
					node.Must(t, cluster.Request{Path: path}, http.StatusNotFound)
				}
			}
			cluster.Heal(t, c.AllLinks()...)
			healed := c.AwaitEqual(t)
			docs := c.AwaitSame(t)
			t.Logf("%s: all links cut for %d writes in each region: equal %v after healing, %d documents", topology, 2*n, healed.Round(time.Millisecond), docs)

			// One against two.
			lonely := c.Nodes[2]
			cluster.Cut(t, lonely.Links(c.Others(lonely)...)...)
			writers(t, c.Nodes, "split", n)
			cluster.Heal(t, lonely.Links(c.Others(lonely)...)...)
			healed = c.AwaitEqual(t)
			docs = c.AwaitSame(t)
			t.Logf("%s: one region cut off for %d writes in each: equal %v after healing, %d documents", topology, 2*n, healed.Round(time.Millisecond), docs)
			checkCounts(t, c, 3*n*len(c.Nodes))
		})
	}
}

func TestI05_OneWayCutsThenEqualDocuments(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	seedShared(t, c)
	const n = 40
	for _, direction := range []string{"in", "out"} {
		a := c.Nodes[0]
		for _, b := range c.Others(a) {
			a.SetFault(t, b, fmt.Sprintf(`{"state":"cut","direction":%q}`, direction))
		}
		writers(t, c.Nodes, direction, n)
		for _, b := range c.Others(a) {
			a.SetFault(t, b, cluster.FaultNone)
		}
		took := c.AwaitEqual(t)
		t.Logf("nothing went %s for %d writes in each region: equal %v after healing", direction, 2*n, took.Round(time.Millisecond))
	}
	c.AwaitSame(t)
	checkCounts(t, c, 2*n*len(c.Nodes))
}

func TestI05_LossAndDelayThenEqualDocuments(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	seedShared(t, c)
	const n = 60
	for _, l := range c.AllLinks() {
		l[0].SetFault(t, l[1], `{"state":"up","loss":0.3,"delay":"20ms"}`)
	}
	writers(t, c.Nodes, "lossy", n)
	took := c.AwaitEqual(t)
	t.Logf("a third of all messages lost each way: equal %v after the last of %d writes", took.Round(time.Millisecond), 2*n*len(c.Nodes))
	cluster.Heal(t, c.AllLinks()...)
	c.AwaitSame(t)
	checkCounts(t, c, n*len(c.Nodes))
}

func TestKilledRegionsCatchUp(t *testing.T) {
	for _, topology := range []string{cluster.Mesh, cluster.Ring, cluster.Star} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, cluster.Options{Topology: topology})
			seedShared(t, c)
			const n = 50
			total := 0
			// Each in turn, so that in a star the hub goes too.
			for i, down := range c.Nodes {
				down.Kill(t)
				rest := c.Others(down)
				writers(t, rest, fmt.Sprint("without-", i), n)
				total += n * len(rest)
				took := c.AwaitEqual(t, rest...)
				down.Start(t)
				down.AwaitReady(t)
				t.Logf("%s: without %s the others were equal after %v; it had caught up %v after it was ready",
					topology, down.Region, took.Round(time.Millisecond), c.AwaitEqual(t).Round(time.Millisecond))
			}
			// All at once.
			for _, node := range c.Nodes {
				node.Kill(t)
			}
			for _, node := range c.Nodes {
				node.Start(t)
			}
			for _, node := range c.Nodes {
				node.AwaitReady(t)
			}
			writers(t, c.Nodes, "after", n)
			total += n * len(c.Nodes)
			c.AwaitSame(t)
			checkCounts(t, c, total)
		})
	}
}

// relayBound is what a mesh may take to get a write around a cut link.
const relayBound = 3 * time.Second

func TestMeshRelaysAroundCutLink(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Nodes[0], c.Nodes[1]
	a.Put(t, "relayed", "warm", `{}`)
	c.AwaitEqual(t)

	cluster.Cut(t, cluster.Link{a, b})
	relays(t, c, "closed")
	cluster.Heal(t, cluster.Link{a, b})
	c.AwaitSame(t)

	// What is sent vanishes, and the first writes are made before anybody has noticed.
	const vanish = `{"state":"cut","direction":"out"}`
	a.SetFault(t, b, vanish)
	b.SetFault(t, a, vanish)
	relays(t, c, "silent")
	cluster.Heal(t, cluster.Link{a, b})
	c.AwaitSame(t)
}

// relays writes in turn in the first two regions, which cannot reach each other,
// and demands that the other sees it in time.
func relays(t *testing.T, c *cluster.Cluster, how string) {
	t.Helper()
	a, b := c.Nodes[0], c.Nodes[1]
	var took cluster.Sample
	for i := range size(15, 100) {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		// The second document is written having seen the first, which is the
		// order in which the other side may show them.
		first, second := fmt.Sprintf("%s-first-%d", how, i), fmt.Sprintf("%s-second-%d", how, i)
		from.Put(t, "relayed", first, `{"before":true}`)
		res := from.Put(t, "relayed", second, `{"after":true}`)
		start := time.Now()
		cluster.Await(t, cluster.Patience, second+" in "+to.Region, func() (bool, string) {
			later := to.Must(t, cluster.Request{Path: cluster.DocPath("relayed", second)}, http.StatusOK, http.StatusNotFound)
			earlier := to.Must(t, cluster.Request{Path: cluster.DocPath("relayed", first)}, http.StatusOK, http.StatusNotFound)
			if later.Status == http.StatusOK && earlier.Status != http.StatusOK {
				t.Errorf("%s shows %s and not what it was written after", to.Region, second)
			}
			return later.Status == http.StatusOK, later.Text()
		})
		took = append(took, time.Since(start))
		to.GetAfter(t, res.Token(), "relayed", second)
	}
	if slowest := took.Quantile(1); slowest > relayBound {
		t.Errorf("around the cut link a write took %v, more than %v", slowest, relayBound)
	}
	t.Logf("%s–%s cut (%s): visible through %s: the first after %v; all: %v", a.Region, b.Region, how, c.Nodes[2].Region, took[0].Round(time.Millisecond), took)
}

func TestMeshOfFiveRelaysWhenOnlyAChainIsLeft(t *testing.T) {
	t.Parallel()
	regions := []string{"us-east", "eu-west", "ap-south", "sa-east", "af-south"}
	c := cluster.Start(t, cluster.Options{Regions: regions})
	seedShared(t, c)
	// Links between neighbours in the list stay.
	cut := slices.DeleteFunc(c.AllLinks(), func(l cluster.Link) bool {
		i, j := slices.Index(c.Nodes, l[0]), slices.Index(c.Nodes, l[1])
		return j == i+1
	})
	cluster.Cut(t, cut...)
	const n = 30
	writers(t, c.Nodes, "chain", n)
	took := c.AwaitEqual(t)
	t.Logf("five regions in a chain: equal %v after the last of %d writes", took.Round(time.Millisecond), 2*n*len(c.Nodes))
	cluster.Heal(t, cut...)
	c.AwaitSame(t)
	checkCounts(t, c, n*len(c.Nodes))
}
