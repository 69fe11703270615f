package core

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A region whose Have is below what the logs of its peers reach takes a snapshot
// of one of them, while writes go on there (I12). First it waits until the donor
// holds all that it holds itself, so that nothing is lost with the old
// documents; then it clears its store, copies documents in the order of their
// keys, and goes on with the log. A region that has documents does so only once it
// has heard, of all that it should be linked with, that their logs do not do: what it
// gives up may be the last whole copies of documents that are damaged elsewhere, which
// the log of another region would bring up to date.
//
// An interruption does not start the copy over: it goes on behind the last
// document, at the vector that a donor, any donor, has by then. So the documents
// fall into segments of different vectors. From then on the log is replayed from
// the vector of the first, base, in causal order as ever, and a document leaves
// out the changes that its segment's vector contains. Once Have covers all
// segments, the documents are of one moment again, and may be read.
//
// A collection of which nobody else has as much keeps its documents through all
// that, see kept.
//
// Donors may have trimmed what is stable: whatever is replayed on a document is
// a change that its donor did not have, and so one that has seen all that is
// stable there.

type bootPhase byte

const (
	bootNone     bootPhase = iota
	bootClearing           // the old log and documents go
	bootCopying
	bootReplaying // all is copied; the segments are of different moments
	bootSaving    // what no other region has is set aside, before the rest goes
)

// A segment is a range of documents that were copied at one vector.
type segment struct {
	after store.DocKey // the last document before it
	have  crdt.Vector
}

// maxSegments is how many interruptions a copy survives; it starts over then.
const maxSegments = 256

// bootstrap is the taking of a snapshot. All but the last fields is durable.
type bootstrap struct {
	phase    bootPhase
	old      crdt.Vector // what is cleared
	kept     crdt.Vector // what of it others have, or is set aside
	ended    crdt.Vector // the ends of logs that a donor has to know
	base     crdt.Vector // of the first segment
	segments []segment
	last     store.DocKey // copied
	stay     []kept       // in the order of the collections
	docs     uint64
	bytes    uint64
	total    uint64 // as estimated by the donor
	dirty    bool

	tips    []store.LogPut // of the snapshot, until its first document comes
	peer    string         // that is asked, "" if none
	id      uint64
	sum     snapshotSum
	arrived time.Duration // uptime of the last part
	since   time.Duration // uptime at which this process went on with it
	from    uint64        // bytes then
	lost    time.Duration // uptime since when no donor could go on with it
	nowhere time.Duration // uptime since when no other holder has what comes next
	failed  string        // the peer that refused last
	idle    int           // requests in a row that brought no document in time
	tell    time.Duration // uptime at which to say again how far it is
	only    string        // the collection whose only copy it would delete, "" if none
	why     string        // what is waited for then
	// alone is the uptime since when nobody is known to have more of a collection.
	alone map[crdt.Dot]time.Duration
}

// SnapshotStatus tells of a snapshot that is being taken.
type SnapshotStatus struct {
	// Region is where it comes from, "" while nobody can give it.
	Region string
	// Documents and Bytes are what was copied, Total about how many bytes there
	// are, 0 if that is not known.
	Documents, Bytes, Total uint64
	// Rate is in bytes per second since this process goes on with it; Left is how
	// long the rest takes at that rate, 0 if that is not known.
	Rate uint64
	Left time.Duration
	// Replaying says that all documents are here, and some wait for changes.
	Replaying bool
}

// MaxBaseLost is how long nobody may be able to go on with a copy before it
// starts over with whoever there is.
const MaxBaseLost = time.Minute

// metaSnapshot is the store's record of a snapshot that is being taken.
const metaSnapshot = "snapshot"

const bootFormat = 2

func (b *bootstrap) encode() []byte {
	out := []byte{bootFormat, byte(b.phase)}
	for _, v := range []crdt.Vector{b.old, b.kept, b.ended, b.base} {
		out, _ = v.AppendBinary(out)
	}
	out = appendKey(out, b.last)
	for _, n := range []uint64{b.docs, b.bytes, b.total, uint64(len(b.segments))} {
		out = binary.AppendUvarint(out, n)
	}
	for _, s := range b.segments {
		out = appendKey(out, s.after)
		out, _ = s.have.AppendBinary(out)
	}
	return appendKept(out, b.stay)
}

