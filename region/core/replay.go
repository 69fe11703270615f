package core

import (
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A copy whose segments are of different moments becomes whole by the log between them. Stores
// that are put back meanwhile can take that away: what another region gave documents with, and nobody has in
// its log any more. What some regions hold then counts by its placeholder if all copies have
// it. Otherwise the copy cannot be completed, and another one is taken.

// An extent is how much of a change copied documents contain.
type extent int

const (
	inNone extent = iota
	inPart        // that of some, or of no single moment
	inAll
)

// copyHas says how much of a change that some regions hold is in the copies of what they hold. Its
// placeholder does not say in which collections it wrote.
func (c *Core) copyHas(d crdt.Dot, regions []string) extent {
	b, some, all := &c.boot, false, true
	if b.phase != bootReplaying {
		return inNone
	}
	for _, dot := range c.catalog.resident {
		if !slices.Equal(c.catalog.byDot[dot].Settings.Regions, regions) {
			continue
		}
		s := b.segmentsWith(dot, d)
		some, all = some || s != inNone, all && s == inAll
	}
	switch {
	case !some:
		return inNone
	case all:
		return inAll
	}
	return inPart
}

// segmentsWith says in how many of the segments with a collection's documents a change is.
func (b *bootstrap) segmentsWith(collection, d crdt.Dot) extent {
	if !b.base.Contains(collection) || b.keeps(collection) {
		return inNone
	}
	begin := store.DocKey{Collection: collection}
	end := store.DocKey{Collection: crdt.Dot{Replica: collection.Replica, Seq: collection.Seq + 1}}
	with, without := false, false
	for i := range b.segments {
		last := i == len(b.segments)-1
		if i > 0 && compareKeys(b.segments[i].after, end) >= 0 || !last && compareKeys(b.segments[i+1].after, begin) <= 0 {
			continue
		}
		if b.segments[i].have.Contains(d) {
			with = true
		} else {
			without = true
		}
	}
	switch {
	case !with:
		return inNone
	case without:
		return inPart
	}
	return inAll
}

// replayCopy goes on with a copy that is replayed: it ends once it is of one moment, or if it never will be.
func (c *Core) replayCopy() {
	if c.have.Covers(c.boot.end()) {
		c.finishSnapshot()
		return
	}
	d, never := c.neverComes()
	if !never || c.donor(c.have, anyPeer) == "" {
		return
	}
	keep, ok := c.onlyCopies([]crdt.Dot{d})
	if !ok {
		return
	}
	c.note(true, "no region has a change any more that would make copied documents whole: the snapshot starts over", "change", d)
	c.startOver(keep)
}

// neverComes finds a change without which the copy does not become whole, and that nobody has any more.
func (c *Core) neverComes() (crdt.Dot, bool) {
	for _, r := range slices.SortedFunc(maps.Keys(c.sync.lacks), crdt.ReplicaID.Compare) {
		l := c.sync.lacks[r]
		if d := (crdt.Dot{Replica: r, Seq: l.seq}); l.gone && c.copyHas(d, l.regions) == inPart {
			return d, true
		}
	}
	for r, seq := range c.boot.end().All() {
		d := crdt.Dot{Replica: r, Seq: c.inbox.contiguous(r, c.have.Get(r)) + 1}
		if d.Seq <= seq && !c.isKnownOf(d) {
			return d, c.allSay(c.sync.plan.Peers(), &c.boot.nowhere, func(*peer) bool { return true })
		}
	}
	c.boot.nowhere = 0
	return crdt.Dot{}, false
}

// isKnownOf reports whether some region may have a change: it is known to, or not heard of.
func (c *Core) isKnownOf(d crdt.Dot) bool {
	for name, p := range c.peers {
		if p.have.Contains(d) || !slices.Contains(c.sync.reachable, name) {
			return true
		}
	}
	return false
}
