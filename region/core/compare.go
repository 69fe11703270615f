package core

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/transport/wire"
)

// Regions tell each other the digest of all that they have with their reports,
// and so notice within a second or so of being equal that they are, or that they
// are not though they should. Where a difference is found, and when somebody
// asks, a linked peer is asked for the digests of its collections, then of the
// groups and buckets in which they differ, so that a difference is located by
// exchanging a few kilobytes.
//
// Digests can be compared when both regions hold the same, or the same versions
// of what is summed up: see package digest. Otherwise something is under way
// between them, and nothing can be said yet.

const (
	// maxPastDigests is how many earlier digests are kept, for reports of regions
	// that are a little behind.
	maxPastDigests = 256
	// compareTimeout is how long a peer may take for an answer.
	compareTimeout = 3 * time.Second
	// compareAgain is how long after a difference was found it is looked for again.
	compareAgain = 10 * time.Second
	// compareHeld is how often a peer is asked for what only some regions hold, while
	// there is something new.
	compareHeld = 2 * time.Second
	// maxDescents bounds the parts that a comparison looks into.
	maxDescents = 64
	// MaxDifferences is how many differences one comparison lists.
	MaxDifferences = 64
	// maxCompares bounds the requests that wait for a comparison.
	maxCompares = 256
)

// A Verdict is what a comparison came to.
type Verdict int

// The verdicts.
const (
	// Unknown: the two regions could not be compared yet.
	Unknown Verdict = iota
	// Same: they have the same documents.
	Same
	// Different: they should have the same documents and do not.
	Different
)

func judge(ours, theirs digest.Digest, sameHave bool) Verdict {
	switch {
	case ours == theirs && (sameHave || !ours.IsZero()):
		return Same
	case sameHave || ours.SameVersions(theirs):
		return Different
	default:
		return Unknown
	}
}

// Compare asks for a comparison with all linked peers. It is answered with
// Compared when they have answered, or after For with what there is.
type Compare struct{ For time.Duration }

// Compared answers Compare.
type Compared struct {
	// Have, Digest and Collections are this region's.
	Have        crdt.Vector
	Digest      digest.Digest
	Collections []digests.Collection
	Peers       []Comparison
}

// A Comparison is how a peer's documents compare with those here.
type Comparison struct {
	Region string
	// Verdict is the latest that could be reached, at the vector Have of the peer.
	// The zero time says that there was none since the start.
	Verdict Verdict
	At      time.Time
	Have    crdt.Vector
	// Asked says that the peer answered when it was asked for what follows; At is
	// then the time of its answer.
	Asked bool
	// Theirs are the peer's digests, where they differ from ours.
	Theirs []CollectionVerdict
	// Differences are where documents differ that should not, at most MaxDifferences.
	Differences []Difference
}

// A CollectionVerdict is how one collection compares.
type CollectionVerdict struct {
	Collection   crdt.Dot
	Ours, Theirs digest.Digest
	Verdict      Verdict
}

// A Difference is a bucket of a collection in which documents differ.
type Difference struct {
	Collection   crdt.Dot
	Bucket       int
	Ours, Theirs digest.Digest
}

// pastDigest is the digest that this region had at Have.
type pastDigest struct {
	have crdt.Vector
	sum  digest.Digest
}

// A comparer compares with all peers.
type comparer struct {
	past   []pastDigest
	nextID uint64
	asks   []compareAsk
	// queries and replies of peers are looked at at the end of the step, when the
	// digests are those of Have.
	queries []fromPeer[wire.DigestQuery]
	replies []fromPeer[wire.DigestReply]
}

type fromPeer[M any] struct {
	peer    string
	message M
}

type compareAsk struct {
	submit   uint64
	deadline time.Duration // uptime
	// rounds are those that are still to end, by peer.
	rounds map[string]uint64
}

// peerDigests is what is known of how a peer's documents compare.
type peerDigests struct {
	told  pastDigest // by its last report that had a digest
	stage reportStage
	last  Comparison
	again time.Duration // uptime at which a difference is looked for again
	// heldNext is the uptime at which what only some regions hold is compared again.
	heldNext time.Duration
	round    *compareRound // nil if none is under way
}

// A reportStage says how far the comparison with a report is.
type reportStage int

