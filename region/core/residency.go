package core

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// A collection can name the regions that hold it. They alone receive and store
// what is in it; to the others its changes are placeholders, which count for
// vectors and causal order like any change. Who holds a change is written in it,
// so that neither sending nor receiving it depends on settings. The regions of a
// collection are fixed when it is made.
//
// Bodies go over links between holders only, and every two of them keep one,
// whatever the topology. A holder that has got nothing but the placeholder of a
// change asks other holders for it, and what depends on the change waits. If all
// holders are linked and each tells that it wants the body, nobody has it any
// more: its writer lost its store before it had sent it. Then they go on without. In
// the same way a holder that needs a snapshot finds out that nobody has more of a
// collection than itself, and keeps it, see kept.

// Errors of residency.
var (
	// ErrNotHeld: the region does not hold the collection; see NotHeldError.
	ErrNotHeld = errors.New("the region does not hold the collection")
	// ErrSeveralHolders: the documents of one write are held by different regions (HTTP 422).
	ErrSeveralHolders = errors.New("several sets of regions")
	// ErrOnlyCopy: the region has to take a snapshot, which would delete the only copy of
	// a collection, and cannot keep that, since another one may have more of it: it stays
	// behind. It is an ErrCatchingUp.
	ErrOnlyCopy = fmt.Errorf("%w: a snapshot of another region is needed, and would delete the only copy of a collection", ErrCatchingUp)
)

// A NotHeldError says who holds a collection. It is an ErrNotHeld.
type NotHeldError struct {
	// Collection is its name, Regions are its patterns, Holders the members that match.
	Collection       string
	Regions, Holders []string
	// Refuse says that requests are not to be forwarded to them.
	Refuse bool
}

func (e *NotHeldError) Error() string {
	return fmt.Sprintf("%v: %s is held by %s", ErrNotHeld, e.Collection, strings.Join(e.Regions, ", "))
}

// Is makes a NotHeldError an ErrNotHeld.
func (e *NotHeldError) Is(target error) bool { return target == ErrNotHeld }

// What the setting "elsewhere" can be.
const (
	elsewhereForward = "forward"
	elsewhereRefuse  = "refuse"
)

// parseRegions reads the settings "regions" and "elsewhere".
func (s *Settings) parseRegions(in *settingsJSON) error {
	for _, p := range in.Regions {
		s.Regions = append(s.Regions, strings.TrimSpace(p))
	}
	slices.Sort(s.Regions)
	s.Regions = slices.Compact(s.Regions)
	if in.Regions != nil {
		if err := crdt.CheckRegions(s.Regions); err != nil {
			return fmt.Errorf("%w: regions: %s", ErrInvalid, strings.TrimPrefix(err.Error(), crdt.ErrCorrupt.Error()+": "))
		}
	}
	switch in.Elsewhere {
	case "", elsewhereForward:
	case elsewhereRefuse:
		s.RefuseElsewhere = true
	default:
		return fmt.Errorf("%w: elsewhere must be %q or %q, not %.20q", ErrInvalid, elsewhereForward, elsewhereRefuse, in.Elsewhere)
	}
	if s.Regions == nil && in.Elsewhere != "" {
		return fmt.Errorf("%w: elsewhere says nothing of a collection that all regions hold; name them by regions", ErrInvalid)
	}
	for _, h := range s.Homes {
		if err := s.checkHomeRegion(h.Region); err != nil {
			return err
		}
	}
	return nil
}

// checkHomeRegion refuses a home that does not hold the collection.
func (s *Settings) checkHomeRegion(region string) error {
	if region != "" && !s.HeldBy(region) {
		return fmt.Errorf("%w: home: %s does not hold the collection, only %s", ErrInvalid, region, strings.Join(s.Regions, ", "))
	}
	return nil
}

// elsewhere is the setting as it is written, empty if all regions hold the collection.
func (s *Settings) elsewhere() string {
	switch {
	case s.Regions == nil:
		return ""
	case s.RefuseElsewhere:
		return elsewhereRefuse
	}
	return elsewhereForward
}

// HeldBy reports whether a region of that name holds the collection.
func (s *Settings) HeldBy(region string) bool {
	return s.Regions == nil || crdt.MatchRegion(s.Regions, region)
}

// Holders are those of the members that hold the collection.
func (s *Settings) Holders(members []string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(name string) bool { return !s.HeldBy(name) })
}

// CheckHeld returns a *NotHeldError if the region does not hold the collection.
func (c *Collection) CheckHeld(region string, members []string) error {
	if c.Settings.HeldBy(region) {
		return nil
	}
	return &NotHeldError{Collection: c.Name, Regions: c.Settings.Regions, Holders: c.Settings.Holders(members), Refuse: c.Settings.RefuseElsewhere}
}

