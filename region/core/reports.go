package core

import (
	"maps"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// A sample says what was held when, to tell how long a peer is behind.
type sample struct {
	at   time.Duration // uptime
	have crdt.Vector
}

// maxSamples of one every Timing.Status bound how far back a lag is told.
const maxSamples = 1200

func (c *Core) receiveReport(from string, r wire.Report) {
	if r.Region == c.cfg.Region {
		// The clock may have been ahead when an earlier process reported.
		c.sync.reportSeq = max(c.sync.reportSeq, r.Seq)
		return
	}
	p, ok := c.peers[r.Region]
	if !ok || len(r.Links) > wire.MaxReports {
		return
	}
	direct := from == r.Region
	if no := c.stale(r.Replica, r.Have, r.Region); no.why != "" {
		if direct {
			c.turnAway(from, no)
		}
		return
	}
	if !direct && r.Seq <= p.report.Seq {
		return
	}
	if !direct && c.hears(p) && r.Replica != p.report.Replica {
		// It is of a store that is no more. The one that is hears of it from here
		// and outbids it, for those who are not linked with it.
		if p.report.Seq > 0 {
			p.report.Seq = r.Seq
		}
		return
	}
	if direct {
		if p.copying && !r.Copying {
			c.meet(p, r.Have)
		}
		p.copying = r.Copying
		p.offset = time.UnixMilli(r.Now).Sub(c.now)
		p.told, p.reported = p.told.Join(r.Have), c.uptime
		// So that it learns what it has to outbid, whoever's report comes first.
		r.Seq = max(r.Seq, p.report.Seq)
	}
	told := pastDigest{r.Have, r.Digest}
	if r.Replica != p.report.Replica {
		p.digests = peerDigests{}
		p.have, p.owed = crdt.Vector{}, p.owed.Meet(r.Have)
		p.uncount()
	} else {
		// Messages may overtake each other.
		if have := r.Have.Join(p.report.Have); !have.Equal(r.Have) {
			r.Have, r.Digest = have, digest.Digest{}
		}
		r.Settled = r.Settled || p.report.Settled
	}
	if !p.report.Have.Covers(r.Have) {
		p.grown, p.grownFrom = true, from
	}
	p.report, p.news, p.newsAt = r, c.now, c.uptime
	if !told.sum.IsZero() {
		p.digests.told, p.digests.stage = told, compareAll
	}
	c.learn(p, r.Have)
	c.waitFor(p, r.Have)
}

// waitFor makes a reported vector the next to count for stability, unless one
// is waiting already: were it always replaced by the latest, a busy peer's would
// never come to count.
func (c *Core) waitFor(p *peer, v crdt.Vector) {
	if p.waiting.Len() == 0 {
		p.waiting, p.needs, p.promises = v, v, p.report.Settled && !c.foundsAnew(&p.report)
		// If others hold changes of it that it does not tell of, its store may have
		// been rolled back since it made them. They count for what it has written.
		if seq := c.knownOf(p.report.Replica); seq > v.Get(p.report.Replica) {
			p.needs = v.With(crdt.Dot{Replica: p.report.Replica, Seq: seq})
		}
	}
	p.count(c.have)
}

// foundsAnew reports whether a region founded a cluster of its own since it had lost its store, and met
// none of the one that it was of. It has heard of nothing that counts there.
func (c *Core) foundsAnew(r *wire.Report) bool {
	if !r.Founder {
		return false
	}
	for other := range c.catalog.announcements.All() {
		if other != r.Replica && c.catalog.Region(other) == r.Region {
			return true
		}
	}
	return false
}

// knownOf is up to where anybody is known to hold the changes of a replica.
func (c *Core) knownOf(r crdt.ReplicaID) uint64 {
	seq := c.have.Get(r)
	for _, p := range c.peers {
		seq = max(seq, p.have.Get(r))
	}
	return seq
}

// count lets the waiting report count once we hold all that it holds, and all
// that its region is known to have made: whatever of its region is not here yet
// was then written having seen all of it.
func (p *peer) count(have crdt.Vector) {
	if p.waiting.Len() > 0 && have.Covers(p.needs) {
		p.counted, p.waiting, p.vouches = p.waiting, crdt.Vector{}, p.promises
	}
}

// uncount lets nothing count that was told by another store of the peer.
func (p *peer) uncount() {
	p.counted, p.waiting, p.vouches = crdt.Vector{}, crdt.Vector{}, false
}

// synchronise does what is due besides the events themselves: observe the
// links, plan, report, and ask for what is missing.
func (c *Core) synchronise() {
	c.observe()
	c.stabilise()
	if c.uptime >= c.sync.nextStatus {
		c.sync.nextStatus = c.uptime + c.cfg.Timing.Status
		c.sync.tell = true
		c.warnAway()
		if len(c.sync.samples) == maxSamples {
			c.sync.samples = slices.Delete(c.sync.samples, 0, maxSamples/10)
		}
		c.sync.samples = append(c.sync.samples, sample{c.uptime, c.have})
	}
	c.pull()
	c.watchOwn()
}

// behind is for how long a vector that grows with ours has lacked something of it.
func (c *Core) behind(v crdt.Vector) time.Duration {
	if v.Covers(c.have) {
		return 0
	}
	i, _ := slices.BinarySearchFunc(c.sync.samples, v, func(s sample, have crdt.Vector) int {
		if have.Covers(s.have) {
			return -1
		}
		return 1
	})
	if i == len(c.sync.samples) {
		return 0
	}
	return c.uptime - c.sync.samples[i].at
}

// oldestNews is when the least recently heard peer was last heard of; the zero
// time if one never was.
func (c *Core) oldestNews() time.Time {
	oldest := c.now
	for _, p := range c.peers {
		if p.news.Before(oldest) {
			oldest = p.news
		}
	}
	return oldest
}

// hears reports whether a peer's link is up and not silent.
func (c *Core) hears(p *peer) bool {
	return p != nil && p.up && p.greeted && c.uptime-p.heard < c.cfg.Timing.DeadAfter
}

// observe gathers who hears whom, and plans anew if that has changed.
func (c *Core) observe() {
	links := []string{}
	obs := topology.Observations{}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if c.hears(p) {
			links = append(links, name)
		}
		if p.report.Seq > 0 {
			obs[name] = p.report.Links
		}
	}
	// A region that has just started hears nobody yet, which says nothing.
	if c.uptime >= c.cfg.Timing.DeadAfter || len(links) == len(c.peers) {
		obs[c.cfg.Region] = links
	}
	idle := c.idle()
	if !c.sync.replan && slices.Equal(idle, c.sync.idle) && maps.EqualFunc(obs, c.sync.observed, slices.Equal[[]string]) {
		return
	}
	if !slices.Equal(links, c.sync.links) {
		c.sync.nextStatus = 0
	}
	c.sync.observed, c.sync.idle, c.sync.links, c.sync.replan = obs, idle, links, false
	members := slices.DeleteFunc(slices.Clone(c.members), func(name string) bool { return slices.Contains(c.pending, name) })
	c.sync.reachable, c.callbacks.stale = obs.Reachable(c.cfg.Region, members), true
	c.sync.plan = topology.Make(c.cfg.Region, members, c.sync.spec, obs, idle, c.ties()...)
	plan := c.sync.plan
	c.fx.Plan, c.fx.Unheard = &plan, nil
	if _, settled := obs[c.cfg.Region]; settled {
		for _, name := range plan.Peers() {
			if !slices.Contains(links, name) {
				c.fx.Unheard = append(c.fx.Unheard, name)
			}
		}
	}
}

