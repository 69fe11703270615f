package core

import (
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// wants lists what is lacked while all others that should hold it are linked, and what
// others lack; it takes in what nobody has any more.
func (c *Core) wants() ([]crdt.Dot, error) {
	if c.boot.apart() {
		return c.wantsApart(), nil
	}
	var out []crdt.Dot
	for _, r := range slices.SortedFunc(maps.Keys(c.sync.lacks), crdt.ReplicaID.Compare) {
		l, dot := c.sync.lacks[r], crdt.Dot{Replica: r, Seq: c.sync.lacks[r].seq}
		if _, here := c.inbox.get(dot); here || c.have.Contains(dot) {
			delete(c.sync.lacks, r)
			continue
		}
		holders := c.otherHolders(l.regions)
		// What it depends on says who was a member then, and of what collection it is.
		known := c.have.Covers(l.deps)
		if known && c.linkedWith(holders) && len(out) < wire.MaxWants {
			out = append(out, dot)
		}
		l.gone = known && c.nowhere(dot, holders, &l.since)
		if l.gone && !c.newcomer() {
			if err := c.takeAsLost(l); err != nil {
				return nil, err
			}
			delete(c.sync.lacks, r)
		}
	}
	return c.wantsOfOthers(out), nil
}

// wantsOfOthers adds what others want of which this region has not even the placeholder, as
// who has that cannot be reached from here. It knows all collections that they know, and
// is linked with all that share some with it, so nothing can be under way to it either.
func (c *Core) wantsOfOthers(out []crdt.Dot) []crdt.Dot {
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
		for _, d := range p.report.Wants {
			if c.isReported(d) {
				out = c.wantToo(out, d)
			}
		}
	}
	return out
}

// wantsOfAll adds what all want from whom a new region can get anything: then it has it
// no more than they, nor is it under way. It may know neither the collection nor who else
// is a member, and one of those may wait for it, to know that it has nothing.
func (c *Core) wantsOfAll(out []crdt.Dot) []crdt.Dot {
	names := c.peerNames()
	if len(names) == 0 || !c.linkedWith(names) {
		return out
	}
	for _, d := range c.peers[names[0]].report.Wants {
		if !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(c.peers[name].report.Wants, d) }) {
			out = c.wantToo(out, d)
		}
	}
	return out
}

// wantToo adds what others want, if this region has not even the placeholder.
func (c *Core) wantToo(out []crdt.Dot, d crdt.Dot) []crdt.Dot {
	if _, here := c.inbox.get(d); here || c.have.Contains(d) || slices.Contains(out, d) || len(out) >= wire.MaxWants {
		return out
	}
	return append(out, d)
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
// what the copy may contain; and, by the dot of its creation, a collection of which it
// has nothing.
func (c *Core) wantsApart() []crdt.Dot {
	var out []crdt.Dot
	want := func(d crdt.Dot) {
		if len(out) < wire.MaxWants && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	b, end, copied := &c.boot, c.boot.end(), false
	if col := c.awaited(); col != nil && b.last.ID == "" && b.peer == "" && c.linkedWith(c.otherHolders(col.Settings.Regions)) {
		want(col.Incarnation)
	}
	for _, dot := range c.catalog.resident {
		copied = copied || b.phase == bootCopying && !c.digests.Of(dot).IsZero()
	}
	for _, name := range c.peerNames() {
		for _, d := range c.peers[name].report.Wants {
			switch {
			case c.catalog.byDot[d] != nil:
				if b.phase == bootClearing || compareKeys(store.DocKey{Collection: d}, b.last) > 0 {
					want(d)
				}
			case !copied || !end.Contains(d):
				want(d)
			}
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