func (c *Core) checkHeld(col *Collection) error { return col.CheckHeld(c.cfg.Region, c.members) }

// knowsHolders refuses a collection that not all regions hold where it is not known
// yet who the members are: what is in it would be here alone, and if it turns out
// that this region needs a snapshot, that would delete it.
func (c *Core) knowsHolders(col *Collection) error {
	if col.Settings.Regions == nil || c.synced {
		return nil
	}
	return fmt.Errorf("%w: this region has met no other yet, so it is not known who holds the collection", ErrCatchingUp)
}

// checkResidency says whether this region may take a write: it holds all of the
// collections, and the same regions as it do.
func (c *Core) checkResidency(w *Write) error {
	var first *Collection
	for i := range w.Docs {
		col, err := c.catalog.Collection(w.Docs[i].Collection)
		if err != nil {
			col = &Collection{} // it is new, or the write fails
		}
		if first == nil {
			first = col
		}
		if !slices.Equal(first.Settings.Regions, col.Settings.Regions) {
			return fmt.Errorf("%w: the collections of one write have to be held by the same regions", ErrSeveralHolders)
		}
	}
	if first == nil {
		return nil
	}
	return c.checkHeld(first)
}

// reside marks a change of this region with who holds it.
func (c *Core) reside(ch *crdt.Change) {
	if ch.Residency != nil || len(ch.Mutations) == 0 {
		return
	}
	if col := c.catalog.byDot[ch.Mutations[0].Collection]; col != nil && col.Settings.Regions != nil {
		ch.Residency = &crdt.Residency{Regions: col.Settings.Regions, Blind: c.cfg.NewReplica()}
	}
}

// A lack is a change that this region should hold and has the placeholder of.
type lack struct {
	seq     uint64
	deps    crdt.Vector
	regions []string
	encoded []byte
	from    string
	store   crdt.ReplicaID // that the peer was when it sent this
	since   time.Duration  // uptime since when nobody has it, as far as is known
	gone    bool           // that is for long enough
}

// lossAfter is for how long all holders have to say that they want a body before
// it is taken as lost.
const lossAfter = 10 * time.Second

// acceptResident looks at a change that not all regions hold. It reports false if it
// is not to be taken in.
func (c *Core) acceptResident(peer string, ch *crdt.Change, encoded []byte) bool {
	r := ch.Residency
	if !r.HeldBy(c.cfg.Region) || !r.Withheld || r.Lost || c.losses[lossOf(ch)] {
		return true
	}
	if p := c.peers[peer]; r.HeldBy(peer) {
		p.cut = p.cut.With(ch.Dot) // it has that from a snapshot, as the end of a log
	}
	known, ok := c.sync.lacks[ch.Dot.Replica]
	if ok && known.seq <= ch.Dot.Seq && known.seq > c.have.Get(ch.Dot.Replica) {
		return false
	}
	if _, here := c.inbox.get(ch.Dot); !here {
		c.sync.lacks[ch.Dot.Replica] = &lack{seq: ch.Dot.Seq, deps: ch.Deps, regions: r.Regions, encoded: encoded, from: peer, store: c.peers[peer].linked}
		c.fetch(crdt.VectorOf(ch.Dot))
	}
	return false
}

// lacking is what is lacked of a replica, if it is the change with that number.
func (c *Core) lacking(r crdt.ReplicaID, seq uint64) *lack {
	if l := c.sync.lacks[r]; l != nil && l.seq == seq {
		return l
	}
	return nil
}

// forgetFrom drops what a peer itself sent, whole or not, when it was another store
// than that of a replica. It comes again if any store has it in its log.
func (c *Core) forgetFrom(peer string, but crdt.ReplicaID) {
	c.inbox.dropFrom(peer, but)
	maps.DeleteFunc(c.sync.lacks, func(_ crdt.ReplicaID, l *lack) bool { return l.from == peer && l.store != but })
}

// otherHolders are the other regions that should have a body: all that are known to
// be members, also before this region is to be linked with them.
func (c *Core) otherHolders(regions []string) []string {
	names := slices.Concat(c.cfg.Members, c.members, slices.Collect(maps.Keys(c.catalog.members)))
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	return slices.DeleteFunc(names, func(name string) bool { return name == c.cfg.Region || !crdt.MatchRegion(regions, name) })
}

// newcomer reports whether this region may not know yet who the members are: it has
// not caught up, and is not listed here. An earlier replica of it that had caught up knew them:
// one that wrote more than its announcement, and that after something of another region, since one that
// founds a cluster writes by itself.
func (c *Core) newcomer() bool {
	if _, listed := c.catalog.members[c.cfg.Region]; c.synced || listed || c.boot.phase == bootReplaying {
		return false
	}
	for r, region := range c.catalog.regions {
		if region == c.cfg.Region && r != c.replica && c.have.Get(r) > 1 && c.followsOthers(r) {
			return false
		}
	}
	return true
}

