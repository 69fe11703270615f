package core

import (
	"bytes"
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
	"github.com/meridiandb/meridian/transport/wire"
)

// A stored document that is not what was written is repaired from another region:
// a peer's copy at its vector is taken, and the changes above that are applied to
// it from the log, which went on meanwhile. The checksum says whose copy is
// damaged. Where copies differ and both are what was written, there is an alarm,
// and nobody guesses. Documents of the system collection are not repaired: the
// region cannot go on without them, and ends.

const (
	// maxDamaged bounds the documents that are known to be damaged; what is beyond is
	// found again when others are repaired.
	maxDamaged = 1000
	// maxReplay is how many changes are applied above a copy at the most; with
	// more, another copy is asked for.
	maxReplay = 10_000
	// maxRepairs is how many repairs are remembered.
	maxRepairs = 100
	// maxCopies bounds the copies that are waited for at a time, and those that a
	// step hands out.
	maxCopies = 16
)

// A Damage is a stored document that is not what was written.
type Damage struct {
	Key    store.DocKey
	Since  time.Time
	Reason string
}

// A Repair is a damage that is no more.
type Repair struct {
	Damage
	// At is when, From the region whose copy was taken: this one if it had the
	// document in memory.
	At   time.Time
	From string
}

// damage is one that waits for its repair.
type damage struct {
	Damage
	id    uint64        // of all queries for it: a late answer is as good as any
	asked string        // the peer that was asked last, "" if none was yet
	until time.Duration // uptime at which to ask the next one
	waits bool          // an answer may come until then
	copy  *wire.DocReply
	from  string // whose it is
}

type repairer struct {
	damaged map[store.DocKey]*damage
	nextID  uint64
	queries []fromPeer[wire.DocQuery]
	done    []Repair
}

// damage notes that a document is damaged.
func (c *Core) damage(key store.DocKey, reason error) {
	r := &c.repair
	if _, known := r.damaged[key]; known || len(r.damaged) >= maxDamaged {
		return
	}
	if r.damaged == nil {
		r.damaged = map[store.DocKey]*damage{}
	}
	r.damaged[key] = &damage{Damage: Damage{Key: key, Since: c.now, Reason: reason.Error()}}
	c.note(true, "a stored document is damaged", "collection", key.Collection, "id", key.ID, "reason", reason)
}

// damages lists what is damaged, in order.
func (r *repairer) damages() []*damage {
	return slices.SortedFunc(maps.Values(r.damaged), func(a, b *damage) int {
		return cmp.Or(a.Key.Collection.Compare(b.Key.Collection), strings.Compare(a.Key.ID, b.Key.ID))
	})
}

// Recheck says that a document could not be read.
type Recheck struct{ Key store.DocKey }

func (c *Core) recheck(ask Recheck) error {
	col := c.catalog.byDot[ask.Key.Collection]
	if col == nil {
		return nil
	}
	_, err := c.load(ask.Key, col.Settings.Type)
	return err
}

// repairDocuments goes on with repairs, at the beginning of a step: what the
// store has is then all that the region holds.
func (c *Core) repairDocuments() error {
	if len(c.repair.damaged) == 0 || c.boot.phase != bootNone {
		return nil
	}
	all := c.repair.damages()
	// Those that could not be repaired do not keep others from it.
	slices.SortStableFunc(all, func(a, b *damage) int { return cmp.Compare(a.until, b.until) })
	waiting := 0
	for _, d := range all {
		if d.copy != nil || d.waits && c.uptime < d.until {
			waiting++
		}
	}
	for _, d := range all {
		if !c.room() {
			return nil
		}
		if e := c.cache.entries[d.Key]; e != nil {
			// It is whole in memory.
			e.dirty = true
			c.dirty, c.cost = append(c.dirty, e), c.cost+e.size
			c.repaired(d, c.cfg.Region)
			continue
		}
		if d.copy != nil && c.have.Covers(d.copy.Have) {
			if err := c.takeCopy(d); err != nil {
				return err
			}
			if c.repair.damaged[d.Key] == nil {
				continue
			}
		}
		if c.uptime < d.until {
			continue
		}
		if d.copy != nil {
			c.askCopy(d) // it may be that what it waits for is lost
		} else if waiting < maxCopies {
			c.askCopy(d)
			waiting++
		}
	}
	return nil
}

