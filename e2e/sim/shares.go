package sim

import (
	"math/rand/v2"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// stock is the collection whose documents have a counter with bounds.
const (
	stock    = "stock"
	stockMin = 0
	stockMax = 20
)

// trade schedules what clients do to counters with bounds.
func (w *world) trade() {
	if !w.sc.faults[Shares] {
		return
	}
	r := source(w.opts.Seed, streamShares+100)
	for range pick(r, 30, 100, 300) {
		at, seed := between(r, 0, w.sc.duration), r.Uint64()
		w.at(at, func() { w.deal(source(seed, streamShares)) })
	}
}

// bounded finds the collection, whichever of its incarnations is known.
func (n *node) bounded() *core.Collection {
	if n.catalog == nil {
		return nil
	}
	for _, c := range n.catalog.Collections() {
		if c.Name == stock && len(c.Settings.Bounds) > 0 && !c.Deleted {
			return c
		}
	}
	return nil
}

func (w *world) deal(r *rand.Rand) {
	n := w.nodes[r.IntN(len(w.nodes))]
	c := &client{index: n.index, tags: map[doc][]string{}}
	if !n.up || n.mute {
		return
	}
	col := n.bounded()
	if col == nil {
		s, err := core.ParseSettings([]byte(`{"bounds":{"/n":{"min":0,"max":20}}}`))
		if err != nil {
			w.fail("settings", "%v", err)
			return
		}
		if n.index == 0 || chance(r, 0.1) {
			n.submit(core.PutCollection{Name: stock, Settings: s}, nil, func(rep core.Reply) {
				res, _ := rep.Result.(core.CollectionReceipt)
				n.finished(c, "the stock", c.token, res.Have, rep.Err)
			})
		}
		return
	}
	d := core.DocWrite{Collection: col.Incarnation.String(), ID: pick(r, "x", "y", "z")}
	switch p := r.IntN(100); {
	case p < 6:
		d.Edit = crdt.Edit{Kind: crdt.EditDelete}
	case p < 14:
		d.Edit = crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(r.IntN(stockMax))}}
	case p < 20:
		d.Edit = crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{"m": mark(n, r)}}
	default:
		by := 1 + r.IntN(4)
		if chance(r, 0.6) {
			by = -by
		}
		d.Edit = n.ops(`[{"op":"inc","path":"/n","value":%d}]`, by)
	}
	write := core.Write{Docs: []core.DocWrite{d}}
	if chance(r, 0.5) {
		write.Shares = between(r, time.Millisecond, 4*time.Second)
	}
	w.befell(Shares)
	n.sendWrite(c, c.token, write, nil, len(n.w.nodes))
}

// checkBounds: in no region, at no time, is a counter beyond its bounds, and the
// shares are what is between.
func (n *node) checkBounds(k doc) {
	const check = "checkBounds"
	col, err := n.catalog.Collection(k.Collection.String())
	if err != nil || len(col.Settings.Bounds) == 0 {
		return
	}
	s, ok := n.stored(k).(crdt.Bounded)
	if !ok || !s.Heads().Visible() {
		return
	}
	shares, other := s.Shares(col.Settings.Bounds[0].Path)
	var sum, moved crdt.Share
	for _, x := range shares {
		sum.Net += x.Net
		moved.Down += x.Down
		moved.Up += x.Up
	}
	if sum.Net < stockMin || sum.Net > stockMax || other || moved != (crdt.Share{}) {
		n.w.fail(check, "%s has %s at %d, by %v (something else: %v)", n.name, k.ID, sum.Net, shares, other)
		return
	}
	_, view := n.view(k, s)
	m, _ := view.Value.(map[string]any)
	if shown, _ := m["n"].(value.Counter); int64(shown) != sum.Net || len(m) > 2 {
		n.w.fail(check, "%s shows %v, its shares are %v", n.name, m, shares)
	}
	for r, x := range shares {
		down, up := x.Net+x.Down, x.Up-x.Net
		if r == k.Collection.Replica {
			up += stockMax
		}
		if down < 0 || up < 0 {
			n.w.fail(check, "the shares of %s in %s are %v", k.ID, n.name, shares)
		}
		if down > 0 && sum.Net > 0 && r != n.core.Replica() {
			n.w.stats.Shared++
		}
	}
}

// counts returns what a change's replica has added to each document with a bounded
// counter that the change writes to, in this region.
func (n *node) counts(c *change) map[doc]int64 {
	var sums map[doc]int64
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		if n.catalog == nil || c.Mutations[i].Delete != crdt.NotDelete {
			continue
		}
		col, err := n.catalog.Collection(k.Collection.String())
		if err != nil || len(col.Settings.Bounds) == 0 {
			continue
		}
		if sums == nil {
			sums = map[doc]int64{}
		}
		sums[k] = 0
		if s, ok := n.shadow[k].(crdt.Bounded); ok {
			shares, _ := s.Shares(col.Settings.Bounds[0].Path)
			sums[k] = shares[c.Dot.Replica].Net
		}
	}
	return sums
}

// checkDeletesAll: a document with a bounded counter is deleted by who has all shares,
// and so nobody takes the counter up or down who has not seen that.
func (n *node) checkDeletesAll(c *change) {
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		deletes := c.Mutations[i].Delete != crdt.NotDelete
		if !deletes && !c.counted[k] {
			continue
		}
		for _, o := range n.w.hist.docs[k] {
			if !n.have.Contains(o.Dot) || c.Deps.Contains(o.Dot) || o.Deps.Contains(c.Dot) {
				continue
			}
			if deletes && o.counted[k] || !deletes && o.mutation(k).Delete != crdt.NotDelete {
				n.w.fail("checkDeletesAll", "%s has %v and %v: one deletes %s, the other counts, and neither has seen the other", n.name, o.Dot, c.Dot, k.ID)
			}
		}
	}
}