// followsOthers reports whether the last change of a replica that is stored here depends on one
// of another region.
func (c *Core) followsOthers(r crdt.ReplicaID) bool {
	seq := c.have.Get(r)
	for l, err := range c.reader.Log(r, seq, seq) {
		ch, _, derr := crdt.DecodeChange(l.Change)
		if err != nil || derr != nil {
			break
		}
		for of := range ch.Deps.All() {
			if c.catalog.Region(of) != c.cfg.Region {
				return true
			}
		}
	}
	return false
}

// strangers lists the changes whose bodies a newcomer lacks, and none of those has that
// it knows.
func (c *Core) strangers() []crdt.Dot {
	if len(c.sync.lacks) == 0 || !c.newcomer() {
		return nil
	}
	var out []crdt.Dot
	for _, r := range slices.SortedFunc(maps.Keys(c.sync.lacks), crdt.ReplicaID.Compare) {
		if l := c.sync.lacks[r]; l.gone {
			out = append(out, crdt.Dot{Replica: r, Seq: l.seq})
		}
	}
	return out
}

// heldWith are the members that hold something with this region that not all hold.
func (c *Core) heldWith() (names []string) {
	for _, dot := range c.catalog.resident {
		if s := &c.catalog.byDot[dot].Settings; s.HeldBy(c.cfg.Region) {
			names = append(names, c.otherHolders(s.Regions)...)
		}
	}
	return names
}

// next is the collection, held by this region and not by all, that comes next in a snapshot or is
// under way; nil if there is none.
func (c *Core) next() *Collection {
	col := c.catalog.byDot[c.boot.last.Collection]
	if col == nil || col.Settings.Regions == nil || c.boot.phase != bootCopying || !col.Settings.HeldBy(c.cfg.Region) {
		return nil
	}
	return col
}

// awaited is the next collection, unless it is kept.
func (c *Core) awaited() *Collection {
	if col := c.next(); col != nil && !c.boot.keeps(col.Incarnation) {
		return col
	}
	return nil
}

// passOver goes on behind a collection that no other region has: what was in it
// went with the former stores. It reports true also while a holder has to be waited for.
func (c *Core) passOver() bool {
	b, col := &c.boot, c.awaited()
	if col == nil {
		return false
	}
	holders := c.otherHolders(col.Settings.Regions)
	gone := c.nowhere(col.Incarnation, holders, &b.nowhere)
	switch {
	case !gone && c.linkedWith(holders):
		return false // nobody that can go on is away
	case !gone:
	case b.last.ID != "":
		c.note(true, "no other region has the rest of a collection that is being copied: the snapshot starts over", "collection", col.Name)
		c.startOver(b.stay)
	default:
		c.note(true, "no other region has the collection: what was in it is lost", "collection", col.Name, "regions", col.Settings.Regions)
		b.last = store.DocKey{Collection: crdt.Dot{Replica: col.Incarnation.Replica, Seq: col.Incarnation.Seq + 1}}
		b.dirty, b.nowhere = true, 0
	}
	b.lost = c.uptime
	return true
}

// linkedWith reports whether there is a link with each of these peers. That one is
// silent now and then does not matter: what was sent over it still comes.
func (c *Core) linkedWith(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		p := c.peers[name]
		return p == nil || !p.up || !p.greeted
	})
}

// nowhere reports whether all these peers, on the links that they have now, tell for
// long enough that they want something themselves: so do their latest reports, which
// came that long after all had begun to. since keeps when that was.
func (c *Core) nowhere(dot crdt.Dot, holders []string, since *time.Duration) bool {
	return c.allSay(holders, since, func(p *peer) bool { return p.wants(dot) })
}

// allSay reports whether all these peers say something in that way.
func (c *Core) allSay(holders []string, since *time.Duration, says func(*peer) bool) bool {
	var met time.Duration
	if !c.linkedWith(holders) {
		*since = 0
		return false
	}
	for _, name := range holders {
		met = max(met, c.peers[name].met)
	}
	for _, name := range holders {
		if p := c.peers[name]; p.reported <= met || !says(p) {
			*since = 0
			return false
		}
	}
	if *since <= met {
		*since = max(c.uptime, 1)
	}
	return !slices.ContainsFunc(holders, func(name string) bool { return c.peers[name].reported-*since < lossAfter })
}

// A loss says that changes of a replica to collections with these regions are lost
// from some one on. What its store wrote to them later may build on that, so it is
// lost with it, also where it has arrived.
type loss struct {
	replica crdt.ReplicaID
	regions string
}

func lossOf(ch *crdt.Change) loss {
	return loss{ch.Dot.Replica, strings.Join(ch.Residency.Regions, ",")}
}

