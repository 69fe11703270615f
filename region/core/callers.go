package core

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// lists reports whether a region is a member that was added, or was one when the first was.
func (c *Core) lists(name string) bool {
	_, ok := c.catalog.Member(name)
	return ok
}

// copying reports whether this region has no place in the cluster yet and takes a
// snapshot: what it has says nothing of what there is.
func (c *Core) copying() bool { return c.boot.apart() && !c.synced }

// Open reports whether links of regions that are not known here are taken, too. A new
// region knows some members only. If it cannot reach those, or they do not know it yet, one
// that lists it can help. Its hello says so; the rest are sent away.
func (c *Core) Open() bool { return !c.synced && c.alone() }

// answerCall takes in a region that calls and was not known here, if it lists this one.
func (c *Core) answerCall(name string, h wire.Hello) error {
	delete(c.sync.callers, name)
	if c.peers[name] == nil {
		if !c.Open() || !h.Lists || len(c.members) >= MaxMembers {
			c.close(name, fmt.Errorf("%w here: %s", ErrNotMember, name))
			return nil
		}
		c.members = append(slices.Clone(c.members), name)
		slices.Sort(c.members)
		c.peers[name], c.names = &peer{name: name, newsAt: c.uptime, admitted: true}, nil
		c.sync.replan = true
		c.note(false, "a region that this one did not know lists it as a member", "peer", name)
	}
	c.linkUp(name)
	return c.receive(name, h)
}

// meet takes in what a peer has that is met, and does not take a snapshot itself.
func (c *Core) meet(p *peer, have crdt.Vector) {
	if !c.synced {
		c.met, p.owed = true, have
	}
}
