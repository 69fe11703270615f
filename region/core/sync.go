package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// Why a core closes a link.
var (
	// ErrNonsense: the peer sent what no correct replica sends.
	ErrNonsense = errors.New("peer sends nonsense")
	// ErrForked: the peer holds another change under a dot that is held here.
	ErrForked = errors.New("histories differ")
)

// A peer is another member, and what is known of it.
type peer struct {
	name    string
	up      bool // there is a link
	greeted bool // its Hello came on this link
	// have is what it is known to hold: what it told, sent, or was told of it.
	have   crdt.Vector
	heard  time.Duration // uptime at the last message on the link
	news   time.Time     // last news of it, over any path
	offset time.Duration
	report wire.Report
	// owed is what it said it has when it was met and this region had to catch
	// up. If its store is rolled back then, it says so anew.
	owed crdt.Vector
	// Of the stable vector: counted is the last report that counts already,
	// waiting the one that will once we hold what it holds.
	counted, waiting crdt.Vector
}

// A request is a span that a peer was asked for.
type request struct {
	peer     string
	id       uint64
	to       uint64
	progress time.Duration // uptime
}

// A gap is something that a peer holds and we do not, since when.
type gap struct {
	target uint64
	since  time.Duration // uptime
}

// A sample says what was held when, to tell how long a peer is behind.
type sample struct {
	at   time.Duration // uptime
	have crdt.Vector
}

// maxSamples of one every Timing.Status bound how far back a lag is told.
const maxSamples = 1200

type syncState struct {
	spec     topology.Spec
	plan     topology.Plan
	observed topology.Observations
	links    []string // the peers that are heard
	replan   bool

	requests map[crdt.ReplicaID]request
	gaps     map[crdt.ReplicaID]gap
	nextID   uint64
	hurry    bool // ask for what is missing without waiting for the grace to pass

	nextStatus time.Duration // uptime
	reportSeq  uint64

	held, stable crdt.Vector
	samples      []sample
	skewed       map[string]time.Duration // uptime when a region's clock was last complained about
}

func newSyncState(spec topology.Spec) syncState {
	return syncState{
		spec: spec, replan: true,
		requests: map[crdt.ReplicaID]request{}, gaps: map[crdt.ReplicaID]gap{},
		skewed: map[string]time.Duration{},
	}
}

func (c *Core) linkUp(name string) {
	p, ok := c.peers[name]
	if !ok {
		c.close(name, fmt.Errorf("%w: %s is not a member", ErrNonsense, name))
		return
	}
	p.up, p.greeted = true, false
	p.heard = c.uptime
	tips, err := c.tips()
	if err != nil {
		c.note(true, "reading the log's tips failed", "error", err)
	}
	c.send(name, wire.Hello{
		MinVersion: wire.MinVersion, MaxVersion: wire.Version,
		Cluster: c.cfg.Cluster, Region: c.cfg.Region, Replica: c.replica,
		Have: c.have, Tips: tips, Now: c.now.UnixMilli(),
	})
}

func (c *Core) linkDown(name string) {
	p, ok := c.peers[name]
	if !ok {
		return
	}
	p.up, p.greeted = false, false
	for r, q := range c.sync.requests {
		if q.peer == name {
			delete(c.sync.requests, r)
		}
	}
	c.sync.hurry = true
}

func (c *Core) close(name string, err error) {
	c.fx.Closes = append(c.fx.Closes, Close{Peer: name, Err: err})
}

// reject ends the link with a peer that sends nonsense.
func (c *Core) reject(name string, err error) {
	c.note(true, "peer sends nonsense", "peer", name, "error", err)
	c.close(name, fmt.Errorf("%w: %w", ErrNonsense, err))
}

// tips lists the ends of the hash-chained logs.
func (c *Core) tips() ([]wire.Tip, error) {
	var out []wire.Tip
	for r, seq := range c.have.All() {
		hash, ok, err := c.chain(crdt.Dot{Replica: r, Seq: seq})
		if err != nil {
			return out, err
		}
		if ok {
			out = append(out, wire.Tip{Replica: r, Seq: seq, Hash: hash})
		}
	}
	return out, nil
}

// chain returns the hash of a log up to a dot.
func (c *Core) chain(d crdt.Dot) ([16]byte, bool, error) {
	if h, ok := c.chains[d.Replica]; ok && c.have.Get(d.Replica) == d.Seq {
		return h, true, nil
	}
	return c.reader.LogChain(d)
}

