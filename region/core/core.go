package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A BadChangeError is a change of a peer that no correct replica writes. The
// core is of no use after it: make a new one that refuses the change.
type BadChangeError struct {
	Dot  crdt.Dot
	Peer string
	Err  error
}

func (e *BadChangeError) Error() string {
	return fmt.Sprintf("change %v from %s cannot be applied: %v", e.Dot, e.Peer, e.Err)
}

func (e *BadChangeError) Unwrap() error { return e.Err }

// Core is the state machine of one region. Not safe for concurrent use.
type Core struct {
	cfg    Config
	reader store.Reader
	cache  *cache

	replica   crdt.ReplicaID
	announced bool // this replica's first change is made
	// synced is false for a replica that has not yet caught up with the first
	// peers that it met, see peer.owed, and been vouched for, see vouched. Until then
	// others may have trimmed what a write made here could refer to.
	synced bool
	// founder says that this replica, without being synced, wrote as the first of a
	// new cluster does.
	founder bool
	met     bool
	// late says that a peer was met that takes a snapshot, so that there is a cluster
	// already.
	late      bool
	have      crdt.Vector
	clock     *crdt.Clock
	forgotten crdt.Stamp // greatest stamp of a document that was removed (I11)
	chains    map[crdt.ReplicaID][store.ChainSize]byte
	scratch   []byte // of exact
	catalog   *Catalog
	// fenced says why the store must never take writes again, suspect why not
	// until that is cleared up.
	fenced, suspect string
	// former is the replica that a discontinuous store was, until that is said.
	former  crdt.ReplicaID
	contact bool // a peer has greeted since the start
	// stranger is the peer that does not know this region as a member, until one does.
	stranger string
	// noted is what was last noted of peers, by name, of what is found with each link.
	noted map[string]string
	// unmet is, if not 0, the first change that this replica made in a process
	// that had met no peer before, until all are known to hold it.
	unmet uint64

	queue []Event
	inbox *inbox
	// members are the names of all regions, this one included, in order; peers are the others.
	members []string
	peers   map[string]*peer
	names   []string // of the peers, in order; nil if it is not known: see peerNames
	// pending are the members that are not let in yet, in order, see admit.
	pending []string
	sync    syncState
	trim    trimQueue
	older   olderVersions
	written written
	cut     logCut
	boot    bootstrap

	removing removing
	rebasing rebasing

	digests *digests.Table
	compare comparer
	repair  repairer
	scrub   scrub
	// claims are the homes that are claimed for this region, by id, and for which replica.
	claims map[string]crdt.ReplicaID
	losses map[loss]bool

	conflicts   *conflictlog.Log
	counts      conflictCounts
	callbacks   callbacks
	conflictErr error

	// uptime is what passed since the first step, by the wall clock but for its
	// jumps back: what is timed by it never waits for hours.
	uptime time.Duration

	requests requests
	shares   sharing

	// Of what others hold.
	awaiter  awaiter
	gatherer gatherer
	presence presence

	// Of the step that is under way.
	now   time.Time
	fx    Effects
	batch *store.Batch
	dirty []*entry
	cost  int
	out   []outgoing
	acks  bool // something of others was applied
	// changed says that the core's own record is to be written.
	changed bool
}

