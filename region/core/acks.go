package core

import (
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// Acknowledgements are vectors: each region tells its neighbours what it holds
// whenever it has applied something. What regions further away hold comes with
// Status, twice a second, which is enough while nobody waits. A region in which
// somebody does says so along the way of its changes (Await), at most once a
// second however many wait; for some time from then on the regions on the way
// pass back at once what they hear that others hold (Acks), one message a step.

const (
	// awaitEvery is how often it is said anew that somebody waits, and how often
	// a query that is not answered is sent again.
	awaitEvery = time.Second
	// awaitLease is for how long a neighbour is told promptly after it said so.
	awaitLease = 3 * time.Second
	// awaitPassEvery bounds how often the Await of one origin is passed on.
	awaitPassEvery = awaitEvery / 2
)

// Await says that somebody waits until other regions hold Want, for so long at
// the most. They are told to fetch it at once.
type Await struct {
	Want crdt.Vector
	For  time.Duration
}

// Acked is what a peer is known to hold durably.
type Acked struct {
	Region string
	Have   crdt.Vector
}

// An awaiter is what a core does so that acknowledgements are heard of promptly.
type awaiter struct {
	until  time.Duration // uptime up to which somebody waits
	next   time.Duration // uptime at which this is said anew
	want   crdt.Vector
	urgent bool // say it now
	// pass are messages of others to be passed on behind the changes of this step.
	pass   []wire.Await
	via    []string                 // from whom they came
	passed map[string]time.Duration // origin to uptime
}

// await notes that somebody waits.
func (c *Core) await(want crdt.Vector, d time.Duration, urgent bool) {
	a := &c.awaiter
	if c.uptime >= a.until {
		a.want = crdt.Vector{}
	}
	a.until = max(a.until, c.uptime+d)
	a.want = a.want.Join(want)
	a.urgent = a.urgent || urgent
}

// sendAwaits says that somebody waits, here or further away. It comes behind the
// changes that are waited for, or they would be asked for needlessly.
func (c *Core) sendAwaits() {
	a := &c.awaiter
	if c.uptime < a.until && (a.urgent || c.uptime >= a.next && !c.hearsAll()) {
		a.next, a.urgent = c.uptime+awaitEvery, false
		c.spread(wire.Await{Origin: c.cfg.Region, Want: a.want}, c.cfg.Region, "")
	}
	for i, m := range a.pass {
		c.spread(m, m.Origin, a.via[i])
	}
	a.pass, a.via = nil, nil
}

// hearsAll reports whether all peers tell directly what they hold.
func (c *Core) hearsAll() bool {
	for _, p := range c.peers {
		if !c.hears(p) {
			return false
		}
	}
	return true
}

// spread sends a message the way that the origin's changes go.
func (c *Core) spread(m wire.Message, origin, from string) (sent bool) {
	version := uint64(versionQuorum)
	if m.Kind() == wire.KindPresence {
		version = versionPresence
	}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if name == from || name == origin || !p.speaks(version) || !c.sync.plan.Forward(origin, name) {
			continue
		}
		c.send(name, m)
		sent = true
	}
	return sent
}

// versionQuorum is the first version of the vocabulary that has Await, Acks,
// VectorQuery and VectorReply.
const versionQuorum = 2

// speaks reports whether there is a link on which the peer takes messages of a version.
func (p *peer) speaks(version uint64) bool {
	return p != nil && p.up && p.greeted && p.version >= version
}

func (c *Core) receiveAwait(p *peer, m wire.Await) {
	if c.peers[m.Origin] == nil {
		return
	}
	if c.uptime >= p.lease {
		p.tellAll = true
	}
	p.lease = c.uptime + awaitLease
	if m.Origin == p.name {
		c.learn(p, m.Want)
	}
	c.fetch(m.Want)
	a := &c.awaiter
	if last, ok := a.passed[m.Origin]; ok && c.uptime-last < awaitPassEvery {
		return
	}
	a.passed[m.Origin] = c.uptime
	a.pass, a.via = append(a.pass, m), append(a.via, p.name)
}

// fetch lets what is missing of v be asked for without grace.
func (c *Core) fetch(v crdt.Vector) {
	if c.have.Covers(v) {
		return
	}
	joined := c.sync.fetch.Join(v)
	if joined.Len() > crdt.MaxReplicas {
		joined = v // what is left out is asked for after the grace
	}
	c.sync.fetch = joined
}

// acked notes what a region says that it holds durably. from is who told.
func (c *Core) acked(p *peer, have crdt.Vector, from string) {
	if p.report.Have.Covers(have) {
		return
	}
	p.report.Have, p.report.Digest = p.report.Have.Join(have), digest.Digest{}
	p.grown, p.grownFrom = true, from
	c.learn(p, have)
	c.waitFor(p, p.report.Have)
}

// receiveAck takes what a neighbour tells of another region. A report that is
// newer here than there may be of a store that was rolled back since.
func (c *Core) receiveAck(from string, ack *wire.RegionAck) {
	p := c.peers[ack.Region]
	if p == nil || ack.Replica != p.report.Replica || ack.Seq < p.report.Seq {
		return
	}
	c.acked(p, ack.Have, from)
}

// relayAcks tells the neighbours that wait what others hold.
func (c *Core) relayAcks() {
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if c.uptime >= p.lease || !p.speaks(versionQuorum) {
			continue
		}
		var m wire.Acks
		for _, other := range c.peerNames() {
			o := c.peers[other]
			news := o.grown && o.grownFrom != name || p.tellAll
			if other == name || !news || o.report.Replica.IsZero() || c.sync.observed.Linked(name, other) == topology.LinkUp {
				continue
			}
			m.Acks = append(m.Acks, wire.RegionAck{Region: other, Replica: o.report.Replica, Seq: o.report.Seq, Have: o.report.Have})
		}
		p.tellAll = false
		if len(m.Acks) > 0 {
			c.send(name, m)
		}
	}
}

// tellAcked puts into the effects what is newly known to be held by others.
func (c *Core) tellAcked() {
	for _, name := range c.peerNames() {
		if p := c.peers[name]; p.grown {
			p.grown = false
			c.fx.Acked = append(c.fx.Acked, Acked{Region: name, Have: p.report.Have})
		}
	}
}