func (c *Core) receive(name string, m wire.Message) error {
	p, ok := c.peers[name]
	if !ok || !p.up {
		return nil
	}
	p.heard, p.news = c.uptime, c.now
	if hello, ok := m.(wire.Hello); ok {
		return c.receiveHello(p, hello)
	}
	if !p.greeted {
		if _, bulk := m.(wire.CatchUp); !bulk {
			c.reject(name, errors.New("the first message is not a hello"))
		}
		return nil
	}
	switch m := m.(type) {
	case wire.Changes:
		return c.accept(name, m.Changes)
	case wire.Ack:
		c.learn(p, m.Have)
		p.report.Have = p.report.Have.Join(m.Have)
		p.waitFor(p.report.Have, c.have)
	case wire.Status:
		for i := range m.Reports {
			c.receiveReport(name, m.Reports[i])
		}
	case wire.Request:
		c.fx.Streams = append(c.fx.Streams, Stream{Peer: name, ID: m.ID, Spans: m.Spans})
	case wire.CatchUp:
		if err := c.accept(name, m.Changes); err != nil {
			return err
		}
		c.receiveCatchUp(name, m)
	}
	return nil
}

func (c *Core) receiveHello(p *peer, h wire.Hello) error {
	if h.Cluster != c.cfg.Cluster || h.Region != p.name {
		c.reject(p.name, fmt.Errorf("it says it is %s of cluster %s", h.Region, h.Cluster))
		return nil
	}
	if h.MinVersion > wire.Version || h.MaxVersion < wire.MinVersion {
		c.reject(p.name, fmt.Errorf("it speaks versions %d to %d, this region %d to %d", h.MinVersion, h.MaxVersion, wire.MinVersion, wire.Version))
		return nil
	}
	for _, t := range h.Tips {
		if ok, err := c.checkTip(p, t); err != nil || !ok {
			return err
		}
	}
	p.greeted = true
	if !c.synced {
		c.met, p.owed = true, h.Have
	}
	p.offset = time.UnixMilli(h.Now).Sub(c.now)
	if p.report.Replica != h.Replica {
		// Another incarnation: what was known of the last one does not hold.
		p.report = wire.Report{Region: p.name, Replica: h.Replica}
		p.have, p.counted, p.waiting = crdt.Vector{}, crdt.Vector{}, crdt.Vector{}
	}
	p.report.Have = h.Have
	c.learn(p, h.Have)
	p.waitFor(h.Have, c.have)
	c.sync.hurry = true
	c.sync.nextStatus = 0
	c.note(false, "linked", "peer", p.name, "missing", missing(c.have, h.Have), "lag", missing(h.Have, c.have))
	return nil
}

// checkTip compares one log's hash chain with ours. It reports false if the
// link cannot be used.
func (c *Core) checkTip(p *peer, t wire.Tip) (bool, error) {
	have := c.have.Get(t.Replica)
	if t.Replica == c.replica && t.Seq > have {
		c.retire(p, crdt.Dot{Replica: t.Replica, Seq: t.Seq})
		return true, nil
	}
	if t.Seq == 0 || t.Seq > have {
		return true, nil
	}
	hash, ok, err := c.chain(crdt.Dot{Replica: t.Replica, Seq: t.Seq})
	if err != nil {
		return false, storeError(err)
	}
	if !ok || hash == t.Hash {
		return true, nil
	}
	if t.Replica == c.replica {
		c.fenced = fmt.Sprintf("%s holds other changes under the same names as this store (replica %v, change %d): this store was restored from an older copy, or runs twice", p.name, t.Replica, t.Seq)
	}
	c.note(true, "histories differ", "peer", p.name, "replica", t.Replica, "seq", t.Seq)
	c.close(p.name, fmt.Errorf("%w: change %d of replica %v", ErrForked, t.Seq, t.Replica))
	return false, nil
}

// retire gives this store a new replica id, because a peer holds a change of
// the present one that this store lost: it was rolled back. What it lost is
// fetched like any other region's changes (I2).
func (c *Core) retire(p *peer, lost crdt.Dot) {
	c.note(true, "this store was rolled back: a peer holds changes of it that it lost; it goes on as a new replica and fetches them",
		"peer", p.name, "replica", c.replica, "have", c.have.Get(c.replica), "lost", lost.Seq)
	c.replica = c.cfg.NewReplica()
	c.announced, c.synced = false, false
	c.met = true
	p.owed = p.owed.With(lost)
}

