package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A seatOp is an operation of a client on a document whose state is its value,
// "" where there is none.
type seatOp struct {
	doc  string
	kind string // "read", "create", "swap" or "delete"
	// old is what swap and delete want to be there, value what create and swap put.
	old, value string
}

// A seatResult is what the client was told.
type seatResult struct {
	read    string // by a read
	done    bool   // a write was made; else its precondition did not hold
	unknown bool   // nobody knows
}

// seatModel is a document on which reads and writes under preconditions are
// linearizable.
var seatModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			doc := op.Input.(seatOp).doc
			by[doc] = append(by[doc], op)
		}
		var all [][]porcupine.Operation
		for _, ops := range by {
			all = append(all, ops)
		}
		return all
	},
	Step: func(state, input, output any) []any {
		now, op, res := state.(string), input.(seatOp), output.(seatResult)
		if op.kind == "read" {
			if now == res.read {
				return []any{now}
			}
			return nil
		}
		holds := now == op.old
		switch {
		case res.unknown && holds:
			return []any{now, op.value}
		case res.unknown:
			return []any{now}
		case res.done != holds:
			return nil
		case res.done:
			return []any{op.value}
		}
		return []any{now}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// notCarriedOut are problems which say that a request was not and will not be carried out.
var notCarriedOut = []string{
	"/problems/home-unreachable", "/problems/home-pending", "/problems/busy", "/problems/catching-up", "/problems/not-ready",
}

// A seatClient reads and writes, and remembers what it saw.
type seatClient struct {
	id   int
	r    *rand.Rand
	node *cluster.Node
	seen map[string][2]string // document to value and ETag
}

// next draws an operation, and the request that asks for it.
func (c *seatClient) next(doc string, i int) (seatOp, cluster.Request) {
	path := cluster.DocPath("seats", doc)
	seen, known := c.seen[doc]
	value := fmt.Sprintf("%d-%d", c.id, i)
	body := fmt.Sprintf(`{"v":%q}`, value)
	switch k := c.r.IntN(10); {
	case k < 4 || k < 9 && !known:
		return seatOp{doc: doc, kind: "read"}, cluster.Request{Path: path + "?read=home"}
	case known && seen[0] == "" || k == 9 && c.r.IntN(2) == 0:
		return seatOp{doc: doc, kind: "create", value: value}, cluster.PutRequest("seats", doc, body, "If-None-Match", "*")
	case known && k < 8:
		return seatOp{doc: doc, kind: "swap", old: seen[0], value: value}, cluster.PutRequest("seats", doc, body, "If-Match", seen[1])
	case known:
		return seatOp{doc: doc, kind: "delete", old: seen[0]}, cluster.Request{Method: http.MethodDelete, Path: path, Header: []string{"If-Match", seen[1]}}
	}
	return seatOp{doc: doc, kind: "read"}, cluster.Request{Path: path + "?read=home"}
}

// learn understands an answer. It reports false if the operation did not take place.
func (c *seatClient) learn(t *testing.T, op seatOp, res *cluster.Response, err error) (out seatResult, took bool) {
	delete(c.seen, op.doc)
	if err != nil {
		return seatResult{unknown: true}, op.kind != "read"
	}
	switch {
	case op.kind == "read" && res.Status == http.StatusOK:
		out.read = cluster.Field[string](t, res.Body, "v")
		c.seen[op.doc] = [2]string{out.read, res.ETag()}
		return out, true
	case op.kind == "read" && res.Status == http.StatusNotFound:
		c.seen[op.doc] = [2]string{}
		return out, true
	case op.kind != "read" && slices.Contains([]int{200, 201, 204}, res.Status):
		c.seen[op.doc] = [2]string{op.value, res.ETag()}
		return seatResult{done: true}, true
	case op.kind != "read" && res.Status == http.StatusPreconditionFailed:
		return out, true
	case res.Status != http.StatusServiceUnavailable && res.Status != http.StatusTooManyRequests:
		t.Errorf("%s: %+v is answered %d %s", c.node.Region, op, res.Status, res.Text())
		return out, false
	}
	if op.kind == "read" || slices.Contains(notCarriedOut, cluster.Field[string](t, res.Body, "type")) {
		return out, false
	}
	return seatResult{unknown: true}, true
}

// TestStrictHomeIsLinearizable: clients of all regions create, replace, delete and read
// the same documents, while links are cut and the home moves.
func TestStrictHomeIsLinearizable(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	home := c.Nodes[1]
	c.MakeCollection(t, "seats", fmt.Sprintf(`{"type":"register","home":%q}`, home.Region))

	const clients, docs = 100, 25
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var open []porcupine.Operation
	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() {
			cl := &seatClient{id: id, r: rand.New(rand.NewPCG(7, uint64(id))), node: c.Nodes[id%len(c.Nodes)], seen: map[string][2]string{}}
			for i := 0; ctx.Err() == nil; i++ {
				op, q := cl.next(fmt.Sprint(cl.r.IntN(docs)), i)
				within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				from := time.Since(began)
				res, err := cl.node.Do(within, q)
				to := time.Since(began)
				cancel()
				out, took := cl.learn(t, op, res, err)
				if !took {
					continue
				}
				done := porcupine.Operation{ClientId: id, Input: op, Call: from.Nanoseconds(), Output: out, Return: to.Nanoseconds()}
				mu.Lock()
				if out.unknown {
					open = append(open, done)
				} else {
					history = append(history, done)
				}
				mu.Unlock()
			}
		})
	}

	move := func(to *cluster.Node) {
		t.Helper()
		q := cluster.Request{Method: http.MethodPost, Path: "/v1/collections/seats/home", Body: fmt.Sprintf(`{"region":%q}`, to.Region)}
		cluster.Await(t, cluster.Patience, "the home to move to "+to.Region, func() (bool, string) {
			res, err := c.Nodes[0].Do(ctx, q)
			if err != nil {
				return false, err.Error()
			}
			return res.Status == http.StatusOK, res.Text()
		})
		home = to
	}
	pause := time.Duration(size(700, 10_000)) * time.Millisecond
	for range size(1, 6) {
		time.Sleep(pause) // the weather lasts
		cluster.Cut(t, cluster.Link{home, c.Others(home)[0]})
		time.Sleep(pause)
		move(c.Others(home)[1])
		time.Sleep(pause)
		cluster.Cut(t, home.Links(c.Others(home)...)...)
		time.Sleep(pause)
		cluster.Heal(t, c.AllLinks()...)
		move(c.Others(home)[0])
		time.Sleep(pause)
	}
	stop()
	wg.Wait()

	// What nobody knows can have been done at any time after its call.
	end := time.Since(began).Nanoseconds()
	for _, op := range open {
		op.Return = end
		op.ClientId += clients // the client went on
		history = append(history, op)
	}
	kinds := map[string]int{}
	for _, op := range history {
		in, out := op.Input.(seatOp), op.Output.(seatResult)
		kinds[in.kind]++
		if in.kind == "create" && out.done {
			kinds["created"]++
		}
	}
	t.Logf("%d operations in %v, %v, %d with an unknown outcome", len(history), time.Since(began).Round(time.Millisecond), kinds, len(open))
	for _, kind := range []string{"read", "create", "created", "swap", "delete"} {
		if kinds[kind] == 0 {
			t.Errorf("no operation of the kind %q took place", kind)
		}
	}
	switch porcupine.CheckOperationsTimeout(seatModel.ToModel(), history, time.Minute) {
	case porcupine.Illegal:
		t.Error("the history is not linearizable")
	case porcupine.Unknown:
		t.Error("the checker ran out of time")
	case porcupine.Ok:
	}
	c.AwaitEqual(t)

	// The checker would notice: a read of what was there before the first operation.
	spoiled := slices.Clone(history)
	for i, op := range spoiled {
		if in := op.Input.(seatOp); in.kind == "read" && op.Output.(seatResult).read != "" {
			spoiled[i].Output = seatResult{read: "never written"}
			break
		}
	}
	if porcupine.CheckOperationsTimeout(seatModel.ToModel(), spoiled, time.Minute) != porcupine.Illegal {
		t.Error("a read of what was never written is taken for linearizable")
	}
}
