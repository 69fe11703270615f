package core

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// shut ends what comes from a region itself.
func (c *Core) shut(name string) {
	c.linkDown(name)
	c.forgetFrom(name, crdt.ReplicaID{})
	c.close(name, fmt.Errorf("%w: %s", ErrRemoved, name))
}

// turnsAway reports whether nothing is taken from a region itself: it was removed,
// or this region has frozen for that.
func (c *Core) turnsAway(name string) bool {
	if c.boot.phase != bootNone {
		return false // what is known is not of one moment
	}
	if m, ok := c.catalog.Member(name); ok {
		self, _ := c.catalog.Member(c.cfg.Region)
		return slices.Contains(c.catalog.freezes[self.incarnation()].of, m.incarnation())
	}
	// A store that was put back may not know that the region was added again, and have
	// that region alone to learn it from: it looks at the replica (stale).
	_, removed := c.catalog.removed(name)
	return removed && c.synced
}

// keepsOut reports whether a store whose replica is not known here, zero if that has
// not said which it is, is not linked with for now, since this region has frozen.
func (c *Core) keepsOut(name string, r crdt.ReplicaID) bool {
	m, ok := c.catalog.Member(name)
	due := c.catalog.due()
	if c.boot.phase != bootNone || !ok || len(due) == 0 || slices.Contains(due, m.incarnation()) || c.have.Get(r) > 0 {
		return false
	}
	self, _ := c.catalog.Member(c.cfg.Region)
	return c.catalog.frozen(&self, due) && (c.catalog.joining(&m) || !r.IsZero() && c.catalog.frozen(&m, due))
}

// A refusal is why nothing is taken from a region.
type refusal struct {
	why     string      // "" if there is none
	unknown bool        // nobody has anything of its present replica
	after   crdt.Vector // beside what is stable: nobody takes any more what was made without it
}

// turnAway tells a region why nothing is taken from it. It closes the link.
func (c *Core) turnAway(name string, no refusal) {
	c.noteOnce(name, "a region is turned away", "peer", name, "reason", no.why)
	m := wire.Removed{Have: c.have, Stable: c.sync.stable.Join(no.after), Final: c.catalog.ended.Join(c.catalog.broughtIn(name)), Reason: no.why, Unknown: no.unknown}
	now, member := c.catalog.Member(name)
	if r, ok := c.catalog.removed(name); ok && !no.unknown {
		m.Incarnation, m.Added = r.Incarnation, member
	} else {
		m.Incarnation = now.Incarnation
	}
	if p := c.peers[name]; p != nil {
		p.owed = crdt.Vector{} // the store that it had then is not one of the cluster
	}
	c.linkDown(name)
	c.forgetFrom(name, crdt.ReplicaID{})
	c.send(name, m)
}

// noteOnce notes something about a peer that is found anew with each link, when it changes.
func (c *Core) noteOnce(peer, text string, args ...any) {
	if s := fmt.Sprint(append(args, text)...); c.noted[peer] != s {
		c.noted[peer] = s
		c.note(true, text, args...)
	}
}

// stale says why a store cannot be that of the member that it says it is, if it cannot.
func (c *Core) stale(replica crdt.ReplicaID, have crdt.Vector, region string) refusal {
	if c.boot.phase != bootNone {
		return refusal{}
	}
	if c.catalog.ended.Get(replica) > 0 {
		return refusal{why: "this store is from before its region was removed"}
	}
	// Several regions may have added it again, of which it knows one.
	m, _ := c.catalog.Member(region)
	done := c.catalog.completions[incarnation{region, m.Incarnation - 1}]
	if m.Incarnation > 1 && have.Get(replica) > 0 && !slices.ContainsFunc(done, have.Contains) {
		return refusal{why: "this store is from before its region was removed"}
	}
	if c.have.Get(replica) == 0 && have.Get(replica) == 0 {
		if removal := c.unheardOf(have); removal.Len() > 0 {
			return refusal{"this store has what was written without knowing of the removal of a region", true, removal}
		}
	}
	if len(c.catalog.Lost(have)) > 0 {
		return refusal{why: "this store has what a removed region wrote and the others never had", unknown: c.have.Get(replica) == 0}
	}
	return refusal{}
}

