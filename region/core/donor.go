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
	if name == "" || !c.bodiesElsewhere(missing) {
		return // its log has to get there first
	}
	c.note(true, "the logs of the other regions begin behind what this region holds: it takes a snapshot", "peer", name, "have", c.have)
	c.startOver()
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
		if !p.awaited {
			p.awaited = true
			c.note(true, "the logs of the regions that are heard begin behind what this region holds: "+
				"it waits for another one before it takes a snapshot", "peer", name, "at most", LogPatience-(c.uptime-p.heard))
		}
		return true
	}
	return false
}

// bodiesElsewhere reports whether of each collection that not all regions hold some
// other holder that can be asked has all that is here: a donor that does not hold
// it has placeholders. A holder that is as far behind is none: it could not give its
// copy, to which what is missing belongs, and may be about to clear it for ours.
func (c *Core) bodiesElsewhere(missing []crdt.Dot) bool {
	lacks := func(p *peer) bool {
		return !p.told.Covers(c.have) || slices.ContainsFunc(missing, func(d crdt.Dot) bool { return !p.told.Contains(d) })
	}
	for _, dot := range c.catalog.resident {
		col := c.catalog.byDot[dot]
		if !col.Settings.HeldBy(c.cfg.Region) || c.digests.Of(dot).IsZero() {
			continue
		}
		if !slices.ContainsFunc(c.otherHolders(col.Settings.Regions), func(name string) bool {
			p := c.peers[name]
			return p != nil && c.hears(p) && !lacks(p)
		}) {
			if c.uptime >= c.boot.tell {
				c.boot.tell = c.uptime + onlyCopyEvery
				c.note(true, "a snapshot is needed, and would delete the only copy of a collection: it waits until another region that holds it has all of it; "+
					"if there is none, export the collection and empty this store", "collection", col.Name, "regions", col.Settings.Regions)
			}
			c.boot.only = col.Name
			return false
		}
	}
	c.boot.only = ""
	return true
}

// onlyCopyEvery is how often it is said that the only copy of something is here.
const onlyCopyEvery = time.Minute

// donor picks a peer that can give a snapshot, or go on with it, is known to hold all of
// v, and fits.
func (c *Core) donor(v crdt.Vector, fits func(*peer) bool) string {
	best, next := "", c.catalog.byDot[c.boot.last.Collection]
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if next != nil && c.boot.phase == bootCopying && !next.Settings.HeldBy(name) {
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