const (
	compared     reportStage = iota // it is done, or there is none
	compareAll                      // with what is here and was
	compareLater                    // with what will be here
)

// A compareRound is a comparison that is under way: one query at a time.
type compareRound struct {
	id     uint64
	query  wire.DigestQuery
	sent   time.Duration // uptime
	todo   []wire.DigestQuery
	theirs []wire.KeyDigest // of earlier pages of the query
	result Comparison
}

// startCompare begins a comparison for who asks.
func (c *Core) startCompare(submit uint64, ask Compare) error {
	if len(c.compare.asks) >= maxCompares {
		return ErrCrowded
	}
	a := compareAsk{submit: submit, deadline: c.uptime + ask.For, rounds: map[string]uint64{}}
	for _, name := range c.peerNames() {
		if p := c.peers[name]; c.hears(p) && p.speaks(versionDigests) {
			// What is under way began with older digests.
			p.digests.round = nil
			a.rounds[name] = c.beginRound(p)
		}
	}
	c.compare.asks = append(c.compare.asks, a)
	return nil
}

// maxQueries bounds the queries of peers that a step answers.
const maxQueries = 64

func (c *Core) receiveDigestQuery(p *peer, m wire.DigestQuery) {
	if len(c.compare.queries) < maxQueries {
		c.compare.queries = append(c.compare.queries, fromPeer[wire.DigestQuery]{p.name, m})
	}
}

// versionDigests is the first version of the vocabulary with digests.
const versionDigests = 3

func (c *Core) beginRound(p *peer) uint64 {
	c.compare.nextID++
	id := c.compare.nextID
	p.digests.round = &compareRound{id: id, result: Comparison{Region: p.name, Verdict: Same, Asked: true}}
	c.ask(p, wire.DigestQuery{Level: wire.DigestsOfCollections})
	return id
}

func (c *Core) ask(p *peer, q wire.DigestQuery) {
	c.compare.nextID++
	q.ID = c.compare.nextID
	p.digests.round.query, p.digests.round.sent = q, c.uptime
	c.send(p.name, q)
}

// compareDigests does at the end of a step what there is to compare.
func (c *Core) compareDigests() error {
	x := &c.compare
	switch n := len(x.past); {
	case c.boot.phase != bootNone:
		x.past, x.queries, x.replies = nil, nil, nil // the documents are of no single moment
	case n > 0 && x.past[n-1].have.Equal(c.have):
		x.past[n-1].sum = c.commonDigest() // digests may have been corrected
	case n == maxPastDigests:
		x.past = slices.Delete(x.past, 0, maxPastDigests/4)
		fallthrough
	default:
		x.past = append(x.past, pastDigest{c.have, c.commonDigest()})
	}
	for _, q := range x.queries {
		if err := c.answerDigests(q.peer, q.message); err != nil {
			return err
		}
	}
	for _, r := range x.replies {
		if err := c.receiveDigests(r.peer, r.message); err != nil {
			return err
		}
	}
	x.queries, x.replies = nil, nil
	for _, name := range c.peerNames() {
		c.compareReport(c.peers[name])
	}
	x.asks = slices.DeleteFunc(x.asks, func(a compareAsk) bool {
		maps.DeleteFunc(a.rounds, func(name string, id uint64) bool {
			p := c.peers[name]
			return p == nil || p.digests.round == nil || p.digests.round.id != id
		})
		if len(a.rounds) > 0 && c.uptime < a.deadline {
			return false
		}
		c.reply(a.submit, c.compared(), nil)
		return true
	})
	return nil
}

func (c *Core) compared() Compared {
	out := Compared{Have: c.have, Digest: c.commonDigest(), Collections: c.digests.Collections()}
	for _, name := range c.peerNames() {
		out.Peers = append(out.Peers, c.peers[name].digests.last)
	}
	return out
}

