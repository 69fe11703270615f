package core

import (
	"errors"
	"slices"
)

// A replica that is new, restored or a copy takes writes once it holds what those had
// that it met, and is vouched for (join.go). If they are gone for good that never comes to
// be, and what could remove them is a write. So an operator can give them up: a removal by
// force that is asked of such a replica lets it wait for that region no more. As soon as
// it takes writes it asks for the removal itself.
//
// What was stable for a region that is given up counts for nobody who remains: what its store
// has is refused from then on, and made anew on top of what the others hold if it
// ever comes back (rejoin.go). Those who remain still vouch for each other. Giving up is not
// stored: who restarts is to be asked again.

// giveUp waits no more for a region that is to be removed by force, if it is that which
// keeps this one from taking writes.
func (c *Core) giveUp(ask RemoveRegion, why error) (RemovalReceipt, error) {
	p := c.peers[ask.Region]
	switch {
	case p == nil || !errors.Is(why, ErrCatchingUp) || c.boot.phase != bootNone:
		return RemovalReceipt{}, why
	case !c.holdsOthers() || c.uptime < c.cfg.Timing.DeadAfter || c.within(p):
		// It would be a cluster of its own, or may come to take writes without that.
		return RemovalReceipt{}, why
	}
	i := c.incarnationOf(ask.Region)
	if !c.isGivenUp(ask.Region) {
		c.removing.givenUp[ask.Region] = i
		c.note(true, "a region is given up: what only it has is not waited for", "region", ask.Region)
	}
	r := Removal{Region: ask.Region, Incarnation: i, By: c.cfg.Region, Forced: true}
	return RemovalReceipt{Removal: r, Waiting: []string{c.cfg.Region}, Have: c.have}, nil
}

// holdsOthers reports whether there is something here to go on with: a change of another region.
func (c *Core) holdsOthers() bool {
	for r := range c.have.All() {
		if region := c.catalog.Region(r); region != "" && region != c.cfg.Region {
			return true
		}
	}
	return false
}

func (c *Core) incarnationOf(name string) uint64 {
	m, _ := c.catalog.Member(name)
	return max(m.Incarnation, 1)
}

// isGivenUp reports whether a region is given up. Others may have removed the one that is, and
// added it again.
func (c *Core) isGivenUp(name string) bool { return c.removing.givenUp[name] == c.incarnationOf(name) }

// gone reports whether a region is given up and not heard.
func (c *Core) gone(name string) bool { return c.isGivenUp(name) && !c.within(c.peers[name]) }

// within reports whether a region is heard, here or by one that is.
func (c *Core) within(p *peer) bool {
	return c.hears(p) || p != nil && slices.Contains(c.sync.reachable, p.name)
}

// expects reports whether there is a region that is not given up.
func (c *Core) expects() bool {
	for name := range c.peers {
		if !c.gone(name) {
			return true
		}
	}
	return false
}

// removeGivenUp asks to remove what was given up, once this region takes writes.
func (c *Core) removeGivenUp() error {
	if len(c.removing.givenUp) == 0 {
		return nil
	}
	if may := c.mayWrite() == nil; !may {
		return nil
	}
	for _, name := range c.peerNames() {
		still := c.isGivenUp(name)
		delete(c.removing.givenUp, name)
		if !still {
			continue
		}
		_, err := c.removeRegion(RemoveRegion{Region: name, Force: true})
		if errors.Is(err, errStore) {
			return err
		}
		if err != nil {
			c.note(true, "a region that was given up is not removed", "region", name, "error", err)
		}
	}
	return nil
}