// unheardOf finds a removal, by a change that says so, if a store has changes of a replica that none
// will be taken of, see mayBegin, since it does not know of that itself: by none of the changes that say
// so, which may be others than are known here if it has more of their replicas.
func (c *Core) unheardOf(have crdt.Vector) (removal crdt.Vector) {
	unknown := false
	for r, seq := range have.All() {
		known := c.have.Get(r)
		if known > 0 && known < seq {
			return removal
		}
		unknown = unknown || known == 0
	}
	for _, heads := range c.catalog.completions {
		i := slices.IndexFunc(heads, c.have.Contains)
		if unknown && i >= 0 && !slices.ContainsFunc(heads, have.Contains) {
			removal = removal.With(heads[i])
		}
	}
	return removal
}

// mayBegin reports whether a change may be taken if it is the first of a replica: its
// writer has to have known of all removals that are known here, and if this region has
// frozen it is not taken from the writer itself.
func (c *Core) mayBegin(p pending) bool {
	if p.change.Dot.Seq != 1 {
		return true
	}
	for _, heads := range c.catalog.completions {
		// What a snapshot has brought counts from where the log has got there.
		if slices.ContainsFunc(heads, c.have.Contains) && !slices.ContainsFunc(heads, p.change.Deps.Contains) {
			if q := c.peers[p.from]; q != nil && q.linked == p.change.Dot.Replica {
				c.turnAway(p.from, refusal{why: "this store did not know of the removal of a region when it announced itself", unknown: true})
			}
			return false
		}
	}
	if q := c.peers[p.from]; q != nil && q.linked == p.change.Dot.Replica && c.keepsOut(p.from, q.linked) {
		c.keepOut(p.from)
		return false
	}
	return true
}

// keepOut ends the link with a store that is let in later.
func (c *Core) keepOut(name string) {
	c.linkDown(name)
	c.close(name, fmt.Errorf("%w: %s is let in when that is done", ErrRemoving, name))
}

// removedError says that this region is removed, nil if it is not.
func (c *Core) removedError() error {
	if r, ok := c.catalog.Removing(c.cfg.Region); ok {
		return fmt.Errorf("%w: %s is removed, as asked of %s; other regions take its requests", ErrRemoved, c.cfg.Region, r.By)
	}
	if c.removing.turned != nil && !c.knowsBetter(c.removing.turned) {
		return fmt.Errorf("%w: %s; what this region wrote and no other has is kept, and is written anew when it is added again: meridian region add %s --address HOST:PORT",
			ErrRemoved, c.removing.turned.Reason, c.cfg.Region)
	}
	return nil
}

// receiveRemoved takes in that a peer goes on without this region.
func (c *Core) receiveRemoved(p *peer, m wire.Removed) error {
	c.linkDown(p.name)
	c.close(p.name, fmt.Errorf("%w: %s says: %s", ErrRemoved, p.name, m.Reason))
	if c.knowsBetter(&m) {
		return nil
	}
	if c.removing.turned == nil || c.removing.turned.Added != m.Added {
		c.note(true, "this region was removed from the cluster", "peer", p.name, "reason", m.Reason, "added", m.Added)
	}
	c.removing.turned = &m
	// Who goes on without this region knows all replicas that anybody knew there, and will
	// begin with none whose writer did not know of the removal: and none that is held here did.
	known := c.catalog.removals[incarnation{c.cfg.Region, m.Incarnation}].Done
	return c.rejoin(p.name, &m, func(r crdt.ReplicaID) bool { return m.Added && !known && m.Have.Get(r) == 0 })
}

// knowsBetter reports whether a peer has still to hear that this region was added again.
func (c *Core) knowsBetter(m *wire.Removed) bool {
	self, ok := c.catalog.Member(c.cfg.Region)
	return ok && m.Incarnation > 0 && self.Incarnation > m.Incarnation
}

// pastEnd reports whether a change is of a removed region and nobody has it who
// remains, or was made having seen such a one.
func (c *Core) pastEnd(ch *crdt.Change) bool {
	end := c.catalog.ended.Get(ch.Dot.Replica)
	return end > 0 && ch.Dot.Seq > end || len(c.catalog.Lost(ch.Deps)) > 0
}

// ended reports whether nothing more is taken of a replica: all is here that there
// will ever be.
func (c *Core) ended(r crdt.ReplicaID) bool {
	end := c.catalog.ended.Get(r)
	return end > 0 && c.have.Get(r) >= end
}
