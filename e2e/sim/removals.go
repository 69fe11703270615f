package sim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// A departure is that of a region that is removed for good, and comes back in the end
// with the store that it had.
type departure struct {
	dead bool // the process is not to run for now
	done bool // it is a member again
}

// aMark is what clients write that no other write has.
var aMark = regexp.MustCompile(`[a-z]+-[a-z]+-[0-9a-f]+`)

// depart removes a region: one that is heard, or one that dies with what it had
// written behind a cut.
func (w *world) depart(n *node, r *rand.Rand) {
	gone := 0
	for _, o := range w.nodes {
		if o.leaving != nil && !o.leaving.done {
			gone++
		}
	}
	if w.calm || 2*gone+3 > len(w.sc.founders) || n.index >= len(w.sc.founders) || !n.up || n.mute || n.copying || n.have.Len() == 0 || n.leaving != nil {
		return
	}
	n.leaving = &departure{}
	w.befell(Removals)
	w.tracef("%s is to go", n.name)
	if chance(r, 0.4) {
		w.removeRegion(n, r)
		return
	}
	d := between(r, 500*time.Millisecond, 4*time.Second)
	for _, o := range w.nodes {
		if o != n {
			w.cutFor(w.pair(n, o), d+time.Second, 0, 1)
		}
	}
	w.after(d, func() {
		if !slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.up && o.writable == nil && !o.mute }) {
			n.leaving = nil // nobody could remove it
			return
		}
		n.leaving.dead = true
		n.die("for good")
		w.removeRegion(n, r)
	})
}

// removeRegion asks one region or another to remove one, until that is done; then it
// may come back.
func (w *world) removeRegion(n *node, r *rand.Rand) {
	o := w.nodes[r.IntN(len(w.nodes))]
	if o.up && o.catalog != nil && slices.Contains(o.catalog.Removed(), n.name) {
		w.stats.Removed++
		n.leaving.dead = false
		for _, x := range w.nodes {
			if len(x.seeds) > 1 && x.seeds[1] == n.name && x != o {
				x.seeds[1] = o.name // who set it up names another region
				if x.up && (x.catalog == nil || len(x.catalog.Members()) == 0) {
					x.die("its seed is gone")
					x.restartSoon()
				}
			}
		}
		w.after(between(r, 0, 4*time.Second), func() {
			n.boot()
			w.takeBack(n, r)
		})
		return
	}
	w.after(addEvery, func() { w.removeRegion(n, r) })
	if o == n || !o.up || o.mute {
		return
	}
	o.submit(core.RemoveRegion{Region: n.name, Force: chance(r, 0.1)}, nil, func(rep core.Reply) {
		w.tracef("%s removes %s: %+v %v", o.name, n.name, rep.Result, rep.Err)
		if rep.Err != nil && !errors.Is(rep.Err, core.ErrNoMajority) && !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(rep.Err, e) }) {
			w.fail("reply", "%s removes %s: %v", o.name, n.name, rep.Err)
		}
	})
}

// takeBack adds a region again that was removed, until it is back. Who knew of the addition
// may be gone before others do.
func (w *world) takeBack(n *node, r *rand.Rand) {
	if !n.away() {
		n.leaving.done = true
		return
	}
	w.after(addEvery, func() { w.takeBack(n, r) })
	o := w.nodes[r.IntN(len(w.nodes))]
	if o == n || !o.up || o.mute || o.away() || o.catalog == nil || !slices.Contains(o.catalog.Removed(), n.name) {
		return
	}
	o.submit(core.AddRegion{Region: n.name, Address: n.name + ":7400"}, nil, func(rep core.Reply) {
		w.tracef("%s takes %s back: %v", o.name, n.name, rep.Err)
		if rep.Err != nil && !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(rep.Err, e) }) {
			w.fail("reply", "%s takes %s back: %v", o.name, n.name, rep.Err)
		}
	})
}

// away reports whether a region is to go, or has not come back.
func (n *node) away() bool {
	if n.leaving == nil {
		return false
	}
	if n.catalog == nil {
		return true
	}
	m, _ := n.catalog.Member(n.name)
	return m.Incarnation < 2
}

// beginsAnew notes that the store of a region has become a new replica, and what it
// has to make anew.
func (n *node) beginsAnew() {
	w := n.w
	if !w.sc.faults[Removals] {
		w.fail("checkI06HaveGrows", "%s had %v and has nothing", n.name, n.have)
		return
	}
	unseen := len(n.unseen)
	n.owe()
	n.forsake()
	w.tracef("%s begins anew, %d changes of it are unseen", n.name, len(n.unseen)-unseen)
	w.stats.Rejoined++
	w.stats.Unseen += len(n.unseen) - unseen
	n.archive = nil
	for _, c := range w.clients {
		c.token = w.hist.without(c.token)
	}
	clear(n.broken)
}