// compareReport compares what a peer has reported with what is and was here.
func (c *Core) compareReport(p *peer) {
	d := &p.digests
	d.last.Region = p.name
	if x := d.round; x != nil && (c.uptime-x.sent >= compareTimeout || !p.up) {
		d.round = nil
	}
	if d.stage == compared || d.round != nil {
		return
	}
	r, verdict := d.told, Unknown
	for i := len(c.compare.past) - 1; i >= 0 && verdict == Unknown; i-- {
		past := &c.compare.past[i]
		verdict = judge(past.sum, r.sum, past.have.Equal(r.have))
		if d.stage == compareLater {
			break
		}
	}
	if d.stage = compareLater; verdict != Unknown {
		d.stage = compared
	}
	switch verdict {
	case Same:
		if c.sharesResident(p.name) && c.hears(p) {
			// Reports do not tell of what only some regions hold.
			if done := d.last.Verdict == Same && d.last.Have.Equal(r.have); !done && c.uptime >= d.heldNext {
				d.heldNext = c.uptime + compareHeld
				c.beginRound(p)
			}
			return
		}
		if d.last.Verdict != Same || !d.last.Have.Equal(r.have) {
			c.decide(p, Comparison{Region: p.name, Verdict: Same, At: c.now, Have: r.have})
		}
	case Different:
		if c.hears(p) && p.speaks(versionDigests) {
			if c.uptime >= d.again {
				c.beginRound(p)
			}
		} else if d.last.Verdict != Different {
			c.decide(p, Comparison{Region: p.name, Verdict: Different, At: c.now, Have: r.have})
		}
	case Unknown:
	}
}

// decide notes what a comparison came to.
func (c *Core) decide(p *peer, result Comparison) {
	d := &p.digests
	before := d.last.Verdict
	if result.Verdict == Unknown {
		// What was known before stays, beside what the peer has told now.
		result.Verdict, result.At, result.Have = before, d.last.At, d.last.Have
	}
	d.last = result
	switch {
	case result.Verdict == Different:
		d.again = c.uptime + compareAgain
		if before != Different {
			c.note(true, "a region has other documents under the same versions", "peer", p.name, "have", result.Have, "differences", len(result.Differences))
		}
	case before == Different && result.Verdict == Same:
		c.note(false, "a region has the same documents again", "peer", p.name, "have", result.Have)
	}
}

// answerDigests tells a peer the digests that it asks for.
func (c *Core) answerDigests(peer string, q wire.DigestQuery) error {
	all, err := c.digestsFor(q, peer)
	if err != nil {
		return err
	}
	m := wire.DigestReply{ID: q.ID, Have: c.have, Digests: all}
	if i, _ := slices.BinarySearchFunc(all, q.After, func(k wire.KeyDigest, after []byte) int {
		return bytes.Compare(k.Key, after)
	}); len(q.After) > 0 {
		for ; i < len(all) && bytes.Compare(all[i].Key, q.After) <= 0; i++ {
		}
		m.Digests = all[i:]
	}
	if len(m.Digests) > wire.MaxDigests {
		m.Digests, m.More = m.Digests[:wire.MaxDigests], true
	}
	c.send(peer, m)
	return nil
}

// digestsFor are the digests of this region that a query asks for, those that
// are zero left out, in the order of their keys: of what the peer holds, too.
func (c *Core) digestsFor(q wire.DigestQuery, peer string) ([]wire.KeyDigest, error) {
	var out []wire.KeyDigest
	if q.Level == wire.DigestsOfCollections {
		for _, x := range c.digests.Collections() {
			if c.shared(x.Incarnation, peer) {
				out = append(out, wire.KeyDigest{Key: dotKey(x.Incarnation), Digest: x.Digest})
			}
		}
		return out, nil
	}
	if !c.shared(q.Collection, peer) {
		return nil, nil
	}
	buckets, err := c.digests.Buckets(q.Collection)
	if err != nil {
		return nil, storeError(err)
	}
	switch {
	case q.Level == wire.DigestsOfGroups:
		groups := map[int]digest.Digest{}
		for i, d := range buckets {
			groups[i/digest.GroupBuckets] = groups[i/digest.GroupBuckets].Plus(d)
		}
		return numbered(groups), nil
	case q.Level == wire.DigestsOfBuckets && q.Part < digest.Groups:
		maps.DeleteFunc(buckets, func(i int, _ digest.Digest) bool { return uint64(i/digest.GroupBuckets) != q.Part })
		return numbered(buckets), nil
	}
	return nil, nil // a later version's level
}

