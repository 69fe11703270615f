package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

func decode(b []byte, into any) error { return json.Unmarshal(b, into) }

// accounts is how many documents money is moved between.
const accounts = 12

// transfer is a batch that moves an amount between two accounts.
func transfer(from, to, amount int) cluster.Request {
	return cluster.Request{Method: http.MethodPost, Path: "/v1/batch", Body: fmt.Sprintf(
		`{"docs":[{"collection":"bank","id":"%02d","ops":[{"op":"inc","path":"/balance","value":%d}]},
		          {"collection":"bank","id":"%02d","ops":[{"op":"inc","path":"/balance","value":%d}]}]}`,
		from, -amount, to, amount)}
}

// total is the sum of all balances in one page of a list, which is of one moment.
func total(ctx context.Context, n *cluster.Node) (sum int, err error) {
	res, err := n.Try(ctx, cluster.Request{Path: "/v1/collections/bank/docs"}, http.StatusOK)
	if err != nil {
		return 0, err
	}
	var page struct {
		Docs []struct {
			Value struct {
				Balance int `json:"balance"`
			} `json:"value"`
		} `json:"docs"`
	}
	if err := decode(res.Body, &page); err != nil {
		return 0, err
	}
	if len(page.Docs) != accounts {
		return 0, fmt.Errorf("%s shows %d accounts", n.Region, len(page.Docs))
	}
	for _, d := range page.Docs {
		sum += d.Value.Balance
	}
	return sum, nil
}

// Money moves between documents in all regions, while links are cut and a region
// is killed. No read anywhere may see half of a transfer.
func TestI13_BatchIsVisibleAllAtOnceEverywhere(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	for i := range accounts {
		c.Nodes[0].Put(t, "bank", fmt.Sprintf("%02d", i), `{"balance":{"$counter":100}}`)
	}
	c.AwaitEqual(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var transfers, reads atomic.Int64
	var wg sync.WaitGroup
	for k, n := range c.Nodes {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(13, uint64(k)))
			for ctx.Err() == nil {
				from := rng.IntN(accounts)
				to := (from + 1 + rng.IntN(accounts-1)) % accounts
				// The killed region takes none for a while.
				if _, err := n.Try(ctx, transfer(from, to, 1+rng.IntN(50)), http.StatusOK); err == nil {
					transfers.Add(1)
				}
			}
		})
		if n == c.Nodes[2] {
			continue // killed below: it is read at the end
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				sum, err := total(ctx, n)
				if ctx.Err() != nil {
					return
				}
				if err != nil || sum != 100*accounts {
					t.Errorf("%s shows a total of %d, it is %d (%v)", n.Region, sum, 100*accounts, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	pause := func(d time.Duration) {
		t.Helper()
		goal := transfers.Load() + int64(d/time.Millisecond)/5
		cluster.Await(t, cluster.Patience, "transfers", func() (bool, string) { return transfers.Load() >= goal, "" })
	}
	for range size(3, 30) {
		pause(500 * time.Millisecond)
		cluster.Cut(t, cluster.Link{c.Nodes[0], c.Nodes[1]})
		pause(500 * time.Millisecond)
		c.Nodes[2].Kill(t)
		pause(500 * time.Millisecond)
		cluster.Heal(t, cluster.Link{c.Nodes[0], c.Nodes[1]})
		c.Nodes[2].Start(t)
		c.Nodes[2].AwaitReady(t)
	}
	cancel()
	wg.Wait()
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		if sum, err := total(t.Context(), n); err != nil || sum != 100*accounts {
			t.Errorf("at the end %s shows a total of %d, it is %d (%v)", n.Region, sum, 100*accounts, err)
		}
	}
	t.Logf("%d transfers, %d reads of all accounts", transfers.Load(), reads.Load())
}

func TestI13_BatchWithOneRefusedDocumentChangesNothing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
	n := c.Nodes[0]
	n.Put(t, "bank", "a", `{"v":1}`)
	before := n.Dump(t)
	res := n.Must(t, cluster.Request{Method: http.MethodPost, Path: "/v1/batch", Body: `{"docs":[
		{"collection":"bank","id":"a","put":{"v":2}},
		{"collection":"bank","id":"b","put":{"v":2}},
		{"collection":"bank","id":"c","put":{"v":2},"if_match":"*"}]}`}, http.StatusPreconditionFailed)
	if diff := before.Diff(n.Dump(t)); diff != "" {
		t.Errorf("a batch that was refused (%s) has changed something: %s", res.Text(), diff)
	}
}
