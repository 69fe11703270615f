package core

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

func (c *Catalog) withGone(i incarnation, final crdt.Vector, heads []crdt.Dot) *Catalog {
	out := *c
	out.removals, out.completions = maps.Clone(c.removals), maps.Clone(c.completions)
	r := c.removals[i]
	r.Region, r.Incarnation, r.Done, r.Final = i.region, i.n, true, final
	out.removals[i], out.completions[i] = r, heads
	out.ended = c.ended.Join(final)
	if m, ok := c.members[i.region]; ok && m.Incarnation <= i.n {
		out.members = maps.Clone(c.members)
		delete(out.members, i.region)
	}
	return &out
}

// Removals lists the removals, those that are done included, by region and incarnation.
func (c *Catalog) Removals() []Removal {
	return slices.SortedFunc(maps.Values(c.removals), func(a, b Removal) int {
		return compareIncarnations(a.incarnation(), b.incarnation())
	})
}

// Ended is where the logs of the replicas of removed regions end.
func (c *Catalog) Ended() crdt.Vector { return c.ended }

// Lost lists what a vector names of removed regions beyond the end of their logs:
// changes that nobody has who remains.
func (c *Catalog) Lost(v crdt.Vector) []crdt.Dot {
	var out []crdt.Dot
	for r, end := range c.ended.All() {
		if seq := v.Get(r); seq > end {
			out = append(out, crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return out
}

// removed finds the last removal of a region that is complete.
func (c *Catalog) removed(region string) (last Removal, ok bool) {
	for i, r := range c.removals {
		if i.region == region && r.Done && r.Incarnation > last.Incarnation {
			last, ok = r, true
		}
	}
	return last, ok
}

// Removed names the regions that were removed and are no members, in order.
func (c *Catalog) Removed() []string {
	var out []string
	for i, r := range c.removals {
		if _, member := c.members[i.region]; r.Done && !member && !slices.Contains(out, i.region) {
			out = append(out, i.region)
		}
	}
	slices.Sort(out)
	return out
}

// Removing finds the removal of a member that is not complete.
func (c *Catalog) Removing(region string) (Removal, bool) {
	m, ok := c.members[region]
	if !ok {
		return Removal{}, false
	}
	r, ok := c.removals[m.incarnation()]
	return r, ok && !r.Done
}

// due lists the removals for which members freeze, in order: not those of regions
// that are asked to leave and have not.
func (c *Catalog) due() []incarnation {
	var out []incarnation
	for name, m := range c.members {
		if r, ok := c.Removing(name); ok && (!r.Waits || c.freezes[m.incarnation()].left) {
			out = append(out, m.incarnation())
		}
	}
	slices.SortFunc(out, compareIncarnations)
	return out
}

// Waiting lists the regions that are still to do something about the removals that
// are not complete, in order.
func (c *Catalog) Waiting() []string {
	var out []string
	due := c.due()
	for name, m := range c.members {
		r, leaving := c.Removing(name)
		f := c.freezes[m.incarnation()]
		if leaving && r.Waits && !f.left || !leaving && !c.joining(&m) && !c.frozen(&m, due) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// majority reports whether the members without some are a majority of all, or of those
// that are not removed by force.
func (c *Catalog) majority(without []incarnation) bool {
	voters, left := 0, 0
	for _, m := range c.members {
		goes := slices.Contains(without, m.incarnation())
		if c.joining(&m) && !goes || goes && c.removals[m.incarnation()].Forced {
			continue
		}
		voters++
		if !goes {
			left++
		}
	}
	return 2*left > voters
}

// frozen reports whether a member has frozen for just these removals, with all its
// replicas that are known.
func (c *Catalog) frozen(m *Member, due []incarnation) bool {
	f := c.freezes[m.incarnation()]
	return slices.Equal(f.of, due) && f.as.Covers(c.firstsOf(m.Region))
}

// firstsOf are the first changes of a region's replicas that are known, but for those from
// before it was removed.
func (c *Catalog) firstsOf(region string) (out crdt.Vector) {
	for r, name := range c.regions {
		if name == region && c.ended.Get(r) == 0 {
			out = out.With(crdt.Dot{Replica: r, Seq: 1})
		}
	}
	return out
}

// Joining reports whether a region was added and has not announced itself.
func (c *Catalog) Joining(region string) bool {
	m, ok := c.members[region]
	return ok && c.joining(&m)
}

// joining reports whether a region was added and has not announced itself.
func (c *Catalog) joining(m *Member) bool { return !m.Added.IsZero() && !c.Announced(m.Region) }

// decided returns where the logs of the replicas end of the members that are due to
// be removed, if that is agreed.
func (c *Catalog) decided(due []incarnation) (held crdt.Vector, ok bool) {
	if !c.majority(due) {
		return held, false
	}
	for _, m := range c.members {
		if slices.Contains(due, m.incarnation()) || c.joining(&m) {
			continue
		}
		if !c.frozen(&m, due) {
			return held, false
		}
		held = held.Join(c.freezes[m.incarnation()].held)
	}
	return held, true
}

// of picks the entries of a vector that are of replicas of a region.
func (c *Catalog) of(region string, v crdt.Vector) (out crdt.Vector) {
	for r, seq := range v.All() {
		if c.regions[r] == region {
			out = out.With(crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return out
}

// removeRegion begins to remove a member, or says how far that is.
func (c *Core) removeRegion(ask RemoveRegion) (RemovalReceipt, error) {
	if err := c.mayWrite(); err != nil && ask.Force {
		return c.giveUp(ask, err)
	} else if err != nil {
		return RemovalReceipt{}, err
	}
	if err := c.mayDecide(); err != nil {
		return RemovalReceipt{}, err
	}
	if ask.Region == c.cfg.Region {
		return RemovalReceipt{}, fmt.Errorf("%w: %s cannot remove itself, ask another region to remove it", ErrInvalid, ask.Region)
	}
	first := c.firstMembers()
	catalog := c.catalog
	for _, m := range first {
		catalog = catalog.withMember(m)
	}
	m, known := catalog.Member(ask.Region)
	if !known {
		if r, ok := c.catalog.removed(ask.Region); ok {
			return RemovalReceipt{Removal: r, Have: c.have}, nil
		}
		return RemovalReceipt{}, fmt.Errorf("%w: %.100q", ErrNotMember, ask.Region)
	}
	heard := slices.Contains(c.sync.reachable, ask.Region)
	r := Removal{Region: m.Region, Incarnation: m.Incarnation, By: c.cfg.Region, Forced: ask.Force, Waits: heard && !ask.Force}
	if old, ok := c.catalog.Removing(ask.Region); ok {
		r.Forced, r.Waits = r.Forced || old.Forced, r.Waits && old.Waits
		if r.Forced == old.Forced && r.Waits == old.Waits {
			return RemovalReceipt{Removal: old, Waiting: c.catalog.Waiting(), Have: c.have}, nil
		}
	}
	asked := *catalog
	asked.removals = maps.Clone(asked.removals)
	asked.removals[r.incarnation()] = r
	catalog = &asked
	without := []incarnation{}
	for name := range catalog.members {
		if x, ok := catalog.Removing(name); ok {
			without = append(without, x.incarnation())
		}
	}
	if !catalog.majority(without) {
		return RemovalReceipt{}, fmt.Errorf("%w: %d of %d regions; if those that go are gone for good, so that they cannot go on without the others, remove them by force",
			ErrNoMajority, len(catalog.members)-len(without), len(catalog.members))
	}
	docs := []systemDoc{r.system()}
	for i := range first {
		docs = append(docs, first[i].system())
	}
	if err := c.updateSystem(docs...); err != nil {
		return RemovalReceipt{}, err
	}
	c.note(false, "a region is to be removed", "region", r.Region, "waits", r.Waits, "forced", r.Forced)
	if err := c.removeMembers(); err != nil {
		return RemovalReceipt{}, err
	}
	if done, ok := c.catalog.removals[r.incarnation()]; ok {
		r = done
	}
	receipt := RemovalReceipt{Removal: r, Have: c.have}
	if !r.Done {
		receipt.Waiting = c.catalog.Waiting()
	}
	return receipt, nil
}

// removeMembers does this region's part in the removals that are not complete.
func (c *Core) removeMembers() error {
	self, ok := c.catalog.Member(c.cfg.Region)
	if len(c.catalog.removals) == 0 || !ok || c.boot.phase != bootNone {
		return nil
	}
	if r, leaving := c.catalog.Removing(c.cfg.Region); leaving {
		return c.leave(r)
	}
	due := c.catalog.due()
	if may := c.mayWrite() == nil; len(due) == 0 || !may {
		return nil
	}
	if !c.catalog.frozen(&self, due) {
		f := freeze{of: due, as: c.catalog.firstsOf(self.Region)}
		for _, i := range due {
			// Before it is known what is held: nothing comes from there any more.
			c.shut(i.region)
			f.held = f.held.Join(c.catalog.of(i.region, c.have))
		}
		if err := c.updateSystem(f.system(self.incarnation())); err != nil {
			return err
		}
		for _, name := range c.peerNames() {
			if p := c.peers[name]; p.up && (p.greeted && c.keepsOut(name, p.linked) || c.keepsOut(name, crdt.ReplicaID{})) {
				c.forgetFrom(name, crdt.ReplicaID{})
				c.keepOut(name)
			}
		}
	}
	return c.complete(due)
}

// complete writes down that removals are complete, if they are.
func (c *Core) complete(due []incarnation) error {
	held, ok := c.catalog.decided(due)
	if !ok {
		return nil
	}
	docs := make([]systemDoc, len(due))
	for k, i := range due {
		r := c.catalog.removals[i]
		r.Done, r.Final = true, c.catalog.of(i.region, held)
		docs[k] = r.gone()
		c.note(false, "a region is removed, the others go on without it", "region", r.Region, "by", r.By, "final", r.Final)
	}
	return c.updateSystem(docs...)
}

// leave makes the last change of a region that is to be removed.
func (c *Core) leave(r Removal) error {
	f := c.catalog.freezes[r.incarnation()]
	if ready := c.ready() == nil; !r.Waits || f.left || !ready || !c.announced {
		return nil
	}
	c.note(true, "this region is removed from the cluster: it takes no writes any more", "by", r.By)
	f.left = true
	return c.updateSystem(f.system(r.incarnation()))
}