// without is what remains of a token when what is gone is taken from it.
func (h *history) without(token crdt.Vector) (out crdt.Vector) {
	for r, seq := range token.All() {
		for d := range h.gone {
			if d.Replica == r {
				seq = min(seq, d.Seq-1)
			}
		}
		if seq > 0 {
			out = out.With(crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return out
}

// owe notes the changes that were set aside, and what only they have brought that can be
// seen here, or that others of them have replaced.
func (n *node) owe() {
	for r, err := range n.store.MetaRange("aside/", "") {
		if err != nil {
			n.w.fail("read", "%v", err)
			return
		}
		ch, _, err := crdt.DecodeChange(r.Value)
		if err != nil {
			n.w.fail("codec", "%q: %v", r.Name, err)
			return
		}
		c := n.w.hist.changes[ch.Dot]
		n.w.hist.gone[ch.Dot] = true
		if !slices.Contains(n.unseen, c) {
			n.unseen = append(n.unseen, c)
		}
		for i := range c.Mutations {
			k := keyOf(&c.Mutations[i])
			s := n.shadow[k]
			if s == nil || k.Collection.IsZero() {
				continue
			}
			seen := n.render(k, s)
			for _, mark := range aMark.FindAllString(string(c.Mutations[i].Payload), -1) {
				if strings.Contains(seen, mark) {
					n.w.hist.owed[mark] = fmt.Sprintf("%s of %v, written by %v and seen in %s", k.ID, k.Collection, c.Dot, n.name)
				} else {
					n.w.hist.replaced[mark] = true
				}
			}
		}
	}
}

// forsake notes what no other region has: that too which came here with a snapshot, of a region that has
// lost its store since, and is not set aside.
func (n *node) forsake() {
	for r, seq := range n.have.All() {
		for ; seq > 0 && !slices.ContainsFunc(n.w.nodes, func(o *node) bool { return o != n && o.have.Get(r) >= seq }); seq-- {
			n.w.hist.gone[crdt.Dot{Replica: r, Seq: seq}] = true
		}
	}
}

// rebased reports whether a change that nobody has asked for may be one that a store makes
// anew, and notes what increments it makes then.
func (n *node) rebased(c *change, catalog *core.Catalog) bool {
	if len(n.unseen) == 0 {
		return false
	}
	c.anew = true
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		col, err := catalog.Collection(k.Collection.String())
		if err != nil || col.Name != tallies {
			continue
		}
		var after crdt.State = document.New()
		if s := n.shadow[k]; s != nil {
			after = s.Clone()
		}
		before := tally(after)
		if err := after.Apply(c.Header, c.Mutations[i]); err != nil {
			n.w.fail("apply", "%v: %v", c.Dot, err)
		}
		c.incs[k] += tally(after) - before
	}
	return true
}

// tally is what a document of the tallies counts.
func tally(s crdt.State) int64 {
	view := s.View(conflict.View(conflict.LWW(), conflict.Context{}, func(crdt.ReplicaID) string { return "" }))
	m, _ := view.Value.(map[string]any)
	n, _ := m["n"].(value.Counter)
	return int64(n)
}

// checkMadeAnew: what regions had written and lost when they were removed is there again, but for
// what one of them had also replaced, and each increment once; unless stores were lost besides.
func (w *world) checkMadeAnew() {
	if !w.sc.faults[Removals] || w.sc.faults[Rollback] || w.sc.faults[Wipe] {
		return
	}
	var there []byte // a client may have written again what others have
	for _, c := range w.hist.order {
		if !w.hist.gone[c.Dot] {
			there = append(there, c.encoded...)
		}
	}
	for _, mark := range slices.Sorted(maps.Keys(w.hist.owed)) {
		if !w.hist.replaced[mark] && !bytes.Contains(there, []byte(mark)) {
			w.fail("checkMadeAnew", "%s of %s is lost", mark, w.hist.owed[mark])
			return
		}
	}
	counted, want := map[string]int64{}, map[string]int64{}
	n := w.nodes[0]
	for _, k := range n.documents() {
		if col, err := n.catalog.Collection(k.Collection.String()); err == nil && col.Name == tallies {
			if s := n.stored(k); s != nil {
				counted[k.ID] += tally(s)
			}
		}
	}
	for _, c := range w.hist.order {
		if !c.anew {
			for k, by := range c.incs {
				want[k.ID] += by
			}
		}
	}
	if !maps.Equal(counted, want) {
		w.fail("checkMadeAnew", "the tallies are %v, the increments that were made %v", counted, want)
	}
}