// New makes a core from what is durable. A fresh store gets a new replica.
func New(cfg Config, reader store.Reader) (*Core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Limits, cfg.Timing = cfg.Limits.withDefaults(), cfg.Timing.withDefaults()
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = crdt.DefaultMaxSkew
	}
	if cfg.Retention.Changes == 0 {
		cfg.Retention.Changes = DefaultRetentionChanges
	}
	c := &Core{
		cfg:     cfg,
		reader:  reader,
		cache:   newCache(reader, cfg.Limits.CacheBytes),
		chains:  map[crdt.ReplicaID][store.ChainSize]byte{},
		catalog: newCatalog(),
		inbox:   newInbox(cfg.Limits.InboxBytes),
		trim:    newTrimQueue(cfg.Limits.TrimQueue),
		older:   newOlderVersions(cfg.Limits),
		peers:   map[string]*peer{},
		sync:    newSyncState(cfg.Topology),
		claims:  map[string]crdt.ReplicaID{},

		noted:    map[string]string{},
		removing: removing{givenUp: map[string]uint64{}},
		rebasing: rebasing{postponed: map[store.DocKey]bool{}},

		losses: map[loss]bool{},

		awaiter:  awaiter{passed: map[string]time.Duration{}},
		gatherer: gatherer{byKey: map[queryKey]string{}},
		presence: presence{heard: map[string]mark{}},
		shares:   sharing{touched: map[store.DocKey]bool{}, passed: map[string]askedBy{}, given: map[givenKey]uint64{}},
	}
	c.written.resolve = c.resolveWritten
	c.regroup()
	var err error
	if c.conflicts, err = conflictlog.Open(reader, cfg.Limits.Conflicts); err != nil {
		return nil, err
	}
	if c.digests, err = digests.Open(reader); err != nil {
		return nil, err
	}
	if c.requests, err = loadRequests(reader); err != nil {
		return nil, err
	}
	if err := c.loadLosses(); err != nil {
		return nil, err
	}
	record, err := reader.Meta(metaCore)
	if err != nil {
		return nil, err
	}
	if record == nil {
		c.clock = crdt.NewClock(cfg.MaxSkew, 0)
		c.replica = cfg.NewReplica()
		return c, nil
	}
	if err := c.decodeMeta(record); err != nil {
		return nil, fmt.Errorf("store record %q: %w", metaCore, err)
	}
	if cfg.Discontinuous {
		// Durable with the first step, so that nothing is sent before.
		c.former, c.changed = c.replica, true
		c.rebirth(cfg.NewReplica())
	}
	if record, err = reader.Meta(metaSnapshot); err != nil {
		return nil, err
	}
	if record != nil {
		if c.boot, err = decodeBootstrap(record); err != nil {
			return nil, fmt.Errorf("store record %q: %w", metaSnapshot, err)
		}
		c.boot.from = c.boot.bytes
	}
	if c.rebasing.left, err = c.countAside(); err != nil {
		return nil, err
	}
	err = c.loadCatalog()
	c.regroup()
	return c, err
}

// Have is what the region holds.
func (c *Core) Have() crdt.Vector { return c.have }

// Readable says why nothing can be read; nil if it can.
func (c *Core) Readable() error { return c.snapshotError() }

// Replica is the present incarnation of the region's store.
func (c *Core) Replica() crdt.ReplicaID { return c.replica }

// Step takes events in and returns what is to be done about them. Time must not
// be read from anywhere else. After an error the core is of no use: make a new
// one from what is durable. The error is a *BadChangeError or the store's.
func (c *Core) Step(now time.Time, events []Event) (Effects, error) {
	if !c.now.IsZero() {
		c.uptime += max(now.Sub(c.now), 0)
	}
	c.now, c.fx, c.batch, c.cost = now, Effects{}, &store.Batch{}, 0
	clear(c.out)
	c.dirty, c.out, c.acks = c.dirty[:0], c.out[:0], false
	c.conflicts.Begin(c.batch, now)
	c.digests.Begin(c.batch)
	c.queue = append(c.queue, events...)
	if !c.former.IsZero() {
		c.note(true, "this store was copied, or put back from a copy: it goes on as a new replica and fetches what it lacks",
			"former", c.former, "replica", c.replica, "have", c.have)
		c.former = crdt.ReplicaID{}
	}
	if err := c.repairDocuments(); err != nil {
		return Effects{}, err
	}
	if err := c.scrubDocuments(); err != nil {
		return Effects{}, err
	}
	if err := c.announce(); err != nil {
		return Effects{}, err
	}
	for len(c.queue) > 0 && c.room() {
		ev := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		if err := c.handle(ev); err != nil {
			return Effects{}, err
		}
	}
	ready, err := c.applyReady()
	if err != nil {
		return Effects{}, err
	}
	if err := c.retryParked(); err != nil {
		return Effects{}, err
	}
	if err := c.join(); err != nil {
		return Effects{}, err
	}
	if err := c.sweep(); err != nil {
		return Effects{}, err
	}
	if err := c.forgetRequests(); err != nil {
		return Effects{}, err
	}
	c.regroup()
	c.synchronise()
	if err := c.grantClaims(); err != nil {
		return Effects{}, err
	}
	if err := c.removeGivenUp(); err != nil {
		return Effects{}, err
	}
	if err := c.removeMembers(); err != nil {
		return Effects{}, err
	}
	if err := c.rebase(); err != nil {
		return Effects{}, err
	}
	c.cutLog()
	if err := c.bootstrap(); err != nil {
		return Effects{}, err
	}
	if err := c.consult(); err != nil {
		return Effects{}, err
	}
	c.expireGathers()
	if err := c.finish(); err != nil {
		return Effects{}, err
	}
	c.fx.More = ready || len(c.queue) > 0 || c.callbacks.more || c.rebases() || c.older.ends && c.older.live > 0
	return c.fx, nil
}