func decodeBootstrap(b []byte) (bootstrap, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); f != bootFormat {
		return bootstrap{}, fmt.Errorf("%w: format %d is not known here", crdt.ErrCorrupt, f)
	}
	out := bootstrap{phase: bootPhase(r.Byte()), old: r.Vector(), kept: r.Vector(), ended: r.Vector(), base: r.Vector(), last: readKey(r)}
	out.docs, out.bytes, out.total = r.Uvarint(), r.Uvarint(), r.Uvarint()
	out.segments = make([]segment, r.Count(maxSegments, 20))
	for i := range out.segments {
		out.segments[i] = segment{readKey(r), r.Vector()}
	}
	out.stay = readKept(r)
	return out, r.Done()
}

func appendKey(b []byte, k store.DocKey) []byte {
	b = append(b, k.Collection.Replica[:]...)
	b = binary.AppendUvarint(b, k.Collection.Seq)
	b = binary.AppendUvarint(b, uint64(len(k.ID)))
	return append(b, k.ID...)
}

func readKey(r *crdt.Reader) store.DocKey {
	k := store.DocKey{Collection: crdt.Dot{Replica: r.Replica(), Seq: r.Uvarint()}}
	k.ID = string(r.Bytes(store.MaxNameBytes))
	return k
}

func compareKeys(a, b store.DocKey) int {
	return cmp.Or(a.Collection.Compare(b.Collection), cmp.Compare(a.ID, b.ID))
}

// holds reports whether the copy of a document contains a change already.
func (b *bootstrap) holds(k store.DocKey, d crdt.Dot) bool {
	if b.phase != bootReplaying || !k.Collection.IsZero() && !b.base.Contains(k.Collection) || b.keeps(k.Collection) {
		return false
	}
	for i := len(b.segments) - 1; i >= 0; i-- {
		if s := &b.segments[i]; i == 0 || compareKeys(s.after, k) < 0 {
			return s.have.Contains(d)
		}
	}
	return false
}

// end is what Have must cover before the copies are of one moment.
func (b *bootstrap) end() crdt.Vector {
	var v crdt.Vector
	for i := range b.segments {
		v = v.Join(b.segments[i].have)
	}
	return v
}

// apart reports whether nothing but a snapshot may be taken in.
func (b *bootstrap) apart() bool {
	return b.phase == bootClearing || b.phase == bootCopying || b.phase == bootSaving
}

// startOver begins a snapshot, through which some collections are kept.
func (c *Core) startOver(keep []kept) {
	c.boot = bootstrap{phase: bootClearing, old: c.have.Join(c.boot.old), ended: c.boot.ended, base: c.boot.base, stay: keep, dirty: true, since: c.uptime, lost: c.uptime}
	for _, r := range c.inbox.replicas() {
		c.inbox.drop(r)
	}
	clear(c.sync.requests)
	clear(c.sync.gaps)
	clear(c.sync.lacks)
	c.trim = newTrimQueue(c.cfg.Limits.TrimQueue)
	maps.DeleteFunc(c.repair.damaged, func(k store.DocKey, _ *damage) bool { return !c.boot.keeps(k.Collection) }) // they are replaced
}

// bootstrap does what is due for a snapshot that is being taken.
func (c *Core) bootstrap() error {
	b := &c.boot
	switch b.phase {
	case bootSaving:
		return c.setAside()
	case bootClearing:
		if len(c.dirty) > 0 {
			return nil // what this step has still to write must not come after the clearing
		}
		return c.clearStore()
	case bootReplaying:
		c.replayCopy()
	case bootCopying:
		switch {
		case b.peer == "":
		case !c.hears(c.peers[b.peer]):
			b.failed, b.peer = b.peer, ""
		case c.uptime-b.arrived >= b.patience(c.cfg.Timing.RequestTimeout):
			b.failed, b.peer, b.idle = b.peer, "", b.idle+1
		}
		if b.peer == "" {
			c.askSnapshot()
		}
	case bootNone:
	}
	return nil
}

// maxPatience is how long a part of a snapshot is waited for at most.
const maxPatience = 30 * time.Second

