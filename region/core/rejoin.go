package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A store whose region was removed and added again comes back as a new replica: it
// sets aside what it has and nobody else, in records of its own, and takes a snapshot
// as any new region does. What was set aside is then made anew (rebase.go).

// Records of what was set aside. Those of one document are in the order of stamps, which is
// causal for one document (I11).
const (
	// asidePrefix starts the names of changes: then come the document, the stamp and the dot.
	asidePrefix = "aside/"
	// asideStatePrefix starts the names of the documents' states: then comes the document.
	asideStatePrefix = "aside="
)

// metaAside is the store's record of an asideRecord.
const metaAside = "aside"

// An asideRecord says which changes were set aside.
type asideRecord struct {
	to      crdt.Vector // up to where, for those who come with the same (claim)
	pending crdt.Vector // the part of it that is not claimed yet
	skip    crdt.Vector // what another store had made anew before, or is to
	claim   crdt.Vector // the changes that claim it, one of each replica that this store was, until it is clear who else does
	made    crdt.Vector // all of those, until they are said to be done
}

func (a *asideRecord) encode() (b []byte) {
	for _, v := range []crdt.Vector{a.to, a.pending, a.skip, a.claim, a.made} {
		b, _ = v.AppendBinary(b)
	}
	return b
}

func (c *Core) asideRecord() (a asideRecord, err error) {
	record, err := c.meta(metaAside)
	if record == nil || err != nil {
		return a, err
	}
	r := crdt.NewReader(record)
	a = asideRecord{r.Vector(), r.Vector(), r.Vector(), r.Vector(), r.Vector()}
	if err := r.Done(); err != nil {
		return a, storeError(fmt.Errorf("record %q: %w", metaAside, err))
	}
	return a, nil
}

// asideItems is how many changes one step sets aside.
const asideItems = store.FastBatchRecords / 8

func asideName(prefix string, k store.DocKey) string {
	b := append([]byte(prefix), k.Collection.Replica[:]...)
	b = binary.BigEndian.AppendUint64(b, k.Collection.Seq)
	return string(append(append(b, k.ID...), 0)) // no id has control characters
}

func parseAside(name string) (store.DocKey, error) {
	const fixed = len(crdt.ReplicaID{}) + 8
	b, ok := strings.CutPrefix(name, asidePrefix)
	if !ok || len(b) < fixed {
		return store.DocKey{}, fmt.Errorf("%w: the record %q", store.ErrCorrupt, name)
	}
	id, _, ok := strings.Cut(b[fixed:], "\x00")
	if !ok {
		return store.DocKey{}, fmt.Errorf("%w: the record %q", store.ErrCorrupt, name)
	}
	return store.DocKey{
		Collection: crdt.Dot{Replica: crdt.ReplicaID([]byte(b[:fixed-8])), Seq: binary.BigEndian.Uint64([]byte(b[fixed-8 : fixed]))},
		ID:         id,
	}, nil
}

