package core

import (
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// wants lists what is lacked while all others that should hold it are linked, and what
// others lack; it takes in what nobody has any more.
func (c *Core) wants() ([]wire.Want, error) {
	if c.boot.apart() {
		return c.wantsApart(), nil
	}
	var out []wire.Want
	for _, r := range slices.SortedFunc(maps.Keys(c.sync.lacks), crdt.ReplicaID.Compare) {
		l, dot := c.sync.lacks[r], crdt.Dot{Replica: r, Seq: c.sync.lacks[r].seq}
		if _, here := c.inbox.get(dot); here || c.have.Contains(dot) {
			delete(c.sync.lacks, r)
			continue
		}
		holders := c.otherHolders(l.regions)
		// What it depends on says who was a member then, and of what collection it is.
		known := c.have.Covers(l.deps)
		copied := inNone
		if known {
			copied = c.copyHas(dot, l.regions)
		}
		if known && copied != inAll && c.linkedWith(holders) && len(out) < wire.MaxWants {
			out = append(out, wire.Want{Dot: dot, Regions: crdt.HashRegions(l.regions)})
		}
		l.gone = known && c.nowhere(dot, holders, &l.since)
		switch {
		case !l.gone || copied == inPart: // see replayCopy
			continue
		case copied == inAll:
			if err := c.takePlaceholder(l); err != nil {
				return nil, err
			}
		case c.newcomer():
			continue
		default:
			if err := c.takeAsLost(l); err != nil {
				return nil, err
			}
		}
		delete(c.sync.lacks, r)
	}
	return c.wantsOfOthers(out), nil
}

// wantsOfOthers adds what others want of which this region has not even the placeholder, as
// who has that cannot be reached from here. It knows all collections that they know, and
// is linked with all that share some with it, so nothing can be under way to it either.
func (c *Core) wantsOfOthers(out []wire.Want) []wire.Want {
	if !c.synced {
		out = c.wantsOfAll(out)
	}
	if len(c.catalog.resident) == 0 || !c.linkedWith(c.heldWith()) {
		return out
	}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if !c.have.Covers(p.report.Have) {
			continue
		}
		for _, w := range p.report.Wants {
			if c.isReported(w.Dot) {
				out = c.wantToo(out, w)
			}
		}
	}
	return out
}

// wantsOfAll adds what all want from whom a new region can get anything: then it has it
// no more than they, nor is it under way. It may know neither the collection nor who else
// is a member, and one of those may wait for it, to know that it has nothing. As long as there
// is nothing here, nothing has come of regions that are not linked.
func (c *Core) wantsOfAll(out []wire.Want) []wire.Want {
	names := c.peerNames()
	if c.have.Len() == 0 && c.inbox.changes == 0 {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !c.hears(c.peers[name]) })
	}
	if len(names) == 0 || !c.linkedWith(names) {
		return out
	}
	for _, w := range c.peers[names[0]].report.Wants {
		if !slices.ContainsFunc(names, func(name string) bool { return !c.peers[name].wants(w.Dot) }) {
			out = c.wantToo(out, w)
		}
	}
	return out
}

// wants reports whether a peer wants a change, or a collection, as it last told.
func (p *peer) wants(d crdt.Dot) bool {
	return slices.ContainsFunc(p.report.Wants, func(w wire.Want) bool { return w.Dot == d })
}

// wantToo adds what others want, if this region has not even the placeholder.
func (c *Core) wantToo(out []wire.Want, w wire.Want) []wire.Want {
	if _, here := c.inbox.get(w.Dot); here || c.have.Contains(w.Dot) || slices.Contains(out, w) || len(out) >= wire.MaxWants {
		return out
	}
	return append(out, w)
}

// isReported reports whether some region has told that it holds a change. If none does, nobody
// can lack it: those that want it say so since others do.
func (c *Core) isReported(d crdt.Dot) bool {
	for _, p := range c.peers {
		if p.report.Have.Contains(d) {
			return true
		}
	}
	return false
}

// wantsApart is what a region wants that takes a snapshot: whatever others do, but for
// what the copy, or what is kept, may contain; and, by the dots of their creation,
// collections of which it has nothing.
func (c *Core) wantsApart() []wire.Want {
	var out []wire.Want
	want := func(w wire.Want) {
		if len(out) < wire.MaxWants && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	b, end := &c.boot, c.boot.end()
	for _, dot := range c.nothingOf() {
		want(wire.Want{Dot: dot})
	}
	copied := map[uint64]bool{} // by who holds it
	for _, dot := range c.catalog.resident {
		if b.phase == bootCopying && !b.keeps(dot) && !c.digests.Of(dot).IsZero() {
			copied[crdt.HashRegions(c.catalog.byDot[dot].Settings.Regions)] = true
		}
	}
	for _, name := range c.peerNames() {
		for _, w := range c.peers[name].report.Wants {
			switch {
			case b.keeps(w.Dot):
			case c.catalog.byDot[w.Dot] != nil:
				// Also if it was passed over: who else wants it may wait for this region, and
				// have what this one waits for.
				if b.phase == bootClearing || c.digests.Of(w.Dot).IsZero() {
					want(w)
				}
			case c.keptHas(w):
			case !copied[w.Regions] || !end.Contains(w.Dot):
				want(w)
			}
		}
	}
	return out
}

// nothingOf lists collections that this region should hold, and of which it has nothing
// while its copy has stopped at one: that one first. Who is to keep any of them may have
// what the copy waits for.
func (c *Core) nothingOf() (out []crdt.Dot) {
	b := &c.boot
	col := c.awaited()
	if col == nil && b.pausedAt() == nil || b.phase != bootCopying || b.last.ID != "" || b.peer != "" {
		return nil
	}
	if col != nil && c.linkedWith(c.otherHolders(col.Settings.Regions)) {
		out = append(out, col.Incarnation)
	}
	for _, dot := range c.catalog.resident {
		s := &c.catalog.byDot[dot].Settings
		if s.HeldBy(c.cfg.Region) && !b.keeps(dot) && c.digests.Of(dot).IsZero() && c.linkedWith(c.otherHolders(s.Regions)) {
			out = append(out, dot)
		}
	}
	return out
}

// wantsPatience is for how long a region puts off a snapshot while others want bodies.
const wantsPatience = 3 * lossAfter

// othersWant reports whether a peer wants bodies. While a region has copied nothing it
// can tell that it lacks them, too, so that they are taken as lost if nobody has them.
// Later it cannot, and who waits for them may be the one that the copy waits for.
func (c *Core) othersWant() bool {
	for _, p := range c.peers {
		if c.hears(p) && len(p.report.Wants) > 0 {
			return true
		}
	}
	return false
}