// patience is how long the next part is waited for: twice as long with each request
// that brought nothing. An answer that takes longer than it is waited for would
// else never be taken, as each request ends the one before it.
func (b *bootstrap) patience(least time.Duration) time.Duration {
	return max(least, min(least<<min(b.idle, 16), maxPatience))
}

// askSnapshot asks for the documents that are still to come.
func (c *Core) askSnapshot() {
	b := &c.boot
	if k := b.pausedAt(); k != nil && !c.passKept(k) {
		return
	}
	q := wire.SnapshotRequest{Have: c.have, Ended: b.ended}
	resume := len(b.segments) > 0
	if resume {
		q.Have, q.Resume, q.After = b.base, true, wire.DocKey(b.last)
	}
	if !resume && c.othersWant() && c.uptime-b.since < wantsPatience {
		return
	}
	name := c.donor(q.Have, func(p *peer) bool { return !c.have.Covers(p.told) })
	if name == "" || name == b.failed {
		// What was given up can be had again, too, of one that holds no more.
		name = cmp.Or(c.donor(q.Have, anyPeer), name)
	}
	switch {
	case name != "":
	case resume && c.passOver():
		return
	case resume && c.uptime-b.lost >= MaxBaseLost && c.donor(c.have, anyPeer) != "":
		c.note(true, "nobody can go on with the snapshot that was begun: it starts over", "documents", b.docs)
		c.startOver(b.stay)
		return
	default:
		return
	}
	c.sync.nextID++
	b.peer, b.id, b.sum, b.tips = name, c.sync.nextID, snapshotSum{}, nil
	b.arrived, b.lost = c.uptime, c.uptime
	q.ID = b.id
	c.send(name, q)
	c.note(false, "asks for a snapshot", "peer", name, "resumes", resume, "documents", b.docs)
}

// clearItems is how many records one step removes.
const clearItems = store.FastBatchRecords * 3 / 4

// clearStore removes, a little at a time, the log and the documents that the
// snapshot replaces, those of the system collection last, but not what is kept.
func (c *Core) clearStore() error {
	b := &c.boot
	left := uint64(clearItems)
	// A copy that was given up has left the tips of its base.
	for r, seq := range b.base.All() {
		if seq > b.old.Get(r) {
			c.batch.TrimLog = append(c.batch.TrimLog, crdt.Span{Replica: r, From: seq, To: seq})
		}
	}
	b.base, b.dirty = crdt.Vector{}, b.dirty || b.base.Len() > 0
	for r, have := range b.old.All() {
		if cut := c.cut.vector.Get(r); cut < have && left > 0 {
			to := min(have, cut+left)
			left -= to - cut
			c.trimLog(crdt.Span{Replica: r, From: cut + 1, To: to})
		}
	}
	for _, col := range c.catalog.Collections() {
		if b.keeps(col.Incarnation) {
			continue
		}
		if err := c.clearDocs(col.Incarnation, &left); err != nil {
			return err
		}
	}
	if left == clearItems {
		// Nothing else is left: what the others are is not needed any more.
		if err := c.clearDocs(crdt.Dot{}, &left); err != nil {
			return err
		}
	}
	if left == clearItems {
		if err := c.digests.Clear(b.keptDots(), &left); err != nil {
			return storeError(err)
		}
	}
	if left == clearItems {
		c.catalog = newCatalog()
		clear(c.claims)
		b.phase, b.old, b.dirty = bootCopying, crdt.Vector{}, true
	}
	return nil
}

func (c *Core) clearDocs(col crdt.Dot, left *uint64) error {
	for d, err := range c.reader.Docs(col, "", "") {
		if err != nil {
			return storeError(err)
		}
		if *left == 0 || !c.room() {
			*left = 0
			return nil
		}
		*left--
		key := store.DocKey{Collection: col, ID: d.ID}
		if e := c.cache.entries[key]; e != nil {
			c.cache.remove(e)
		}
		c.batch.Docs = append(c.batch.Docs, store.DocPut{Key: key})
		if err := c.conflicts.Forget(key); err != nil {
			return storeError(err)
		}
	}
	return nil
}

