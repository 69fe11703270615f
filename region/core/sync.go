package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// Why a core closes a link.
var (
	// ErrNonsense: the peer sent what no correct replica sends.
	ErrNonsense = errors.New("peer sends nonsense")
	// ErrForked: the peer holds another change under a dot that is held here.
	ErrForked = errors.New("histories differ")
	// ErrReplaced: there is news of another store of the peer's region than the one
	// that the link is with, which may be no more.
	ErrReplaced = errors.New("the peer's store was replaced")
)

// A peer is another member, and what is known of it.
type peer struct {
	name    string
	up      bool // there is a link
	greeted bool // its Hello came on this link
	// linked is the replica that greeted last. admitted says that it may have
	// links, see admit, as the member of an incarnation.
	linked      crdt.ReplicaID
	admitted    bool
	incarnation uint64
	// copying says that it has no place in the cluster yet and takes a snapshot.
	copying bool
	// have is what it is known to hold: what it told, sent, or was told of it.
	have crdt.Vector
	// told is what it told itself, on its link: what it is asked for. Others may
	// know more of it than can be had of it, if the link is cut.
	told crdt.Vector
	cut  crdt.Vector // what its log is known not to have any more
	// awaited says that its log was waited for since it last greeted.
	awaited bool
	heard   time.Duration // uptime at the last message on the link
	news    time.Time     // last news of it, over any path
	newsAt  time.Duration // uptime then
	warned  time.Duration // uptime when it was last said that it is away, 0 if it was not
	// met is the uptime at which it greeted on this link, reported that of the last
	// report that it made itself.
	met, reported time.Duration
	offset        time.Duration
	// version is the greatest of the vocabulary that it speaks on this link.
	version uint64
	// lease is the uptime up to which it is told promptly what others hold,
	// tellAll that this has just begun.
	lease   time.Duration
	tellAll bool
	// copies is the last snapshot that it has asked for on this link.
	copies uint64
	// grown says that more is known to be held by it since this step began, and
	// grownFrom who told.
	grown     bool
	grownFrom string
	report    wire.Report
	digests   peerDigests
	// owed is what it said it has when it was met and this region had to catch
	// up. If its store is rolled back then, it says so anew.
	owed crdt.Vector
	// lost is a change of ours that it has and we do not, until it is clear
	// whether our logs agree below that; proof is the request that is to tell.
	lost    crdt.Dot
	proof   uint64
	proofAt time.Duration // uptime
	// Of the stable vector: counted is the last report that counts already,
	// waiting the one that will once we hold needs. vouches says that counted is of
	// a store that is settled, promises that waiting is.
	counted, waiting, needs crdt.Vector
	vouches, promises       bool
}

type syncState struct {
	spec     topology.Spec
	plan     topology.Plan
	observed topology.Observations
	idle     []string // that pass nothing on
	// reachable are the regions to which a path is known, this one included.
	reachable []string
	links     []string // the peers that are heard
	replan    bool
	// callers have a link and are not known here, see Open.
	callers map[string]bool

	requests map[crdt.ReplicaID]request
	gaps     map[crdt.ReplicaID]gap
	failed   map[crdt.ReplicaID]string // the peer that did not have all that it was asked for
	lacks    map[crdt.ReplicaID]*lack
	nextID   uint64
	hurry    bool        // ask for what is missing without waiting for the grace to pass
	fetch    crdt.Vector // what is to be asked for so, as somebody waits for it

	nextStatus time.Duration // uptime
	tell       bool          // the status is to be sent at the end of this step
	reportSeq  uint64

	held, stable crdt.Vector
	samples      []sample
	skewed       map[string]time.Duration // uptime when a region's clock was last complained about
}

func newSyncState(spec topology.Spec) syncState {
	return syncState{
		spec: spec, replan: true,
		requests: map[crdt.ReplicaID]request{}, gaps: map[crdt.ReplicaID]gap{}, failed: map[crdt.ReplicaID]string{},
		lacks:  map[crdt.ReplicaID]*lack{},
		skewed: map[string]time.Duration{}, callers: map[string]bool{},
	}
}

func (c *Core) linkUp(name string) {
	if c.turnsAway(name) {
		c.turnAway(name, refusal{why: c.cfg.Region + " says that " + name + " was removed from the cluster"})
		return
	}
	if c.keepsOut(name, crdt.ReplicaID{}) {
		c.keepOut(name)
		return
	}
	p, ok := c.peers[name]
	if !ok && c.Open() {
		c.sync.callers[name] = true // its hello says more
		return
	}
	if _, gone := c.catalog.removed(name); !ok && gone {
		c.close(name, fmt.Errorf("%w: %s", ErrRemoved, name))
		return
	}
	if !ok {
		// The peer may be right: a core that was made anew has to hear of members again
		// while it is not one that takes writes.
		c.close(name, fmt.Errorf("%w here: %s", ErrNotMember, name))
		return
	}
	if !p.admitted {
		c.close(name, fmt.Errorf("%w yet: %s", ErrNotMember, name))
		return
	}
	p.up, p.greeted, p.lost = true, false, crdt.Dot{}
	tips, err := c.tips()
	if err != nil {
		c.note(true, "reading the log's tips failed", "error", err)
	}
	c.send(name, wire.Hello{
		MinVersion: wire.MinVersion, MaxVersion: wire.Version,
		Cluster: c.cfg.Cluster, Region: c.cfg.Region, Replica: c.replica,
		Have: c.have, Tips: tips, Now: c.now.UnixMilli(), Lists: c.lists(name), Copying: c.copying(),
	})
}

