package document

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// Trim implements [crdt.State].
//
// What it drops are list positions and counter cells that are dead for good:
// everybody has applied all that killed them, and nothing that was written
// without having seen it can still arrive. To know that without a vector per
// death, deaths are told apart only by the last barrier, which is the set of the
// document's heads at some moment. All that happened to the document until then
// is in the causal past of those heads, so once they are stable, all deaths
// before the barrier are, unless what died lives again. Then the barrier moves on.
//
// That changes no later result (I14). Writers refer to no element that they see
// dead, and place new positions by live ones alone, so nothing that still arrives
// refers to what is dropped. A position without children takes no place in the
// order. One with a single child is contracted: the child takes over its parent,
// its side and its key among siblings. All others keep their order, since the
// subtree stays where it was, and keep being above, left or right of each other,
// which is all that anchors of new positions depend on; and new siblings sort
// against the inherited key as they would have against the dead position. One
// with two children stays, so fewer positions are dead than live.
func (d *Doc) Trim(stable crdt.Vector) (changed bool) {
	d.prepared = nil
	changed = d.heads.Trim(stable)
	if !d.heads.Known() {
		changed = changed || !d.root.empty()
		d.clear()
		return changed
	}
	changed = d.heads.TrimDecisions(stable, d.View, d.liveDots) || changed
	pending := d.garbage || d.barrier != nil
	if !pending {
		return changed
	}
	passed := d.barrier != nil && !slices.ContainsFunc(d.barrier, func(x crdt.Dot) bool { return !stable.Contains(x) })
	switch {
	case d.heads.Settled(stable):
		d.sweep(sweeper{dropClosed: true, dropOpen: true})
		d.barrier, d.garbage = nil, false
	case passed && d.garbage:
		d.sweep(sweeper{dropClosed: true, closeOpen: true})
		d.barrier, d.garbage = d.heads.Dots(), false
	case passed:
		d.sweep(sweeper{dropClosed: true})
		d.barrier = nil
	case d.barrier == nil:
		d.sweep(sweeper{closeOpen: true})
		d.barrier, d.garbage = d.heads.Dots(), false
	default:
		return changed
	}
	return true
}

// Trims implements [crdt.State].
func (d *Doc) Trims() bool { return d.garbage || d.barrier != nil || d.heads.Trims() }

func (d *Doc) sweep(w sweeper) { w.slot(d.root) }

// A sweeper walks a document and drops the dead.
type sweeper struct {
	dropClosed, dropOpen bool
	closeOpen            bool
}

func (w sweeper) drops(x deadness) bool {
	return x == deadClosed && w.dropClosed || x == deadOpen && w.dropOpen
}

func (w sweeper) close(x *deadness) {
	if *x == deadOpen && w.closeOpen {
		*x = deadClosed
	}
}

// slot sweeps s in place: a trimmed document shares nothing with any other.
func (w sweeper) slot(s *slot) {
	if s.m != nil {
		for k, c := range s.m.children {
			if w.slot(c); c.empty() {
				delete(s.m.children, k)
			}
		}
		if s.m.empty() {
			s.m = nil
		}
	}
	if s.l != nil {
		if w.list(s.l); s.l.empty() {
			s.l = nil
		}
	}
	if s.c != nil {
		s.c.cells = slices.DeleteFunc(s.c.cells, func(x cell) bool { return w.drops(x.dead) })
		for i := range s.c.cells {
			w.close(&s.c.cells[i].dead)
		}
		if s.c.empty() {
			s.c = nil
		}
	}
}

func (w sweeper) list(l *list) {
	kids := make([]int32, len(l.nodes))  // children that stay
	child := make([]int32, len(l.nodes)) // the last of them
	gone := make([]bool, len(l.nodes))
	some := false
	for i := len(l.nodes) - 1; i >= 0; i-- { // children before parents
		n := l.nodes[i]
		stays := int32(i)
		if w.drops(n.dead) {
			n.elem, n.slot = tag{}, nil
			if kids[i] < 2 {
				gone[i], some = true, true
				if stays = -1; kids[i] == 1 {
					stays = child[i]
					c := l.nodes[stays]
					c.parent, c.right, c.key = n.parent, n.right, n.key
				}
			}
		} else if n.slot != nil {
			w.slot(n.slot)
		}
		w.close(&n.dead)
		if stays >= 0 && n.parent >= 0 {
			kids[n.parent]++
			child[n.parent] = stays
		}
	}
	l.index, l.moved = nil, nil
	if some {
		l.compact(gone)
	}
}

// compact takes out the nodes that are gone; no other has one for its parent.
func (l *list) compact(gone []bool) {
	at := make([]int32, len(l.nodes))
	kept := l.nodes[:0]
	for i, n := range l.nodes {
		if !gone[i] {
			at[i] = int32(len(kept))
			kept = append(kept, n)
		}
	}
	clear(l.nodes[len(kept):])
	l.nodes, l.links = kept, nil
	for _, n := range kept {
		if n.parent >= 0 {
			n.parent = at[n.parent]
		}
	}
	l.group()
}

// liveDots are the changes of which something lives in the document.
func (d *Doc) liveDots() []crdt.Dot {
	var g seen
	g.slot(d.root)
	dots := make([]crdt.Dot, 0, len(g.tags)+len(g.cells))
	for _, t := range g.tags {
		dots = append(dots, t.dot)
	}
	for _, c := range g.cells {
		dots = append(dots, c.tag.dot)
	}
	return dots
}
