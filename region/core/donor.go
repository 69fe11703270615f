package core

import (
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// LogPatience is for how long a member may be silent whose log is waited for before
// a region takes a snapshot of another one.
const LogPatience = 30 * time.Second

// needSnapshot begins to take one, if there is a peer that can give it: one that holds
// some of what is missing in the logs. One that holds no more than this region is no help,
// and might clear its store for ours at the same time.
func (c *Core) needSnapshot(missing []crdt.Dot) {
	if c.fenced != "" || c.suspect != "" {
		return // it has to be clear first what this store is
	}
	if c.awaitsLog() {
		return
	}
	name := c.donor(c.have, func(p *peer) bool {
		return slices.ContainsFunc(missing, p.told.Contains)
	})
	if name == "" {
		return // its log has to get there first
	}
	keep, ok := c.onlyCopies(missing)
	if !ok {
		return
	}
	c.note(true, "the logs of the other regions begin behind what this region holds: it takes a snapshot", "peer", name, "have", c.have)
	c.startOver(keep)
}

// awaitsLog reports whether the log of a member that is not heard may make a
// snapshot needless.
func (c *Core) awaitsLog() bool {
	if c.have.Len() == 0 {
		return false // nothing is given up
	}
	for _, name := range c.sync.plan.Peers() {
		p := c.peers[name]
		if p == nil || c.hears(p) || c.uptime-p.heard >= LogPatience {
			continue
		}
		if c.catalog.Joining(name) || slices.Contains(c.catalog.Removed(), name) {
			continue // it asks, and is turned away, again and again
		}
		if !p.awaited {
			p.awaited = true
			c.note(true, "the logs of the regions that are heard begin behind what this region holds: "+
				"it waits for another one before it takes a snapshot", "peer", name, "at most", LogPatience-(c.uptime-p.heard))
		}
		return true
	}
	return false
}

// donor picks a peer that can give a snapshot, or go on with it, is known to hold all of
// v, and fits.
func (c *Core) donor(v crdt.Vector, fits func(*peer) bool) string {
	best, next := "", c.next()
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if next != nil && !next.Settings.HeldBy(name) {
			continue
		}
		if c.hears(p) && p.speaks(versionSnapshot) && p.told.Covers(v) && fits(p) && (best == "" || best == c.boot.failed) {
			best = name
		}
	}
	return best
}

func anyPeer(*peer) bool { return true }

// versionSnapshot is the first version of the vocabulary that has Behind,
// SnapshotRequest and SnapshotPart.
const versionSnapshot = 6