// roomForOthers is room for changes of peers: where clients wait for the batch,
// it stays small.
func (c *Core) roomForOthers() bool {
	return c.room() && (len(c.fx.Replies) == 0 || c.cost < c.cfg.Limits.BatchBytes/8)
}

// room reports whether the batch may grow further.
func (c *Core) room() bool {
	records := len(c.dirty) + len(c.batch.Docs) + len(c.batch.Log) + len(c.batch.Versions) + c.older.fresh + len(c.batch.Meta)
	return c.cost < c.cfg.Limits.BatchBytes && records < store.FastBatchRecords
}

func (c *Core) handle(ev Event) error {
	switch ev := ev.(type) {
	case Submit:
		if g, ok := ev.Ask.(Gather); ok {
			c.startGather(ev.ID, g)
			return nil
		}
		if x, ok := ev.Ask.(Compare); ok {
			if err := c.startCompare(ev.ID, x); err != nil {
				c.reply(ev.ID, nil, err)
			}
			return nil
		}
		result, err := c.submit(ev.Ask)
		if errors.Is(err, errStore) {
			return err
		}
		if w, ok := ev.Ask.(Write); ok && c.park(ev.ID, w, err) {
			return nil
		}
		c.reply(ev.ID, result, err)
	case LinkUp:
		c.linkUp(ev.Peer)
	case LinkDown:
		c.linkDown(ev.Peer)
	case Received:
		return c.receive(ev.Peer, ev.Message)
	case NotMember:
		if !c.contact {
			c.stranger = ev.Peer
		}
	case Called:
		return c.called(ev)
	case Tick:
	case Ending:
		c.older.ends = true
	default:
		panic(fmt.Sprintf("core: unknown event %T", ev))
	}
	return nil
}

// finish encodes what changed into the batch and says what to send once it is durable.
func (c *Core) finish() error {
	c.batch.Docs = slices.Grow(c.batch.Docs, len(c.dirty))
	for _, e := range c.dirty {
		if err := c.record(e); err != nil {
			return err
		}
		if err := c.flush(e); err != nil {
			return err
		}
	}
	if err := c.conflicts.Finish(c.uptime); err != nil {
		return storeError(err)
	}
	c.digests.Finish()
	if err := c.compareDigests(); err != nil {
		return err
	}
	if err := c.sendCopies(); err != nil {
		return err
	}
	c.saveOlder()
	c.saveRequests()
	c.saveSnapshot()
	_, snapshot := c.batch.Meta[metaSnapshot]
	if len(c.batch.Docs) > 0 || len(c.batch.Log) > 0 || len(c.batch.TrimLog) > 0 || snapshot || c.changed {
		c.changed = false
		if c.batch.Meta == nil {
			c.batch.Meta = map[string][]byte{}
		}
		c.batch.Meta[metaCore] = c.encodeMeta()
		c.fx.Batch = c.batch
	} else if len(c.batch.Meta) > 0 || len(c.batch.Versions) > 0 { // old conflicts or requests were dropped, or older versions had waited
		c.fx.Batch = c.batch
	}
	c.fx.Conflicts, c.fx.Requests = c.conflictStatus(), c.requests.status
	c.fx.Members, c.fx.Pending = c.members, c.pending
	c.fx.Have, c.fx.Catalog, c.fx.Digest = c.have, c.catalog, c.commonDigest()
	c.fx.OldestNews, c.fx.Writable, c.fx.Readable = c.oldestNews(), c.writable(), c.snapshotError()
	if err := c.sendStatus(); err != nil {
		return err
	}
	if err := c.push(); err != nil {
		return err
	}
	c.sendAwaits()
	c.askForShares()
	c.relayAcks()
	c.sendQueries()
	c.tellAcked()
	c.cache.evict()
	c.fx.Memory = Memory{len(c.cache.entries), c.cache.size, len(c.trim.queued), c.older.bytes}
	return nil
}