// owed is what this region has to hold before it takes writes, once it has met a peer.
func (c *Core) owed() crdt.Vector {
	var v crdt.Vector
	for _, p := range c.peers {
		v = v.Join(p.owed)
	}
	return v
}

// learn notes what a peer holds.
func (c *Core) learn(p *peer, have crdt.Vector) {
	p.have = p.have.Join(have)
}

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
	if !direct && (r.Seq <= p.report.Seq || p.greeted && r.Replica != p.report.Replica) {
		return // older, or of a store that is no more
	}
	if direct {
		p.offset = time.UnixMilli(r.Now).Sub(c.now)
	}
	if r.Replica != p.report.Replica {
		p.counted, p.waiting, p.have, p.owed = crdt.Vector{}, crdt.Vector{}, crdt.Vector{}, p.owed.Meet(r.Have)
	} else {
		r.Have = r.Have.Join(p.report.Have)
	}
	p.report, p.news = r, c.now
	c.learn(p, r.Have)
	p.waitFor(r.Have, c.have)
}

// waitFor makes a reported vector the next to count for stability, unless one
// is waiting already: were it always replaced by the latest, a busy peer's would
// never come to count.
func (p *peer) waitFor(v, have crdt.Vector) {
	if p.waiting.Len() == 0 {
		p.waiting = v
	}
	p.count(have)
}

// count lets the waiting report count once we hold all that it holds: whatever
// of its region is not here yet was then written having seen all of it.
func (p *peer) count(have crdt.Vector) {
	if p.waiting.Len() > 0 && have.Covers(p.waiting) {
		p.counted, p.waiting = p.waiting, crdt.Vector{}
	}
}

func (c *Core) receiveCatchUp(name string, m wire.CatchUp) {
	for r, q := range c.sync.requests {
		if q.peer != name || q.id != m.ID {
			continue
		}
		q.progress = c.uptime
		c.sync.requests[r] = q
		if m.Done {
			delete(c.sync.requests, r)
		}
	}
	if m.Refused != "" {
		c.note(true, "catch-up refused", "peer", name, "reason", m.Refused)
	}
}

// synchronise does what is due besides the events themselves: observe the
// links, plan, report, and ask for what is missing.
func (c *Core) synchronise() {
	c.observe()
	c.stabilise()
	if c.uptime >= c.sync.nextStatus {
		c.sync.nextStatus = c.uptime + c.cfg.Timing.Status
		c.sendStatus()
		if len(c.sync.samples) == maxSamples {
			c.sync.samples = slices.Delete(c.sync.samples, 0, maxSamples/10)
		}
		c.sync.samples = append(c.sync.samples, sample{c.uptime, c.have})
	}
	c.pull()
}