// receivePart takes a part of a snapshot in.
func (c *Core) receivePart(p *peer, m wire.SnapshotPart) error {
	b := &c.boot
	if b.phase != bootCopying || b.peer != p.name || b.id != m.ID {
		return nil // of a request that was given up
	}
	if m.Refused != "" {
		c.note(true, "a snapshot was refused", "peer", p.name, "reason", m.Refused)
		b.failed = p.name // asked again after a while, if there is no other
		return nil
	}
	if sum := b.sum.next(&m); sum != m.Sum {
		c.reject(p.name, fmt.Errorf("a part of a snapshot is damaged: its checksum is %x, not %x", sum, m.Sum))
		b.failed, b.peer = p.name, ""
		return nil
	}
	b.arrived, b.total = c.uptime, max(m.Total, b.bytes)
	err := c.takeTips(m.Tips)
	if err == nil && (len(m.Docs)+len(m.Requests) > 0 || m.Done) {
		err = c.beginSegment(&m)
	}
	if err != nil {
		c.reject(p.name, err)
		b.failed, b.peer = p.name, ""
		return nil
	}
	for i := range m.Docs {
		if b.pause(m.Docs[i].Key.Collection) {
			return nil
		}
		if ok, err := c.install(p, &m.Docs[i]); err != nil || !ok {
			return err
		}
	}
	if k := b.nextKept(); k != nil && (b.pause(m.Elsewhere) || (m.Done || len(m.Requests) > 0) && b.pause(k.collection)) {
		return nil
	}
	for i := range m.Requests {
		if err := c.installRequest(&m.Requests[i]); err != nil {
			return err
		}
	}
	switch {
	case !m.Elsewhere.IsZero():
		b.last, b.peer, b.dirty = store.DocKey{Collection: m.Elsewhere}, "", true
	case m.Done:
		c.copied()
	case c.uptime >= b.tell:
		b.tell = c.uptime + tellEvery
		s := c.snapshotStatus()
		c.note(false, "copying a snapshot", "peer", p.name, "documents", s.Documents, "bytes", s.Bytes, "total", s.Total,
			"rate", s.Rate, "left", s.Left.Round(time.Second))
	}
	return nil
}

// tellEvery is how often it is said how far a snapshot is.
const tellEvery = 5 * time.Second

// beginSegment notes at which vector the documents that come now were copied.
func (c *Core) beginSegment(m *wire.SnapshotPart) error {
	b := &c.boot
	if n := len(b.segments); n > 0 && b.segments[n-1].have.Equal(m.Have) {
		return nil
	}
	if !m.Have.Covers(c.have) || !m.Have.Covers(b.base) {
		return fmt.Errorf("its snapshot at %v lacks some of what this region holds", m.Have)
	}
	if len(b.segments) == maxSegments {
		c.startOver(b.stay)
		return fmt.Errorf("the snapshot was interrupted %d times", maxSegments)
	}
	if len(b.segments) == 0 {
		if err := c.installTips(m.Have); err != nil {
			return err
		}
		b.base = m.Have
	}
	b.segments = append(b.segments, segment{b.last, m.Have})
	c.forgotten = max(c.forgotten, m.Forgotten)
	b.dirty = true
	return nil
}

// takeTips keeps the last changes of the replicas until the first document comes.
func (c *Core) takeTips(tips []wire.LogTip) error {
	for i := range tips {
		t := &tips[i]
		ch, rest, err := crdt.DecodeChange(t.Change)
		if err != nil || len(rest) > 0 || len(c.boot.tips) == crdt.MaxReplicas {
			return cmp.Or(err, crdt.ErrCorrupt)
		}
		c.clock.Observe(c.now, ch.Stamp)
		c.boot.tips = append(c.boot.tips, store.LogPut{Dot: ch.Dot, Chain: t.Chain, Change: bytes.Clone(t.Change)})
	}
	return nil
}

// installTips takes the last changes of all replicas into the log, to go on there.
func (c *Core) installTips(have crdt.Vector) error {
	var tips crdt.Vector
	for i := range c.boot.tips {
		tips = tips.With(c.boot.tips[i].Dot)
		c.cost += len(c.boot.tips[i].Change)
	}
	if !tips.Equal(have) || len(c.boot.tips) != have.Len() {
		return fmt.Errorf("the tips of its snapshot are %v, not %v", tips, have)
	}
	c.batch.Log = append(c.batch.Log, c.boot.tips...)
	c.boot.tips = nil
	return nil
}