func (c *Core) flush(e *entry) error {
	e.dirty = false
	c.trimState(e.state)
	r := record{state: e.state, saved: e.saved, content: e.state.Digest()}
	weight := digest.Of(e.key.Collection, e.key.ID, e.state.Heads(), r.content)
	if err := c.digests.Replace(e.key, e.weight, weight); err != nil {
		return storeError(err)
	}
	c.scrub.changed(e.key.Collection, e.key.ID, e.weight, weight)
	e.weight = weight
	if !e.state.Heads().Known() {
		c.batch.Docs = append(c.batch.Docs, store.DocPut{Key: e.key})
		c.cache.remove(e)
		return nil
	}
	record, err := c.exact(r.append)
	if err != nil {
		return fmt.Errorf("document %q: %w", e.key.ID, err)
	}
	e.record = record
	c.cache.resize(e, len(record))
	c.batch.Docs = append(c.batch.Docs, store.DocPut{Key: e.key, State: record})
	if e.state.Trims() {
		c.trim.add(e, c.have)
	}
	return nil
}

// commit makes a change part of the batch: its documents are changed, it goes
// to the log, and Have covers it.
func (c *Core) commit(ch *crdt.Change, encoded []byte, from string) error {
	c.cost += len(encoded)
	for i := range ch.Mutations {
		m := &ch.Mutations[i]
		if err := c.mutate(ch.Header, m); err != nil {
			return &BadChangeError{Dot: ch.Dot, Peer: from, Err: err}
		}
	}
	if err := c.remember(ch); err != nil {
		return err
	}
	chain, err := c.nextChain(ch.Dot, encoded)
	if err != nil {
		return err
	}
	c.chains[ch.Dot.Replica] = chain
	c.have = c.have.With(ch.Dot)
	c.batch.Log = append(c.batch.Log, store.LogPut{Dot: ch.Dot, Chain: chain, Change: encoded})
	c.out = append(c.out, outgoing{dot: ch.Dot, bytes: encoded, from: from, residency: ch.Residency})
	if c.removing.completed {
		c.removing.completed = false
		if err := c.leaveUnknown(ch); err != nil {
			return err
		}
	}
	if from != "" && !ch.Trace.IsZero() {
		c.fx.Traced = append(c.fx.Traced, Traced{Dot: ch.Dot, Trace: ch.Trace, From: from})
	}
	return nil
}

// nextChain extends the hash chain of a replica's log, by which two stores
// notice that they hold different changes under one dot (I1, I2).
func (c *Core) nextChain(dot crdt.Dot, encoded []byte) (next [store.ChainSize]byte, err error) {
	prev, ok := c.chains[dot.Replica]
	if !ok && dot.Seq > 1 {
		prev, ok, err = c.reader.LogChain(crdt.Dot{Replica: dot.Replica, Seq: dot.Seq - 1})
		if err != nil {
			return next, storeError(err)
		}
		if !ok {
			return next, storeError(fmt.Errorf("the log lacks the predecessor of %v", dot))
		}
	}
	return NextChain(prev, encoded), nil
}