// idle are the regions that take a snapshot and pass nothing on until it is whole.
func (c *Core) idle() (names []string) {
	if c.copying() {
		names = append(names, c.cfg.Region)
	}
	for _, name := range c.peerNames() {
		if c.peers[name].report.Copying {
			names = append(names, name)
		}
	}
	return names
}

// sendStatus tells all peers what is known, at the end of a step in which that
// is due: what is told of this region is what it holds then.
func (c *Core) sendStatus() error {
	if !c.sync.tell {
		return nil
	}
	wants, err := c.wants()
	if err != nil {
		return err
	}
	c.sync.tell = false
	// Greater than any earlier one, also after a restart: see receiveReport.
	c.sync.reportSeq = max(c.sync.reportSeq+1, uint64(max(c.now.UnixMilli(), 0)))
	reports := []wire.Report{{
		Region: c.cfg.Region, Replica: c.replica, Seq: c.sync.reportSeq, Have: c.have,
		Links: c.sync.links, Now: c.now.UnixMilli(), Digest: c.commonDigest(), Settled: c.synced || c.founder, Founder: c.founder && !c.synced, Copying: c.copying(), Wants: wants,
	}}
	if c.boot.phase != bootNone {
		reports[0].Digest = digest.Digest{}
	}
	names := c.peerNames()
	for _, name := range names {
		if r := c.peers[name].report; r.Seq > 0 {
			reports = append(reports, r)
		}
	}
	for _, name := range names {
		if p := c.peers[name]; p.up {
			c.send(name, wire.Status{Reports: reports})
		}
	}
	return nil
}

const skewReportEvery = time.Minute

// reportSkew says, not too often, that another region's clock is ahead.
func (c *Core) reportSkew(d crdt.Dot, ahead time.Duration) {
	region := c.catalog.Region(d.Replica)
	if last, ok := c.sync.skewed[region]; ok && c.uptime-last < skewReportEvery {
		return
	}
	c.sync.skewed[region] = c.uptime
	c.note(true, "a region's clock is ahead of this one's by more than the bound", "region", region,
		"ahead", ahead+c.cfg.MaxSkew, "bound", c.cfg.MaxSkew)
}

// status answers Inspect.
func (c *Core) status() Status {
	s := Status{
		Region: c.cfg.Region, Replica: c.replica, Have: c.have,
		Held: c.sync.held, Stable: c.sync.stable, Spec: c.sync.spec,
		Inbox: InboxStatus{Changes: c.inbox.changes, Bytes: c.inbox.bytes}, Fenced: c.fenced, Suspect: c.suspect, Shares: c.shares.status,
		Changes: crdt.Vector{}.Lacks(c.have), HeldLag: c.sync.held.Lacks(c.have), StableLag: c.sync.stable.Lacks(c.have),
		HeldBehind: c.behind(c.sync.held), StableBehind: c.behind(c.sync.stable),
		Log: c.logStatus(), Unmet: c.unmet, Snapshot: c.snapshotStatus(),
	}
	if err := c.removedError(); err != nil {
		s.Removed = err.Error()
	}
	s.Rebased = c.rebasing.counts
	s.Rebased.Left = c.rebasing.left
	for _, d := range c.repair.damages() {
		s.Damaged = append(s.Damaged, d.Damage)
	}
	s.Repaired = slices.Clone(c.repair.done)
	s.Peers = make([]PeerStatus, 0, len(c.peers))
	for _, name := range c.peerNames() {
		p := c.peers[name]
		s.Peers = append(s.Peers, PeerStatus{
			Region: name, Replica: p.report.Replica, Linked: p.up, Heard: c.hears(p),
			Have: p.have, Missing: c.have.Lacks(p.have), Lag: p.have.Lacks(c.have), Behind: c.behind(p.have),
			LastHeard: p.news, Away: c.away(p), Offset: p.offset, Links: p.report.Links,
			Compared: p.digests.last,
		})
	}
	return s
}