// install takes a document of a snapshot in. It reports false if it is not one.
func (c *Core) install(p *peer, d *wire.SnapshotDoc) (bool, error) {
	b, key := &c.boot, store.DocKey(d.Key)
	r, err := decodeRecord(d.State)
	damage := err
	if errors.Is(err, ErrDamaged) && !key.Collection.IsZero() {
		err = nil // it is as it is in the other region, and is repaired later
	}
	if err == nil && compareKeys(key, b.last) <= 0 && b.docs > 0 {
		err = fmt.Errorf("%w: document %q is out of order", crdt.ErrCorrupt, key.ID)
	}
	if err != nil {
		c.reject(p.name, err)
		b.failed, b.peer = p.name, ""
		return false, nil
	}
	c.cost += len(d.State)
	b.last, b.docs, b.bytes, b.dirty, b.idle = key, b.docs+1, b.bytes+uint64(len(d.State)), true, 0
	if damage != nil {
		c.batch.Docs = append(c.batch.Docs, store.DocPut{Key: key, State: bytes.Clone(d.State)})
		c.damage(key, damage)
		return true, nil
	}
	s := r.state
	e, err := c.load(key, s.Type())
	if err != nil {
		return false, err
	}
	e.state, e.saved, e.record, e.tag, e.dirty = s, r.saved, nil, "", true
	c.dirty = append(c.dirty, e)
	if key.Collection.IsZero() {
		return true, c.systemChanged(key.ID, s)
	}
	if col := c.catalog.byDot[key.Collection]; col != nil {
		e.watched.known = true
		found, view := conflictsIn(s, newest)
		c.reconcile(e, col, ending{}, found, view)
		if len(e.watched.now) > 0 {
			c.touch(key)
		}
	}
	return true, nil
}

// copied goes on with the log: all documents are here.
func (c *Core) copied() {
	b := &c.boot
	b.phase, b.dirty = bootReplaying, true
	c.have = b.base
	clear(c.chains)
	c.cut.vector = crdt.Vector{}
	for r, seq := range b.base.All() {
		c.cut.vector = c.cut.vector.With(crdt.Dot{Replica: r, Seq: seq - 1})
	}
	c.announced = c.announced || c.have.Get(c.replica) > 0
	c.acks = true
	if c.have.Covers(b.end()) {
		c.finishSnapshot()
	}
}

func (c *Core) finishSnapshot() {
	b := &c.boot
	c.note(false, "the snapshot is complete", "documents", b.docs, "bytes", b.bytes, "have", c.have)
	c.boot = bootstrap{dirty: true}
	c.sync.hurry = true
}

// saveSnapshot puts the state of a snapshot into the batch, where it changed.
func (c *Core) saveSnapshot() {
	if !c.boot.dirty {
		return
	}
	c.boot.dirty = false
	if c.batch.Meta == nil {
		c.batch.Meta = map[string][]byte{}
	}
	c.batch.Meta[metaSnapshot] = nil
	if c.boot.phase != bootNone {
		c.batch.Meta[metaSnapshot] = c.boot.encode()
	}
}

func (c *Core) snapshotStatus() *SnapshotStatus {
	b := &c.boot
	if b.phase == bootNone {
		return nil
	}
	s := &SnapshotStatus{Region: b.peer, Documents: b.docs, Bytes: b.bytes, Total: b.total, Replaying: b.phase == bootReplaying}
	if took := c.uptime - b.since; took > 0 && b.bytes > b.from {
		s.Rate = uint64(float64(b.bytes-b.from) / took.Seconds())
		if b.total > b.bytes && s.Rate > 0 {
			s.Left = time.Duration(float64(b.total-b.bytes) / float64(s.Rate) * float64(time.Second))
		}
	}
	return s
}

// snapshotError says that what is here is not of one moment, nil if it is.
func (c *Core) snapshotError() error {
	if c.boot.phase == bootNone {
		return nil
	}
	return fmt.Errorf("%w: it takes a snapshot of another region; %d documents are here", ErrCatchingUp, c.boot.docs)
}