func (c *Core) mutate(hd crdt.Header, m *crdt.Mutation) error {
	settings := Settings{Type: crdt.TypeDocument}
	var col *Collection
	if c.boot.holds(store.DocKey{Collection: m.Collection, ID: m.ID}, hd.Dot) {
		return nil
	}
	if !m.Collection.IsZero() {
		if col = c.catalog.byDot[m.Collection]; col == nil {
			return fmt.Errorf("%w: collection %v is not known", crdt.ErrCorrupt, m.Collection)
		}
		settings = col.Settings
	}
	if m.Type != settings.Type {
		return fmt.Errorf("%w: a %v mutation in a %v collection", crdt.ErrCorrupt, m.Type, settings.Type)
	}
	e, err := c.load(store.DocKey{Collection: m.Collection, ID: m.ID}, m.Type)
	if errors.Is(err, ErrDamaged) {
		return nil // the log has it: see repair.go
	}
	if err != nil {
		return err
	}
	if m.Decision == crdt.DecisionKeep {
		return c.keep(e, hd, m)
	}
	if err := c.keepVersion(e, settings); err != nil {
		return err
	}
	taken := c.overrules(e, col, hd, m)
	if err := e.state.Apply(hd, *m); err != nil {
		return err
	}
	e.record, e.tag = nil, ""
	c.cost += e.size
	if !e.dirty {
		e.dirty = true
		c.dirty = append(c.dirty, e)
	}
	if m.Collection.IsZero() {
		return c.systemChanged(m.ID, e.state)
	}
	if len(settings.Bounds) > 0 {
		c.shares.touched[e.key] = true
	}
	return c.watch(e, col, hd, m, taken)
}

// keepVersion saves the state that is about to be changed, so that later writes
// can be based on it.
func (c *Core) keepVersion(e *entry, s Settings) error {
	heads := e.state.Heads()
	if s.KeepVersions == 0 || !heads.Visible() {
		return nil
	}
	state := e.record
	if state == nil {
		var err error
		if state, err = (&record{state: e.state, saved: e.saved}).append(nil); err != nil {
			return err
		}
	}
	if c.older.fillsBatch() {
		c.cost += len(state)
		c.older.fresh++
	}
	put := store.VersionPut{
		Key: e.key, Slot: uint32(e.saved % uint64(s.KeepVersions)), Tag: e.versionTag(),
		State: state, Expires: c.now.Add(s.KeepAge),
	}
	c.older.add(&olderVersion{VersionPut: put, of: e, at: c.uptime}, s.KeepVersions)
	e.saved++
	return nil
}

func (c *Core) load(key store.DocKey, t crdt.Type) (*entry, error) {
	if d := c.repair.damaged[key]; d != nil && c.cache.entries[key] == nil {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, d.Reason)
	}
	e, err := c.cache.load(key, t)
	if errors.Is(err, ErrDamaged) && !key.Collection.IsZero() {
		c.damage(key, err)
		return nil, err
	}
	if err != nil {
		return nil, storeError(err)
	}
	return e, nil
}

// errStore marks failures of the store, which end the core, among those of a request.
var errStore = errors.New("store")

func storeError(err error) error { return fmt.Errorf("%w: %w", errStore, err) }

// header is that of the next change of this replica, after ahead others that
// are about to be made. seen is the greatest stamp that its writer has seen.
func (c *Core) header(ahead int, seen crdt.Stamp) crdt.Header {
	seq := c.have.Get(c.replica) + uint64(ahead)
	return crdt.Header{
		Dot:   crdt.Dot{Replica: c.replica, Seq: seq + 1},
		Stamp: c.clock.Next(c.now, seen),
		Deps:  c.have.With(crdt.Dot{Replica: c.replica, Seq: seq}),
	}
}

func (c *Core) send(peer string, m wire.Message) {
	c.fx.Sends = append(c.fx.Sends, Send{Peer: peer, Message: m})
}

func (c *Core) note(warn bool, text string, args ...any) {
	c.fx.Notes = append(c.fx.Notes, Note{Warn: warn, Text: text, Args: args})
}

// Catalog is what is known of collections and replicas.
func (c *Core) Catalog() *Catalog { return c.catalog }
