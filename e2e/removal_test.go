package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A region dies with writes that no other one has, and is removed for good: the
// others cut their logs, and a token that names such a write is told that it is lost.
// Its store comes back: it is refused until the region is added again, and then it
// writes anew what it had, beside what the others wrote since.
func TestI12_RemovedRegionHoldsNothingBackAndComesBack(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Args: []string{"--log-keep", "20"}})
	a, b, gone := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	c.MakeCollection(t, "carts", `{}`)
	a.Put(t, "carts", "both", `{"x":0,"n":{"$counter":1}}`)
	c.AwaitEqual(t)

	gone.SetFault(t, a, cluster.FaultCut)
	gone.SetFault(t, b, cluster.FaultCut)
	const unseen = 200
	for i := range unseen {
		gone.Put(t, "carts", fmt.Sprint("late-", i), fmt.Sprintf(`{"i":%d}`, i))
	}
	lost := gone.Put(t, "carts", "both", `{"x":1,"n":11}`)
	gone.Kill(t)
	others := []*cluster.Node{a, b}
	writeMany(t, others, "carts", 500, 500, 100)
	a.Put(t, "carts", "both", `{"x":2,"n":101}`)
	a.AwaitLink(t, gone, "down")
	if out := cluster.MustRun(t, "region", "remove", gone.Region, "--addr", a.URL()); !strings.Contains(out, "is removed") {
		t.Errorf("it says %s", out)
	}
	c.AwaitEqual(t, others...)
	awaitCut(t, 60+3, others...)
	if res, err := b.Do(t.Context(), cluster.Request{Method: http.MethodGet, Path: cluster.DocPath("carts", "both"), Header: []string{"Meridian-Token", lost.Token()}}); err != nil || res.Status != http.StatusGone || !strings.Contains(string(res.Body), "write-lost") {
		t.Errorf("a token that names a lost write is answered %+v %v", res, err)
	}

	gone.Start(t)
	gone.AwaitLog(t, "was removed from the cluster")
	if res := gone.Must(t, cluster.PutRequest("carts", "early", `{}`), http.StatusServiceUnavailable); !strings.Contains(string(res.Body), "region add "+gone.Region) {
		t.Errorf("a write before it was added: %s", res.Body)
	}
	if list := cluster.MustRun(t, "region", "list", "--addr", b.URL()); !strings.Contains(list, "removed") {
		t.Errorf("the members are\n%s", list)
	}
	cluster.MustRun(t, "region", "add", gone.Region, "--address", gone.PeerAddr, "--addr", b.URL())
	gone.AwaitLog(t, "is brought in")
	gone.AwaitReady(t)
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		for i := range unseen {
			n.Get(t, "carts", fmt.Sprint("late-", i))
		}
		if n := cluster.Field[int](t, n.Get(t, "carts", "both").Body, "n"); n != 111 {
			t.Errorf("the counter is %d, want 111", n)
		}
	}
	awaitCut(t, 100, c.Nodes...)
}