func (c *Core) linkDown(name string) {
	delete(c.sync.callers, name)
	p, ok := c.peers[name]
	if !ok {
		return
	}
	p.up, p.greeted, p.lease, p.lost = false, false, 0, crdt.Dot{}
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
	if hello, is := m.(wire.Hello); is && c.sync.callers[name] {
		return c.answerCall(name, hello)
	}
	if !ok || !p.up {
		return nil
	}
	p.heard, p.news, p.newsAt = c.uptime, c.now, c.uptime
	if hello, ok := m.(wire.Hello); ok {
		return c.receiveHello(p, hello)
	}
	if !p.greeted {
		switch m := m.(type) {
		case wire.Removed:
			return c.receiveRemoved(p, m)
		case wire.CatchUp, wire.Behind, wire.SnapshotPart: // a bulk stream may overtake
		default:
			c.reject(name, errors.New("the first message is not a hello"))
		}
		return nil
	}
	switch m := m.(type) {
	case wire.Changes:
		return c.accept(name, m.Changes)
	case wire.Ack:
		p.told = p.told.Join(m.Have)
		if p.linked == p.report.Replica { // else others told that its store was replaced
			c.acked(p, m.Have, name)
		}
	case wire.Status:
		for i := range m.Reports {
			c.receiveReport(name, m.Reports[i])
		}
	case wire.Request:
		c.fx.Streams = append(c.fx.Streams, Stream{Peer: name, ID: m.ID, Spans: m.Spans})
	case wire.CatchUp:
		if m.ID == p.proof && !p.lost.IsZero() {
			return c.receiveProof(p, m)
		}
		if err := c.accept(name, m.Changes); err != nil {
			return err
		}
		c.receiveCatchUp(name, m)
	case wire.Removed:
		return c.receiveRemoved(p, m)
	case wire.Behind:
		c.receiveBehind(p, m)
	case wire.SnapshotRequest:
		if m.ID > p.copies { // and not one that came twice
			p.copies = m.ID
			c.fx.Streams = append(c.fx.Streams, Stream{Peer: name, ID: m.ID, Snapshot: &m})
		}
	case wire.SnapshotPart:
		return c.receivePart(p, m)
	case wire.Await:
		c.receiveAwait(p, m)
	case wire.Acks:
		for i := range m.Acks {
			c.receiveAck(name, &m.Acks[i])
		}
	case wire.VectorQuery:
		c.receiveQuery(p, m)
	case wire.ShareRequest:
		return c.receiveShareRequest(p, m)
	case wire.VectorReply:
		c.receiveReply(p, m)
	case wire.DocQuery:
		c.receiveDocQuery(p, m)
	case wire.DocReply:
		c.receiveDocReply(p, m)
	case wire.DigestQuery:
		c.receiveDigestQuery(p, m)
	case wire.DigestReply:
		c.compare.replies = append(c.compare.replies, fromPeer[wire.DigestReply]{name, m})
	case wire.Presence:
		c.receivePresence(p, m)
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
	if no := c.stale(h.Replica, h.Have, p.name); no.why != "" {
		c.turnAway(p.name, no)
		return nil
	}
	if c.keepsOut(p.name, h.Replica) {
		c.keepOut(p.name)
		return nil
	}
	for _, t := range h.Tips {
		if ok, err := c.checkTip(p, t); err != nil || !ok {
			return err
		}
	}
	p.greeted, p.version, p.cut, p.copies, p.met = true, h.MaxVersion, crdt.Vector{}, 0, c.uptime
	c.contact, c.stranger = true, ""
	p.grown, p.grownFrom = true, p.name
	p.copying, p.awaited = h.Copying, false
	if h.Copying {
		c.late = true
	} else {
		c.meet(p, h.Have)
	}
	p.offset = time.UnixMilli(h.Now).Sub(c.now)
	if p.report.Replica != h.Replica {
		// Another incarnation: what was known of the last one does not hold.
		p.report, p.digests = wire.Report{Region: p.name, Replica: h.Replica}, peerDigests{}
		p.have, p.owed = crdt.Vector{}, p.owed.Meet(h.Have)
		p.uncount()
	}
	c.forgetFrom(p.name, h.Replica)
	p.linked = h.Replica
	p.report.Have, p.have, p.told = h.Have, h.Have, h.Have
	p.report.Digest = digest.Digest{} // it is of another vector
	c.waitFor(p, h.Have)
	c.callbacks.meet(h.Have, c.uptime)
	c.sync.hurry = true
	c.sync.nextStatus = 0
	c.note(false, "linked", "peer", p.name, "missing", c.have.Lacks(h.Have), "lag", h.Have.Lacks(c.have))
	return nil
}

// owed is what this region has to hold before it takes writes, once it has met a peer.
func (c *Core) owed() crdt.Vector {
	var v crdt.Vector
	due := c.catalog.due()
	for name, p := range c.peers {
		if m, ok := c.catalog.Member(name); ok && slices.Contains(due, m.incarnation()) || c.gone(name) {
			continue // what others do not have of it either is lost
		}
		v = v.Join(p.owed)
	}
	return v
}

// learn notes what a peer holds.
func (c *Core) learn(p *peer, have crdt.Vector) {
	p.have = p.have.Join(have)
}