// askCopy asks the next peer for its copy.
func (c *Core) askCopy(d *damage) {
	var peers []string
	for _, name := range c.peerNames() {
		if p := c.peers[name]; c.hears(p) && p.speaks(versionRepair) && c.shared(d.Key.Collection, name) {
			peers = append(peers, name)
		}
	}
	d.waits, d.until = len(peers) > 0, c.uptime+c.cfg.Timing.RequestTimeout
	if !d.waits {
		return
	}
	i, found := slices.BinarySearch(peers, d.asked)
	if found {
		i++
	}
	d.asked = peers[i%len(peers)]
	if d.id == 0 {
		c.repair.nextID++
		d.id = c.repair.nextID
	}
	c.send(d.asked, wire.DocQuery{ID: d.id, Collection: d.Key.Collection, Document: d.Key.ID})
}

// versionRepair is the first version of the vocabulary with copies of documents.
const versionRepair = 8

func (c *Core) receiveDocQuery(p *peer, m wire.DocQuery) {
	if len(c.repair.queries) < maxCopies {
		c.repair.queries = append(c.repair.queries, fromPeer[wire.DocQuery]{p.name, m})
	}
}

// sendCopies answers at the end of a step, when documents are as of Have.
func (c *Core) sendCopies() error {
	if c.boot.phase != bootNone {
		c.repair.queries = nil // the documents are of no single moment
	}
	for _, q := range c.repair.queries {
		m := wire.DocReply{ID: q.message.ID, Have: c.have, Forgotten: c.forgotten}
		key := store.DocKey{Collection: q.message.Collection, ID: q.message.Document}
		if !c.shared(key.Collection, q.peer) || !c.shared(key.Collection, c.cfg.Region) {
			m.Refused = "not held by both regions"
			c.send(q.peer, m)
			continue
		}
		switch record, err := c.stored(key); {
		case errors.Is(err, ErrDamaged):
			c.damage(key, err)
			m.Refused = "damaged here, too"
		case err != nil:
			return storeError(err)
		case len(record) > wire.MaxDocState:
			m.Refused = "too large"
		default:
			m.Record = record
		}
		c.send(q.peer, m)
	}
	c.repair.queries = nil
	return nil
}

// stored returns a document as it is stored at the end of a step, nil if there is none.
func (c *Core) stored(key store.DocKey) ([]byte, error) {
	for i := len(c.batch.Docs) - 1; i >= 0; i-- {
		if c.batch.Docs[i].Key == key {
			return c.batch.Docs[i].State, nil
		}
	}
	record, err := c.reader.Doc(key)
	if err != nil || record == nil {
		return nil, err
	}
	_, err = CheckDocument(key, record)
	return record, err
}

func (c *Core) receiveDocReply(p *peer, m wire.DocReply) {
	var d *damage
	held := 0
	for _, x := range c.repair.damaged {
		if x.id == m.ID {
			d = x
		} else if x.copy != nil {
			held++
		}
	}
	switch {
	case d == nil || held >= maxCopies:
	case m.Refused != "":
		c.note(true, "a peer has no copy of a damaged document", "peer", p.name, "id", d.Key.ID, "reason", m.Refused)
		if d.asked == p.name {
			d.waits, d.until = false, c.uptime+c.cfg.Timing.Status
		}
	case d.copy == nil || !m.Have.Covers(d.copy.Have):
		// A later copy would have to wait for more: where changes keep coming, there
		// is one that is too late each time.
		m.Record = bytes.Clone(m.Record) // its memory may be the message's
		d.copy, d.from = &m, p.name
	}
}