// rejoin begins to come back as a new replica, if this region was added again, or its
// replica is unknown to those who go on, and the peer has all else that they will ever have of
// what this store holds.
// Of a replica that is nobody's all is set aside: no one who goes on has any change of it, or will.
func (c *Core) rejoin(peer string, m *wire.Removed, nobodys func(crdt.ReplicaID) bool) error {
	if c.boot.phase == bootSaving || !m.Added && !m.Unknown {
		return nil
	}
	// Nobody who goes on takes a change any more that was made without what is stable there
	// (I12): so is all that is held here and not there, if not all of that is held here. Regions that
	// go on have lost it with their stores then, if it is theirs.
	late := !c.have.Covers(m.Stable)
	kept := crdt.Vector{}
	for r, all := range c.have.All() {
		have := all
		end, ended := c.endAt(r, m)
		switch theirs := m.Have.Get(r); {
		case ended:
			have = min(all, end)
		case nobodys(r):
			have = 0
		case all > theirs && late:
			have = theirs
		case all > theirs:
			c.noteOnce(peer, "this region cannot come back yet: a region lacks changes of others that are held here", "peer", peer, "replica", r, "lacks", all-theirs)
			return nil
		}
		if have > 0 {
			kept = kept.With(crdt.Dot{Replica: r, Seq: have})
		}
	}
	for r, all := range c.have.All() {
		if have := kept.Get(r); have < min(all, c.cut.vector.Get(r)) {
			// It came with a snapshot, and not as changes that could be made anew.
			c.note(true, "changes are held here only as what they made of documents, and are not brought in: they are left to the store that wrote them",
				"replica", r, "from", have+1, "to", all)
			kept = kept.With(crdt.Dot{Replica: r, Seq: all})
		}
	}
	c.note(true, "this region sets aside what no other has, and comes back as a new replica",
		"peer", peer, "reason", m.Reason, "changes", kept.Lacks(c.have))
	a, err := c.asideRecord()
	if err != nil {
		return err
	}
	more := c.unclaim(&a, kept)
	old := c.have
	for r, have := range old.All() {
		if have > kept.Get(r) {
			d := crdt.Dot{Replica: r, Seq: have}
			a.to, a.pending, more = a.to.With(d), a.pending.With(d), true
		}
	}
	if more {
		c.putMeta(metaAside, a.encode())
	}
	c.startOver(nil)
	c.boot.phase, c.boot.old, c.boot.kept, c.boot.ended = bootSaving, old, kept, m.Final
	return nil
}

