package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// maxNewcomers is how many regions are added in a run at most.
const maxNewcomers = 2

// newcomer lets a new region start, and has some region add it, before or after that.
func (w *world) newcomer(r *rand.Rand) {
	i := len(w.nodes)
	if i == MaxRegions || i-len(w.sc.founders) == maxNewcomers || w.calm {
		return
	}
	st, err := w.open()
	if err != nil {
		w.fail("open", "%v", err)
		return
	}
	n := newNode(w, i, regionNames[i], st)
	seed := w.nodes[r.IntN(len(w.nodes))]
	n.seeds = []string{n.name, seed.name}
	w.sc.regions = regionNames[:i+1]
	w.nodes = append(w.nodes, n)
	for j, o := range w.nodes[:i] {
		w.pairs[j][i] = &pair{
			w: w, ends: [2]*node{o, n},
			r: source(w.opts.Seed, streamNetwork+100*uint64(j*MaxRegions+i+1)),
		}
	}
	w.befell(Members)
	w.tracef("%s is new, and knows %s", n.name, seed.name)
	w.after(between(r, 0, 3*time.Second), n.boot)
	w.after(between(r, 0, 3*time.Second), func() { w.addRegion(n.name, r) })
}

// addEvery is how often it is seen to that a new region is a member.
const addEvery = 500 * time.Millisecond

// addRegion asks some region to add another one, as long as nobody else knows it.
// Who has may have died before it answered, or lost its store.
func (w *world) addRegion(name string, r *rand.Rand) {
	w.after(addEvery, func() { w.addRegion(name, r) })
	n := w.nodes[r.IntN(len(w.nodes))]
	if !n.up || n.mute || n.name == name || slices.ContainsFunc(w.nodes, func(o *node) bool {
		if o.name == name || o.catalog == nil {
			return false
		}
		_, known := o.catalog.Member(name)
		return known
	}) {
		return
	}
	n.submit(core.AddRegion{Region: name, Address: name + ":7400"}, nil, func(rep core.Reply) {
		w.tracef("%s adds %s: %v", n.name, name, rep.Err)
		if rep.Err == nil {
			w.stats.Added++
		} else if !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(rep.Err, e) }) {
			w.fail("reply", "%s adds %s: %v", n.name, name, rep.Err)
		}
	})
}

// knows reports whether a region takes another one for a member.
func (n *node) knows(o *node) bool {
	return slices.Contains(n.members, o.name) && !slices.Contains(n.pending, o.name)
}

// takes reports whether a region lets another one dial: a member, one that was removed and
// has still to hear of it, or any if it is new.
func (n *node) takes(o *node) bool {
	return n.knows(o) || n.dropped(o) || n.core != nil && n.core.Open()
}

// dropped reports whether a region holds another one for removed.
func (n *node) dropped(o *node) bool {
	return n.catalog != nil && slices.Contains(n.catalog.Removed(), o.name)
}

// wants reports whether a region dials another one, as package region decides.
func (n *node) wants(o *node) bool {
	return n.plan.Dials(o.name) || n.leaving != nil && slices.Contains(n.unheard, o.name) ||
		slices.Contains(n.plan.Peers(), o.name) && (n.have.Len() == 0 || n.catalog != nil && n.catalog.Joining(o.name))
}

// refusedBy tells a region, whose store is empty, that a peer does not know it.
func (n *node) refusedBy(o *node) {
	if n.up && o.up && n.have.Len() == 0 && n.wants(o) && !o.takes(n) {
		n.push(core.NotMember{Peer: o.name})
	}
}

// private reports whether a change was made by a new region that had not heard
// of anybody: it touches nothing that others know.
func (w *world) private(c *change) bool {
	return c.region >= len(w.sc.founders) && (c.Deps.Len() == 0 || c.Deps.Equal(crdt.VectorOf(crdt.Dot{Replica: c.Dot.Replica, Seq: c.Dot.Seq - 1})))
}