// takeCopy takes a peer's copy in place of what is damaged.
func (c *Core) takeCopy(d *damage) error {
	m := d.copy
	d.copy = nil
	col := c.catalog.byDot[d.Key.Collection]
	if col == nil {
		return nil
	}
	state, err := c.readCopy(m, d.Key, col.Settings.Type)
	if err == nil {
		err = c.replay(state, d.Key, m.Have)
	}
	switch {
	case errors.Is(err, errStore):
		return err
	case err != nil:
		c.note(true, "a copy of a damaged document is of no use", "peer", d.from, "id", d.Key.ID, "error", err)
		return nil
	}
	if old := c.cache.entries[d.Key]; old != nil {
		c.cache.remove(old)
	}
	e := c.cache.put(d.Key, state)
	e.dirty = true
	c.dirty, c.cost = append(c.dirty, e), c.cost+len(m.Record)
	c.forgotten = max(c.forgotten, m.Forgotten) // the other region may have forgotten what is held here
	if err := c.conflictsAfterRepair(e, col); err != nil {
		return err
	}
	if len(col.Settings.Bounds) > 0 {
		c.shares.touched[e.key] = true
	}
	c.repaired(d, d.from)
	// What the damaged document weighed in the digests is not known.
	e.weight = digest.Of(d.Key.Collection, d.Key.ID, state.Heads(), state.Digest())
	c.scrub.again(d.Key.Collection)
	return nil
}

// readCopy reads a peer's copy.
func (c *Core) readCopy(m *wire.DocReply, key store.DocKey, t crdt.Type) (crdt.State, error) {
	if len(m.Record) == 0 {
		return newState(t)
	}
	if _, err := CheckDocument(key, m.Record); err != nil {
		return nil, err
	}
	r, err := decodeRecord(m.Record)
	if err != nil {
		return nil, err
	}
	if r.state.Type() != t {
		return nil, fmt.Errorf("%w: a %v in a collection of type %v", ErrDamaged, r.state.Type(), t)
	}
	return r.state, nil
}

// replay applies what the region holds above a vector.
func (c *Core) replay(state crdt.State, key store.DocKey, above crdt.Vector) error {
	if n := above.Lacks(c.have); n > maxReplay {
		return fmt.Errorf("%d changes have come since", n)
	}
	for encoded, err := range merged(c.reader, above.Missing(c.have)) {
		if err != nil {
			return err
		}
		ch, _, err := crdt.DecodeChange(encoded)
		if err != nil {
			return err
		}
		for i := range ch.Mutations {
			m := &ch.Mutations[i]
			if m.Collection != key.Collection || m.ID != key.ID {
				continue
			}
			if err := state.Apply(ch.Header, *m); err != nil {
				return fmt.Errorf("change %v: %w", ch.Dot, err)
			}
		}
	}
	return nil
}

// conflictsAfterRepair brings the conflict log up to date with changes that came
// while the document was damaged.
func (c *Core) conflictsAfterRepair(e *entry, col *Collection) error {
	if err := c.recall(e); err != nil {
		return err
	}
	var last ending
	for _, h := range e.state.Heads().All() {
		if h.Stamp >= last.Stamp {
			last.Dot, last.Stamp = h.Dot, h.Stamp
		}
	}
	ch, err := c.changeOf(last.Dot)
	if err != nil {
		return err
	}
	last.answer = ch != nil && slices.ContainsFunc(ch.Mutations, func(m crdt.Mutation) bool {
		return m.Collection == e.key.Collection && m.ID == e.key.ID && m.Decision == crdt.DecisionAnswer
	})
	found, view := conflictsIn(e.state, newest)
	c.reconcile(e, col, last, found, view)
	c.touch(e.key)
	return nil
}

// repaired notes that a document is whole again.
func (c *Core) repaired(d *damage, from string) {
	delete(c.repair.damaged, d.Key)
	if len(c.repair.done) == maxRepairs {
		c.repair.done = slices.Delete(c.repair.done, 0, 1)
	}
	c.repair.done = append(c.repair.done, Repair{Damage: d.Damage, At: c.now, From: from})
	c.note(true, "a damaged document was repaired", "collection", d.Key.Collection, "id", d.Key.ID, "from", from)
}