// without is what is left of a vector in front of a change.
func without(v crdt.Vector, d crdt.Dot) (out crdt.Vector) {
	for r, seq := range v.All() {
		if r == d.Replica {
			seq = min(seq, d.Seq-1)
		}
		if seq > 0 {
			out = out.With(crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return out
}

// leaveUnknown begins anew if this store has changes of a replica that was not known where a
// removal was completed, by the change that was just applied: nobody who goes on
// takes them. If its own replica was known there, it can have none.
func (c *Core) leaveUnknown(completion *crdt.Change) error {
	if c.boot.phase != bootNone || completion.Dot.Replica == c.replica || completion.Deps.Get(c.replica) > 0 {
		return nil
	}
	left := crdt.Vector{}
	unknown := false
	for r, seq := range c.have.All() {
		switch {
		case r == completion.Dot.Replica || completion.Deps.Get(r) > 0:
			left = left.With(crdt.Dot{Replica: r, Seq: seq})
		case r != c.replica:
			unknown = true
		}
	}
	if !unknown {
		return nil
	}
	return c.rejoin(c.cfg.Region, &wire.Removed{
		Unknown: true, Have: left, Final: c.catalog.ended.Join(c.catalog.broughtIn(c.cfg.Region)),
		Reason: "this store has what nobody takes who goes on without a removed region",
	}, func(r crdt.ReplicaID) bool { return left.Get(r) == 0 })
}

// endAt is up to where a peer has of a replica what it will ever have, or what was made
// anew of it, if it is one of a removed region or unknown to all who go on.
func (c *Core) endAt(r crdt.ReplicaID, m *wire.Removed) (uint64, bool) {
	if end := m.Final.Get(r); end > 0 {
		return end, true
	}
	if r == c.replica || m.Added && c.catalog.Region(r) == c.cfg.Region {
		return m.Have.Get(r), true
	}
	return 0, false
}

// setAside puts changes that nobody else has into records of their own, a little at a
// time; then this store becomes a new replica that has nothing.
func (c *Core) setAside() error {
	b := &c.boot
	if len(c.batch.Log) > 0 || len(c.dirty) > 0 {
		return nil // the store has still to get what was written in this step
	}
	left := asideItems
	b.dirty = true
	for r, have := range b.old.All() {
		for l, err := range c.reader.Log(r, b.kept.Get(r)+1, have) {
			if err != nil {
				return storeError(err)
			}
			if left--; left < 0 || !c.room() {
				return nil
			}
			ch, _, err := crdt.DecodeChange(bytes.Clone(l.Change))
			if err != nil {
				return storeError(err)
			}
			if ch.Residency.IsWithheld() {
				if err := c.leaveFrom(l.Dot, have); err != nil {
					return err
				}
				break
			}
			if err := c.setChangeAside(ch); err != nil {
				return err
			}
			b.kept = b.kept.With(l.Dot)
		}
	}
	return c.beginAnew()
}

// leaveFrom leaves what a removed region wrote from one change on to its own store, since
// this one has that change as a placeholder.
func (c *Core) leaveFrom(d crdt.Dot, to uint64) error {
	c.boot.kept = c.boot.kept.With(crdt.Dot{Replica: d.Replica, Seq: to})
	a, err := c.asideRecord()
	if err != nil {
		return err
	}
	a.to, a.pending = without(a.to, d), without(a.pending, d)
	c.putMeta(metaAside, a.encode())
	return nil
}

func (c *Core) setChangeAside(ch *crdt.Change) error {
	for i := range ch.Mutations {
		m := ch.Mutations[i]
		key := store.DocKey{Collection: m.Collection, ID: m.ID}
		one, err := (&crdt.Change{Header: ch.Header, Residency: ch.Residency, Mutations: []crdt.Mutation{m}}).AppendBinary(nil)
		if err != nil {
			return storeError(err)
		}
		name := []byte(asideName(asidePrefix, key))
		name = binary.BigEndian.AppendUint64(name, uint64(ch.Stamp))
		name = binary.BigEndian.AppendUint64(append(name, ch.Dot.Replica[:]...), ch.Dot.Seq)
		c.putMeta(string(name), one)
		c.cost += len(one)
		if err := c.setStateAside(key); err != nil {
			return err
		}
		if m.Collection.IsZero() {
			continue
		}
		// What made the collection may be left to another store.
		if err := c.setStateAside(store.DocKey{ID: collectionID(m.Collection)}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) setStateAside(key store.DocKey) error {
	name := asideName(asideStatePrefix, key)
	if _, ok := c.batch.Meta[name]; ok {
		return nil
	}
	state, err := c.reader.Doc(key)
	if err != nil {
		return storeError(err)
	}
	if state != nil {
		c.putMeta(name, state)
		c.cost += len(state)
	}
	return nil
}

// beginAnew makes this store a new replica that holds nothing. From then on it is like
// that of any region that was added, but for what it has set aside.
func (c *Core) beginAnew() error {
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if p.up {
			c.linkDown(name)
			c.close(name, fmt.Errorf("%w: this region comes back as a new replica", ErrRemoved))
		}
		*p = peer{name: name, newsAt: c.uptime, admitted: p.admitted, incarnation: p.incarnation}
	}
	c.fx.Sends, c.fx.Streams = nil, nil // of what this was
	c.rebirth(c.cfg.NewReplica())
	c.have, c.unmet, c.met = crdt.Vector{}, 0, false
	c.suspect, c.removing.turned = "", nil
	c.sync.stable, c.sync.held, c.sync.fetch, c.sync.samples = crdt.Vector{}, crdt.Vector{}, crdt.Vector{}, nil
	c.cut.marks = nil
	clear(c.chains)
	c.boot.phase, c.boot.kept, c.boot.dirty = bootClearing, crdt.Vector{}, true
	c.changed = true
	n, err := c.countAside()
	if err != nil {
		return err
	}
	c.rebasing.left, c.rebasing.claimed = n+len(slices.Collect(asideNames(c.batch))), false
	c.rebasing.contested, c.rebasing.stalled = crdt.Vector{}, false
	clear(c.rebasing.postponed)
	c.note(false, "this region has nothing of its own any more and takes a snapshot", "replica", c.replica)
	return nil
}

func asideNames(b *store.Batch) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range b.Meta {
			if strings.HasPrefix(name, asidePrefix) && !yield(name) {
				return
			}
		}
	}
}

// countAside counts the changes of documents that are set aside.
func (c *Core) countAside() (n int, err error) {
	for _, err := range c.reader.MetaRange(asidePrefix, "") {
		if err != nil {
			return 0, storeError(err)
		}
		n++
	}
	return n, nil
}
