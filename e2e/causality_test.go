package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A client writes in one region, reads that in a second one with its token, and
// writes there. Between the first and the third region the link is slow or cut,
// so the second write gets there first.
func TestI04_EffectIsNeverVisibleBeforeItsCause(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "causal", `{}`)
	rng := rand.New(rand.NewPCG(4, 4))
	rounds := size(40, 500)
	held := 0
	for i := range rounds {
		order := rng.Perm(len(c.Nodes))
		a, b, third := c.Nodes[order[0]], c.Nodes[order[1]], c.Nodes[order[2]]
		slow := cluster.Link{a, third}
		switch rng.IntN(3) {
		case 0:
			slow[0].SetFault(t, slow[1], fmt.Sprintf(`{"state":"up","delay":"%dms"}`, 10+rng.IntN(60)))
		case 1:
			slow[0].SetFault(t, slow[1], `{"state":"cut","direction":"out"}`)
		case 2:
			cluster.Cut(t, slow)
		}
		prefix := fmt.Sprintf("%04d-", i)
		cause, effect := prefix+"cause", prefix+"effect"
		token := a.Put(t, "causal", cause, `{"question":"?"}`).Token()
		b.GetAfter(t, token, "causal", cause)
		b.Put(t, "causal", effect, `{"answer":"!"}`)

		waiting := false
		cluster.Await(t, cluster.Patience, effect+" in "+third.Region, func() (bool, string) {
			// A page of a list is of one moment.
			page := third.Must(t, cluster.Request{Path: "/v1/collections/causal/docs?prefix=" + prefix}, http.StatusOK).Text()
			hasCause, hasEffect := strings.Contains(page, cause), strings.Contains(page, effect)
			if hasEffect && !hasCause {
				t.Fatalf("round %d: %s shows the effect without its cause: %s", i, third.Region, page)
			}
			waiting = waiting || third.MustCluster(t).Inbox.Changes > 0
			return hasEffect, page
		})
		if waiting {
			held++
		}
		cluster.Heal(t, slow)
	}
	if held == 0 {
		t.Error("no effect ever arrived before its cause: the test shows nothing")
	}
	t.Logf("%d rounds, in %d of them the effect was seen to wait for its cause", rounds, held)
	c.AwaitSame(t)
}

// The same, with the client's own chain over all regions and a cut link between
// each write and the next: the token alone carries the order.
func TestSessionReadsItsWritesInEveryRegion(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "session", `{}`)
	rng := rand.New(rand.NewPCG(5, 5))
	token := ""
	for i := range size(60, 1000) {
		n := c.Nodes[rng.IntN(len(c.Nodes))]
		if i > 0 {
			got := n.GetAfter(t, token, "session", "cart").Text()
			if want := fmt.Sprintf(`{"step":%d}`, i-1); got != want {
				t.Fatalf("step %d: %s shows %s to the session that wrote %s", i, n.Region, got, want)
			}
		}
		q := cluster.PutRequest("session", "cart", fmt.Sprintf(`{"step":%d}`, i))
		q.Token = token
		token = n.Must(t, q, http.StatusOK, http.StatusCreated).Token()
		switch i % 10 {
		case 5:
			// The region that was written to last is a little out of reach.
			for _, o := range c.Others(n) {
				n.SetFault(t, o, `{"state":"up","delay":"40ms"}`)
			}
		case 9:
			cluster.Heal(t, c.AllLinks()...)
		}
	}
	cluster.Heal(t, c.AllLinks()...)
	c.AwaitSame(t)
}

func TestReadWithTokenOfUnreachableWriteSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Nodes[0], c.Nodes[1]
	a.Put(t, "lagging", "d", `{"v":1}`)
	c.AwaitEqual(t)
	cluster.Cut(t, a.Links(c.Others(a)...)...)
	token := a.Put(t, "lagging", "d", `{"v":2}`).Token()
	start := time.Now()
	res := b.Must(t, cluster.Request{
		Path: cluster.DocPath("lagging", "d"), Header: []string{"Meridian-Token", token, "Prefer", "wait=1"},
	}, http.StatusServiceUnavailable)
	if took := time.Since(start); took < time.Second {
		t.Errorf("the region gave up after %v, it was to wait for 1 s", took)
	}
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	var problem struct {
		Type string `json:"type"`
		Lag  struct {
			Changes int            `json:"changes"`
			Regions map[string]int `json:"regions"`
		} `json:"lag"`
	}
	cluster.Decode(t, res.Body, &problem)
	if problem.Type != "/problems/behind" || problem.Lag.Changes != 1 || problem.Lag.Regions[a.Region] != 1 {
		t.Errorf("the problem does not say what is missing: %s", res.Body)
	}
	// Without a token the region shows what it has.
	if got := b.Get(t, "lagging", "d").Text(); got != `{"v":1}` {
		t.Errorf("%s shows %s", b.Region, got)
	}
	cluster.Heal(t, a.Links(c.Others(a)...)...)
	if got := b.GetAfter(t, token, "lagging", "d").Text(); got != `{"v":2}` {
		t.Errorf("%s shows %s", b.Region, got)
	}
}
