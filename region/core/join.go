package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A store that is new, emptied, put back or copied is a new replica, which takes its
// place in the cluster step by step: it meets others and catches up with what they
// have then (peer.owed); it makes its first change, which binds it to its region; and once
// others are known to hold that, and it holds all that they had by then, it takes writes.
// Stability rests on that. One that has nothing, and meets nobody who has, is
// the first of a new cluster, and takes writes at once.

// join lets a new replica take writes: it has met others and holds what they had
// then, has announced itself, and has been vouched for.
func (c *Core) join() error {
	if c.synced || c.boot.phase != bootNone || !c.met && c.expects() || !c.have.Covers(c.owed()) {
		return nil
	}
	if err := c.announce(); err != nil || !c.vouched() {
		return err
	}
	c.synced = true
	c.changed = true
	c.note(false, "caught up, writes are taken", "have", c.have)
	return nil
}

// caughtUp reports whether this replica holds what others had when it met them, and has
// announced itself.
func (c *Core) caughtUp() bool {
	return !c.boot.apart() && c.announced && (c.met || !c.expects()) && c.have.Covers(c.owed())
}

// vouched reports whether this replica holds a report of a settled store that
// contains its first change: whatever counts as stable anywhere without
// regard to this replica is below that. All members together can vouch though
// none of them is settled, as when all were restored from copies. Fewer cannot: what
// such a store told before it was put back may count elsewhere, and be forgotten by itself.
func (c *Core) vouched() bool {
	for _, p := range c.peers {
		if p.vouches && p.counted.Contains(c.first()) {
			return true
		}
	}
	return len(c.unaware()) == 0
}

// unaware are the other members that this replica's first change is not known to have reached.
func (c *Core) unaware() (names []string) {
	for name := range c.catalog.members {
		if p := c.peers[name]; name != c.cfg.Region && !c.gone(name) && (p == nil || !p.counted.Contains(c.first())) {
			names = append(names, name)
		}
	}
	for name, p := range c.peers {
		if _, ok := c.catalog.members[name]; !ok && !c.gone(name) && !p.counted.Contains(c.first()) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// writable reports why no write can be taken, or nil.
func (c *Core) writable() error {
	if err := c.removedError(); err != nil {
		return err
	}
	return c.ready()
}

// ready reports why this replica cannot write, or nil.
func (c *Core) ready() error {
	if err := c.announceable(); err != nil {
		return err
	}
	if !c.synced && !c.founding() {
		return fmt.Errorf("%w: this store, which is new, restored or a copy, has caught up; it takes writes once a region that does so itself has heard of it, or all have: %s%s",
			ErrCatchingUp, strings.Join(c.unaware(), ", "), c.wayOut())
	}
	return nil
}

// announceable reports why this replica cannot even announce itself, or nil.
func (c *Core) announceable() error {
	if why := cmp.Or(c.fenced, c.suspect); why != "" {
		return fmt.Errorf("%w: %s", ErrFenced, why)
	}
	if c.boot.only != "" && (!c.synced || c.boot.phase != bootNone) {
		return fmt.Errorf("%w, %s: %s", ErrOnlyCopy, c.boot.only, c.boot.why)
	}
	if err := c.snapshotError(); err != nil {
		return err
	}
	if c.stranger != "" && c.have.Len() == 0 {
		return fmt.Errorf("%w: %s does not know %s; add it there: meridian region add %s --address HOST:PORT (it is let in once most regions know of that)", ErrNotMember, c.stranger, c.cfg.Region, c.cfg.Region)
	}
	if !c.contact && len(c.peers) > 0 && c.uptime < c.cfg.Timing.DeadAfter {
		// If this store was rolled back, a peer that can be reached says so before
		// a dot is used again.
		return fmt.Errorf("%w: no peer was met yet", ErrCatchingUp)
	}
	switch {
	case c.synced || c.founding():
	case !c.met && c.expects():
		return fmt.Errorf("%w: no region was met yet that could have more than this store, which is new, restored or a copy%s", ErrCatchingUp, c.wayOut())
	case !c.have.Covers(c.owed()):
		return c.lackError()
	}
	return nil
}

// wayOut is what an operator can do where regions are waited for that do not come back.
func (c *Core) wayOut() string {
	if !c.holdsOthers() {
		return "; this region holds nothing of any other one, and would be a cluster of its own without these: if it is to be that, start it without --peers"
	}
	return "; those that are gone for good are not waited for after: meridian region remove REGION --force"
}

// lackError says what is still to come, and of whom if that is not heard.
func (c *Core) lackError() error {
	n := c.have.Lacks(c.owed())
	var silent []string
	for _, name := range c.peerNames() {
		if p := c.peers[name]; !c.have.Covers(p.owed) && !c.within(p) && !c.gone(name) {
			silent = append(silent, name)
		}
	}
	if len(silent) == 0 {
		return fmt.Errorf("%w: %d changes are still to come", ErrCatchingUp, n)
	}
	return fmt.Errorf("%w: %d changes are still to come, and not heard of those that told of them: %s%s", ErrCatchingUp, n, strings.Join(silent, ", "), c.wayOut())
}

// founding reports whether this store is the first of a new cluster, or among
// the first, as far as it can know.
func (c *Core) founding() bool {
	return !c.synced && !c.late && c.alone() && c.owed().Len() == 0
}

// mayWrite reports why no write can be taken, or makes sure that the replica's
// first change is its announcement.
func (c *Core) mayWrite() error {
	if err := c.writable(); err != nil {
		return err
	}
	return c.announce()
}

// alone reports whether nothing of others is held.
func (c *Core) alone() bool {
	return c.have.Len() == 0 || c.have.Len() == 1 && c.have.At(0).Replica == c.replica
}
