package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// soldOut is how often in a row a client is told that nothing is left before it
// believes it.
const soldOut = 3

// A shop is what clients in all regions do to one stock.
type shop struct {
	t             *testing.T
	sold, refused atomic.Int64
	repeated      atomic.Int64
	next          atomic.Int64
}

// sell takes one item after the other in one region, each under a key of its own,
// until nothing is left. It repeats what was not answered.
func (s *shop) sell(n *cluster.Node) {
	for nothing := 0; nothing < soldOut && s.t.Context().Err() == nil; {
		q := cluster.Request{
			Method: http.MethodPatch, Path: cluster.DocPath("stock", "tea"), Type: cluster.Ops,
			Body:   `[{"op":"inc","path":"/n","value":-1}]`,
			Header: []string{"Idempotency-Key", fmt.Sprintf("sale-%d", s.next.Add(1)), "Prefer", "wait=1"},
		}
		var res *cluster.Response
		for {
			var err error
			if res, err = n.Do(s.t.Context(), q); err == nil && res.Status < http.StatusInternalServerError {
				break
			}
			if s.t.Context().Err() != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // it is down, or starting
		}
		switch res.Status {
		case http.StatusOK:
			s.sold.Add(1)
			nothing = 0
			if res.Header.Get("Meridian-Repeated") != "" {
				s.repeated.Add(1)
			}
		case http.StatusConflict:
			s.refused.Add(1)
			var p struct {
				Type  string
				Share struct{ Here, Needed int64 }
			}
			if err := json.Unmarshal(res.Body, &p); err != nil || p.Share.Here >= p.Share.Needed {
				s.t.Errorf("%s refuses: %s", n.Region, res.Text())
				return
			}
			if strings.HasSuffix(p.Type, "/no-share") {
				nothing++
			}
		default:
			s.t.Errorf("%s: %d %s", n.Region, res.Status, res.Text())
			return
		}
	}
}

// watch reads the stock until told to stop: it never shows less than nothing.
func (s *shop) watch(n *cluster.Node, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		res, err := n.Do(s.t.Context(), cluster.Request{Path: cluster.DocPath("stock", "tea")})
		if err != nil || res.Status != http.StatusOK {
			continue
		}
		var doc struct{ N int64 }
		if err := json.Unmarshal(res.Body, &doc); err != nil || doc.N < 0 {
			s.t.Errorf("%s shows %s", n.Region, res.Text())
			return
		}
	}
}

// TestStockIsNotOversold: clients in three regions race for the items of one
// stock while links are cut and a region is killed. No region ever shows less than
// nothing, and what was sold is what is missing, to the item.
func TestStockIsNotOversold(t *testing.T) {
	t.Parallel()
	stock := int64(1000)
	if *long {
		stock = 10_000
	}
	c := cluster.Start(t, cluster.Options{Topology: cluster.Mesh})
	c.MakeCollection(t, "stock", `{"bounds":{"/n":{"min":0}}}`)
	c.Nodes[0].Put(t, "stock", "tea", fmt.Sprintf(`{"n":%d}`, stock))
	c.AwaitEqual(t)
	s := &shop{t: t}
	var clients, watchers sync.WaitGroup
	stop, done := make(chan struct{}), make(chan struct{})
	for _, n := range c.Nodes {
		for range 4 {
			clients.Go(func() { s.sell(n) })
		}
		watchers.Go(func() { s.watch(n, stop) })
	}
	go func() { clients.Wait(); close(done) }()
	rng := rand.New(rand.NewPCG(1, 2))
	pause := func(most int) (over bool) {
		select {
		case <-done:
			return true
		case <-time.After(time.Duration(100+rng.IntN(most)) * time.Millisecond):
			return false
		}
	}
	for round := 0; ; round++ {
		n := c.Nodes[rng.IntN(len(c.Nodes))]
		links := n.Links(c.Others(n)...)
		if rng.IntN(2) == 0 {
			links = links[:1]
		}
		cluster.Cut(t, links...)
		over := pause(1500)
		cluster.Heal(t, links...)
		if round == 1 {
			n.Kill(t)
			n.Start(t)
		}
		if over || pause(600) {
			break
		}
	}
	<-done
	close(stop)
	watchers.Wait()
	c.AwaitEqual(t)
	t.Logf("%d of %d sold, %d refused, %d answered from an earlier attempt", s.sold.Load(), stock, s.refused.Load(), s.repeated.Load())
	for _, n := range c.Nodes {
		if left := cluster.Field[int64](t, n.Get(t, "stock", "tea").Body, "n"); left != stock-s.sold.Load() || left != 0 {
			t.Errorf("%s has %d left, %d of %d were sold", n.Region, left, s.sold.Load(), stock)
		}
	}
}