// metaLosses is the store's record of losses: a replica, patterns and a new line each.
const metaLosses = "losses"

func (c *Core) loadLosses() error {
	b, err := c.reader.Meta(metaLosses)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		id, regions, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		r, err := crdt.ParseReplicaID(id)
		if err != nil {
			return fmt.Errorf("%w: losses: %w", crdt.ErrCorrupt, err)
		}
		c.losses[loss{r, regions}] = true
	}
	return nil
}

// withLoss returns a change that is about to be applied, or its placeholder if it is lost.
func (c *Core) withLoss(p pending) (pending, error) {
	r := p.change.Residency
	if r == nil || !r.HeldBy(c.cfg.Region) {
		return p, nil
	}
	key := lossOf(p.change)
	if r.Lost == c.losses[key] || r.Withheld && !r.Lost && c.copyHas(p.change.Dot, r.Regions) == inAll {
		return p, nil
	}
	if !r.Lost {
		var err error
		if p.encoded, err = crdt.Withhold(p.encoded, true); err == nil {
			p.change, _, err = crdt.DecodeChange(p.encoded)
		}
		if err != nil {
			err = storeError(err) // it was decoded before
		}
		return p, err
	}
	c.losses[key] = true
	var b []byte
	for _, l := range slices.SortedFunc(maps.Keys(c.losses), func(a, b loss) int {
		return cmp.Or(a.replica.Compare(b.replica), strings.Compare(a.regions, b.regions))
	}) {
		b = fmt.Appendf(b, "%v %s\n", l.replica, l.regions)
	}
	c.putMeta(metaLosses, b)
	return p, nil
}

func (c *Core) takeAsLost(l *lack) error {
	encoded, err := crdt.Withhold(l.encoded, true)
	if err != nil {
		return storeError(err) // it was decoded before
	}
	ch, _, err := crdt.DecodeChange(encoded)
	if err != nil {
		return storeError(err)
	}
	c.note(true, "what a change did is lost: no region that should hold it has it, since the store that it was written to is no more",
		"change", ch.Dot, "region", c.catalog.Region(ch.Dot.Replica), "held by", l.regions)
	c.inbox.add(pending{ch, encoded, l.from, l.store}, true)
	return nil
}

// takePlaceholder takes a change in whose body nobody has in a log, and the documents here contain.
// Who asks for it takes them in a snapshot.
func (c *Core) takePlaceholder(l *lack) error {
	ch, _, err := crdt.DecodeChange(l.encoded)
	if err != nil {
		return storeError(err) // it was decoded before
	}
	c.note(true, "no region that should hold a change has it in its log any more: the documents that were copied have it",
		"change", ch.Dot, "held by", l.regions)
	c.inbox.add(pending{ch, l.encoded, l.from, l.store}, true)
	return nil
}

// ties are the pairs of holders of a collection: they keep a link, since nobody
// else can pass bodies on.
func (c *Core) ties() []topology.Tie {
	var out []topology.Tie
	for _, dot := range c.catalog.resident {
		s := &c.catalog.byDot[dot].Settings
		holders := s.Holders(c.members)
		slices.Sort(holders)
		for i, a := range holders {
			for _, b := range holders[i+1:] {
				if t := (topology.Tie{a, b}); !slices.Contains(out, t) {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// shared reports whether a region is to know of a collection's documents. One that
// is not known here yet may be anybody's.
func (c *Core) shared(collection crdt.Dot, region string) bool {
	col := c.catalog.byDot[collection]
	return collection.IsZero() || col != nil && col.Settings.HeldBy(region)
}

// spreadAmongHolders sends what is about a document to all that may know of it: along
// the way of the origin's changes if all regions do, else from the origin to each.
func (c *Core) spreadAmongHolders(m wire.Message, collection crdt.Dot, origin, from string) {
	col := c.catalog.byDot[collection]
	switch {
	case col == nil:
	case col.Settings.Regions == nil:
		c.spread(m, origin, from)
	case origin == c.cfg.Region:
		for _, name := range c.otherHolders(col.Settings.Regions) {
			if p := c.peers[name]; p != nil && p.speaks(wire.MinVersion) {
				c.send(name, m)
			}
		}
	}
}

// commonDigest is that of all documents that every region holds.
func (c *Core) commonDigest() digest.Digest {
	d := c.digests.Total()
	for _, dot := range c.catalog.resident {
		d = d.Minus(c.digests.Of(dot))
	}
	return d
}

// sharesResident reports whether a peer holds something with this region that others do not.
func (c *Core) sharesResident(peer string) bool {
	return slices.ContainsFunc(c.catalog.resident, func(dot crdt.Dot) bool {
		s := &c.catalog.byDot[dot].Settings
		return s.HeldBy(peer) && s.HeldBy(c.cfg.Region)
	})
}