func numbered(ds map[int]digest.Digest) []wire.KeyDigest {
	var out []wire.KeyDigest
	for _, i := range slices.Sorted(maps.Keys(ds)) {
		if d := ds[i]; !d.IsZero() {
			out = append(out, wire.KeyDigest{Key: numberKey(i), Digest: d})
		}
	}
	return out
}

// Keys are ordered as what they name.
func numberKey(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func keyNumber(b []byte) (int, bool) {
	if len(b) != 2 {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(b)), true
}

const dotKeySize = 24

func dotKey(d crdt.Dot) []byte {
	return binary.BigEndian.AppendUint64(slices.Clone(d.Replica[:]), d.Seq)
}

func keyDot(b []byte) (crdt.Dot, bool) {
	if len(b) != dotKeySize {
		return crdt.Dot{}, false
	}
	return crdt.Dot{Replica: crdt.ReplicaID(b[:16]), Seq: binary.BigEndian.Uint64(b[16:])}, true
}

// receiveDigests goes on with a comparison.
func (c *Core) receiveDigests(peer string, m wire.DigestReply) error {
	p := c.peers[peer]
	if p == nil {
		return nil // it is no member any more
	}
	r := p.digests.round
	if r == nil || r.query.ID != m.ID {
		return nil
	}
	r.theirs = append(r.theirs, m.Digests...)
	if m.More && len(m.Digests) > 0 {
		q := r.query
		q.After = m.Digests[len(m.Digests)-1].Key
		c.ask(p, q)
		return nil
	}
	ours, err := c.digestsFor(r.query, peer)
	if err != nil {
		return err
	}
	c.compareLevel(r, ours, r.theirs, m.Have.Equal(c.have))
	r.theirs = nil
	if len(r.todo) > 0 {
		q := r.todo[0]
		r.todo = r.todo[1:]
		c.ask(p, q)
		return nil
	}
	r.result.At, r.result.Have = c.now, m.Have
	p.digests.round = nil
	c.decide(p, r.result)
	return nil
}

// compareLevel compares the answer to a query with what is here.
func (c *Core) compareLevel(r *compareRound, ours, theirs []wire.KeyDigest, sameHave bool) {
	for key, pair := range zip(ours, theirs) {
		verdict := judge(pair[0], pair[1], sameHave)
		if verdict == Same {
			continue
		}
		q := wire.DigestQuery{Level: r.query.Level + 1, Collection: r.query.Collection}
		n, isNumber := keyNumber(key)
		switch dot, isDot := keyDot(key); {
		case r.query.Level == wire.DigestsOfCollections && isDot:
			r.result.Theirs = append(r.result.Theirs, CollectionVerdict{dot, pair[0], pair[1], verdict})
			if r.result.Verdict != Different {
				r.result.Verdict = verdict
			}
			q.Collection = dot
		case r.query.Level == wire.DigestsOfGroups && isNumber:
			q.Part = uint64(n)
		case r.query.Level == wire.DigestsOfBuckets && isNumber:
			if verdict == Different && len(r.result.Differences) < MaxDifferences {
				r.result.Differences = append(r.result.Differences, Difference{r.query.Collection, n, pair[0], pair[1]})
			}
			continue
		default:
			continue
		}
		if verdict == Different && len(r.todo) < maxDescents {
			r.todo = append(r.todo, q)
		}
	}
}

// zip pairs two lists in the order of their keys; what is missing is zero.
func zip(ours, theirs []wire.KeyDigest) func(yield func([]byte, [2]digest.Digest) bool) {
	return func(yield func([]byte, [2]digest.Digest) bool) {
		for len(ours) > 0 || len(theirs) > 0 {
			var key []byte
			var pair [2]digest.Digest
			var order int
			switch {
			case len(ours) == 0:
				order = 1
			case len(theirs) == 0:
				order = -1
			default:
				order = bytes.Compare(ours[0].Key, theirs[0].Key)
			}
			if order <= 0 {
				key, pair[0], ours = ours[0].Key, ours[0].Digest, ours[1:]
			}
			if order >= 0 {
				key, pair[1], theirs = theirs[0].Key, theirs[0].Digest, theirs[1:]
			}
			if !yield(key, pair) {
				return
			}
		}
	}
}