// behind is for how long a peer has lacked something of ours.
func (c *Core) behind(p *peer) time.Duration {
	if p.have.Covers(c.have) {
		return 0
	}
	i, _ := slices.BinarySearchFunc(c.sync.samples, p.have, func(s sample, have crdt.Vector) int {
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
	return p.up && p.greeted && c.uptime-p.heard < c.cfg.Timing.DeadAfter
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
	if !c.sync.replan && maps.EqualFunc(obs, c.sync.observed, slices.Equal[[]string]) {
		return
	}
	if !slices.Equal(links, c.sync.links) {
		c.sync.nextStatus = 0
	}
	c.sync.observed, c.sync.links, c.sync.replan = obs, links, false
	c.sync.plan = topology.Make(c.cfg.Region, c.cfg.Members, c.sync.spec, obs)
	plan := c.sync.plan
	c.fx.Plan = &plan
}

// stabilise computes the held and the stable vector (I12).
func (c *Core) stabilise() {
	held, stable := c.have, c.have
	for _, p := range c.peers {
		p.count(c.have)
		held, stable = held.Meet(p.report.Have), stable.Meet(p.counted)
	}
	c.sync.held, c.sync.stable = held, c.sync.stable.Join(stable)
}

func (c *Core) sendStatus() {
	// Greater than any earlier one, also after a restart: see receiveReport.
	c.sync.reportSeq = max(c.sync.reportSeq+1, uint64(max(c.now.UnixMilli(), 0)))
	reports := []wire.Report{{
		Region: c.cfg.Region, Replica: c.replica, Seq: c.sync.reportSeq, Have: c.have,
		Links: c.sync.links, Now: c.now.UnixMilli(),
	}}
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
}

// pull asks for what linked peers hold and we do not.
func (c *Core) pull() {
	wanted := map[string][]crdt.Span{}
	for _, r := range c.known() {
		span, ok := c.wanted(r)
		if !ok {
			continue
		}
		if name := c.supplier(r, span); name != "" {
			wanted[name] = append(wanted[name], span)
		}
	}
	c.sync.hurry = false
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		c.sync.nextID++
		for _, s := range wanted[name] {
			c.sync.requests[s.Replica] = request{peer: name, id: c.sync.nextID, to: s.To, progress: c.uptime}
		}
		c.send(name, wire.Request{ID: c.sync.nextID, Spans: wanted[name]})
	}
}

// known lists the replicas of which linked peers hold something that we lack.
func (c *Core) known() []crdt.ReplicaID {
	seen := map[crdt.ReplicaID]bool{}
	for _, p := range c.peers {
		if !c.hears(p) {
			continue
		}
		for i := range p.have.Len() {
			if d := p.have.At(i); !c.have.Contains(d) {
				seen[d.Replica] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), crdt.ReplicaID.Compare)
}

// wanted says what of a replica is to be asked for now, if anything.
func (c *Core) wanted(r crdt.ReplicaID) (crdt.Span, bool) {
	have := c.have.Get(r)
	from := c.inbox.contiguous(r, have) + 1
	var to uint64
	for _, p := range c.peers {
		if c.hears(p) {
			to = max(to, p.have.Get(r))
		}
	}
	if _, bad := c.cfg.Refused[crdt.Dot{Replica: r, Seq: from}]; bad || from > to {
		return crdt.Span{}, false
	}
	if q, ok := c.sync.requests[r]; ok {
		if c.uptime-q.progress < c.cfg.Timing.RequestTimeout {
			return crdt.Span{}, false
		}
		c.note(true, "catch-up does not get on, another peer is asked", "peer", q.peer, "replica", r)
	} else if !c.overdue(r, from, to) {
		return crdt.Span{}, false
	}
	return crdt.Span{Replica: r, From: from, To: to}, true
}

// overdue reports whether what is missing should have come by now. Live pushes
// are on their way most of the time: only what stays away is asked for.
func (c *Core) overdue(r crdt.ReplicaID, from, to uint64) bool {
	if c.sync.hurry {
		return true
	}
	g, ok := c.sync.gaps[r]
	if !ok || from > g.target {
		c.sync.gaps[r] = gap{target: to, since: c.uptime}
		return false
	}
	if c.uptime-g.since < c.cfg.Timing.GapGrace {
		return false
	}
	delete(c.sync.gaps, r)
	return true
}

// supplier picks a linked peer that holds the most of a span; one that did not
// deliver is taken last.
func (c *Core) supplier(r crdt.ReplicaID, s crdt.Span) string {
	best, most := "", uint64(0)
	failed := c.sync.requests[r].peer
	for _, name := range c.peerNames() {
		p := c.peers[name]
		n := min(p.have.Get(r), s.To)
		if !c.hears(p) || n < s.From {
			continue
		}
		if best == "" || best == failed || n > most && name != failed {
			best, most = name, n
		}
	}
	return best
}

// missing is the number of changes that other has and have lacks.
func missing(have, other crdt.Vector) uint64 {
	var n uint64
	for _, s := range have.Missing(other) {
		n += s.To - s.From + 1
	}
	return n
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
		Inbox: InboxStatus{Changes: c.inbox.changes, Bytes: c.inbox.bytes}, Fenced: c.fenced,
	}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		s.Peers = append(s.Peers, PeerStatus{
			Region: name, Replica: p.report.Replica, Linked: p.up, Heard: c.hears(p),
			Have: p.have, Missing: missing(c.have, p.have), Lag: missing(p.have, c.have), Behind: c.behind(p),
			LastHeard: p.news, Offset: p.offset, Links: p.report.Links,
		})
	}
	return s
}
