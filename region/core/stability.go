package core

import (
	"fmt"

	"github.com/meridiandb/meridian/crdt"
)

// What is stable at a region A is seen by every change that A does not hold, whoever made
// it or will make it (I12). A vector v is stable at A when
//
//  1. of each member m a report counts: a store of m, of replica R(m), has told that
//     it holds V(m), A holds all of V(m), and v is below it;
//  2. v contains the first change of each R(m), and of each replica whose first
//     change A holds (allKnown).
//
// Stores of a region follow one another: each is emptied, put back or copied from
// what an earlier one was, is a new replica, and no two of them run at a time. Let c be
// a change that A does not hold, and X the replica of m that made it.
//
//   - X is R(m): c was made after V(m) was told, and has seen that.
//   - X came after R(m). Then no V(j) contains its first change, for A would hold
//     that, v contain it, and so would V(m), told before X was. Before X
//     writes anything but its first change it has to hold a report of some store
//     of a region k that contains its first change (join). If that is R(k),
//     it is later than V(k), so X has seen V(k). If not, it is a store that came after
//     R(k), since one before it does not know X; it was vouched for itself before it
//     vouched, and so on to the first, which held some V(k).
//   - X came before R(m), which may have forgotten c. No V(j) contains c, and all
//     contain the first change of R(m), by rule 2. So whoever has c now got
//     it after it had told V(j), directly or not from a store that is no more, T of region k,
//     which had it in its log: and that after it knew the first change of R(k), the
//     one that came after T. But who applies that change drops what T itself has
//     sent and takes nothing more of T (succeeded).
//
// A member that A does not know counts for nothing in this. Its addition is held
// by most of the members before anybody links with it (admit). So R(k) of some k
// among these is the store that held it, and V(k) was told before it did, unless
// most members lost their stores since. Then the new member's donor had seen V(k),
// the new member has, and whatever it holds beyond that is also in the log of a
// store that counts, or of one whose end is known to all as above. Where a store
// that held the addition told V(k) afterwards, A knows the member.
//
// None of it depends on what A has heard but has not stored: a core that was made
// anew begins with no reports, and with all first changes that it holds. Nor on which way
// reports come: who passes on an old one changes nothing in what it says.
//
// A member that is removed is the end of its replica without another to follow: rule 1
// holds for it until all that is left of it is held by all that remain, and what comes of
// it is refused from then on (see removal.go); rule 2 for as long as its first change is.
//
// Not covered: a store that goes on as the replica that it was, though it was put
// back below its eyes (see doubt); one that follows on a copy that is newer than
// what followed it, as an old backup that is restored over a store that was empty
// meanwhile.

// stabilise computes the held and the stable vector.
func (c *Core) stabilise() {
	held, stable := c.have, c.have
	for _, p := range c.peers {
		p.count(c.have)
		held, stable = held.Meet(p.report.Have), stable.Meet(p.counted)
	}
	c.sync.held = held
	if c.unmet > 0 && held.Get(c.replica) >= c.unmet {
		c.unmet, c.changed = 0, true
	}
	if c.allKnown(stable) {
		c.sync.stable = c.sync.stable.Join(stable)
	}
}

// allKnown reports whether v, which every peer has told to have, contains the
// first change of each one's present replica, and of every replica that is known.
// While it has yet to join or copies a snapshot, a region has not all members for peers.
func (c *Core) allKnown(v crdt.Vector) bool {
	if !c.synced || c.boot.apart() || !v.Contains(c.first()) || !v.Covers(c.catalog.announcements) {
		return false
	}
	for _, p := range c.peers {
		if !v.Contains(crdt.Dot{Replica: p.report.Replica, Seq: 1}) {
			return false
		}
	}
	return true
}

// first is this replica's announcement.
func (c *Core) first() crdt.Dot { return crdt.Dot{Replica: c.replica, Seq: 1} }

// succeeded takes in that a region has, or had, the replica r. What its former store sent
// itself and still waits is dropped: it comes again if any store has it in its log. If
// the store that we are linked with does not know of r, it is no more, or this is
// old news: then the link is made anew. If it does, it has become r since we met.
func (c *Core) succeeded(region string, r crdt.ReplicaID) {
	p := c.peers[region]
	if p == nil || p.linked.IsZero() || p.linked == r {
		return
	}
	c.forgetFrom(region, r)
	if p.told.Contains(crdt.Dot{Replica: r, Seq: 1}) {
		return
	}
	if p.up {
		c.linkDown(region)
		c.close(region, fmt.Errorf("%w: there is news of its replica %v, the link is with %v", ErrReplaced, r, p.linked))
	}
}
