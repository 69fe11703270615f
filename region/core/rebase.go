package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// What a store had set aside (rejoin.go) is made anew, document by document, once the
// region takes writes again. The old operations cannot be taken as they are: the
// others have trimmed what was concurrent with them. So they are applied to a copy of the
// document that is thrown away, which merges them as they would have been, and the
// difference to the present is written as an ordinary change. Where the old changes
// are in conflict with what the others wrote, their values are written beside
// those, so that the policy judges and the conflict log has both.
//
// What cannot be written so is written into the collection [SetAside], as a whole.

// errUnplaced says that what was set aside cannot be written where it belongs.
var (
	errUnplaced = errors.New("it has no place any more")
	// errLater says that it can be written when this replica has its region's shares.
	errLater = errors.New("later")
	// errStuck says that it can be written nowhere.
	errStuck   = errors.New("it can be written nowhere")
	errDeleted = fmt.Errorf("%w: it was deleted elsewhere, and deletions win", errUnplaced)
)

// rebasing is how far that is.
type rebasing struct {
	// left is how many changes of documents are set aside, to be made anew, claimed whether
	// that is written down.
	left    int
	claimed bool
	// contested is the claim, as long as others could have made the same.
	contested crdt.Vector
	// leftTo is the catalog as long as others have to make something anew first, noClaims that
	// in which this region has no claim that is to be ended.
	leftTo, noClaims *Catalog
	// postponed are documents that cannot be made anew for now, true for those that wait
	// for shares of bounded counters; stalled says that they are all that is left.
	postponed map[store.DocKey]bool
	stalled   bool
	counts    Rebased
}

// An oldDoc is a document with the changes of it that were set aside.
type oldDoc struct {
	key     store.DocKey
	changes []*crdt.Change // one mutation each, in causal order
	names   []string       // of the records: those of the changes first
	state   crdt.State     // as the store had it, nil if it had none or damaged says that it cannot be read
	damaged bool
	begun   uint64 // the number of this replica's last change before it is brought in
}

func (d *oldDoc) has(x crdt.Dot) bool {
	return slices.ContainsFunc(d.changes, func(ch *crdt.Change) bool { return ch.Dot == x })
}

func (d *oldDoc) mutation(i int) *crdt.Mutation { return &d.changes[i].Mutations[0] }

// rebases reports whether there is something to be made anew, and it can be.
func (c *Core) rebases() bool {
	return c.rebasing.left > 0 && c.boot.phase == bootNone && c.synced && c.announced && c.writable() == nil &&
		(c.rebasing.contested.Len() == 0 || c.sync.stable.Covers(c.rebasing.contested)) && c.rebasing.leftTo != c.catalog &&
		(!c.rebasing.stalled || c.succeeds() && c.waitsForShares())
}

// waitsForShares reports whether there are documents that wait for this replica to have its
// region's shares of bounded counters.
func (c *Core) waitsForShares() bool {
	return slices.Contains(slices.Collect(maps.Values(c.rebasing.postponed)), true)
}

// succeeds reports whether this replica has what its region's earlier ones had of bounded
// counters (see inherit).
func (c *Core) succeeds() bool { return c.sync.stable.Contains(c.first()) }

// rebase makes anew what was set aside, as much as a step takes.
func (c *Core) rebase() error {
	if !c.rebases() {
		return c.endClaims()
	}
	a, err := c.claim()
	if err != nil || c.rebasing.contested.Len() > 0 {
		return err
	}
	if c.rebasing.leftTo = nil; c.awaits(&a) {
		c.rebasing.leftTo = c.catalog
		return nil
	}
	if c.succeeds() {
		maps.DeleteFunc(c.rebasing.postponed, func(_ store.DocKey, forShares bool) bool { return forShares })
		c.rebasing.stalled = false
	}
	for c.rebasing.left > 0 && c.room() {
		d, err := c.nextAside()
		if err != nil {
			return err
		}
		if d == nil && len(c.rebasing.postponed) > 0 {
			c.rebasing.stalled = true
			return nil
		}
		if d == nil {
			c.rebasing.left = 0
			break
		}
		all := len(d.changes)
		if err = c.leaveToOthers(d, &a); err == nil && len(d.changes) > 0 {
			err = c.bringIn(d)
		}
		if later := errors.Is(err, errLater); later || errors.Is(err, errStuck) {
			c.rebasing.postponed[d.key] = later
			continue
		}
		if err != nil {
			return err
		}
		c.rebasing.left = max(0, c.rebasing.left-all)
		for _, name := range d.names {
			c.putMeta(name, nil)
		}
	}
	if c.rebasing.left == 0 {
		c.putMeta(metaAside, nil)
		if a.made.Len() > 0 {
			c.putMeta(metaAside, (&asideRecord{made: a.made}).encode()) // until that is said (endClaims)
		}
		for r, err := range c.reader.MetaRange(asideStatePrefix, "") {
			if err != nil {
				return storeError(err)
			}
			c.putMeta(r.Name, nil) // of collections
		}
		c.note(false, "all that this region had written and no other had is brought in", "documents", c.rebasing.counts.Documents,
			"conflicts", c.rebasing.counts.Conflicts, "set_aside", c.rebasing.counts.SetAside)
	}
	return nil
}

// Rebased counts what was brought in of a store that came back, since the start of the process.
type Rebased struct {
	// Documents were written, Conflicts of fields with what others had written.
	Documents, Conflicts int
	// SetAside are those that went to the collection of that name.
	SetAside int
	// Left is how many changes of documents are still to be brought in.
	Left int
}

// nextAside reads the next document that was set aside, those of the system collection
// last: they tell what the collections were. It returns nil at the end.
func (c *Core) nextAside() (*oldDoc, error) {
	system := asideName(asidePrefix, store.DocKey{})
	system = system[:len(system)-1] // ids follow
	for _, after := range []string{system + "\xff", ""} {
		d := &oldDoc{}
		for r, err := range c.reader.MetaRange(asidePrefix, after) {
			if err != nil {
				return nil, storeError(err)
			}
			if _, done := c.batch.Meta[r.Name]; done {
				continue
			}
			key, err := parseAside(r.Name)
			if err != nil {
				return nil, storeError(err)
			}
			if _, later := c.rebasing.postponed[key]; later {
				continue
			}
			if len(d.changes) > 0 && key != d.key {
				break
			}
			ch, _, err := crdt.DecodeChange(slices.Clone(r.Value))
			if err != nil {
				return nil, storeError(err)
			}
			d.key, d.changes, d.names = key, append(d.changes, ch), append(d.names, r.Name)
		}
		if len(d.changes) == 0 {
			continue
		}
		name := asideName(asideStatePrefix, d.key)
		record, err := c.reader.Meta(name)
		if err != nil {
			return nil, storeError(err)
		}
		if record != nil {
			if !d.key.Collection.IsZero() {
				d.names = append(d.names, name) // the others tell what a collection was, until the end
			}
			s, err := DecodeDocument(record)
			if d.damaged = err != nil; !d.damaged {
				d.state = s
			}
		}
		return d, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// bringIn writes what was set aside of a document.
func (c *Core) bringIn(d *oldDoc) error {
	d.begun = c.have.Get(c.replica)
	if d.key.Collection.IsZero() {
		return c.bringInSystem(d)
	}
	col, err := c.asideCollection(d.key.Collection)
	if err == nil {
		err = c.place(d, col)
	}
	if errors.Is(err, errStore) {
		return err
	}
	if lack := (*ShareError)(nil); errors.As(err, &lack) && !c.succeeds() {
		return errLater
	}
	if err != nil {
		return c.putAside(d, col, err)
	}
	return nil
}

// asideCollection finds or makes the collection that the documents of one belong to
// now. If the others never heard of it, that of the same name.
func (c *Core) asideCollection(dot crdt.Dot) (*Collection, error) {
	col := c.catalog.byDot[dot]
	if col == nil {
		old, err := c.oldCollection(dot)
		if err != nil {
			return nil, err
		}
		if col, err = c.catalog.Collection(old.Name); err != nil && !old.Deleted {
			if err := c.checkNew(old.Name, 0); err != nil {
				return old, err
			}
			fresh := &Collection{Name: old.Name, Settings: old.Settings, Explicit: old.Explicit}
			fresh.Settings.Homes = nil
			if err := c.createCollection(fresh); err != nil {
				return old, err
			}
			col = c.catalog.byDot[fresh.Incarnation]
		}
		if old.Deleted || col.Settings.Type != old.Settings.Type {
			return old, fmt.Errorf("%w: the collection was deleted, or is of another type elsewhere", errUnplaced)
		}
	}
	if col.Deleted {
		return col, fmt.Errorf("%w: the collection was deleted", errUnplaced)
	}
	return col, nil
}

// oldCollection is a collection as the store had it that set things aside.
func (c *Core) oldCollection(dot crdt.Dot) (*Collection, error) {
	id := collectionID(dot)
	record, err := c.reader.Meta(asideName(asideStatePrefix, store.DocKey{ID: id}))
	if err != nil {
		return nil, storeError(err)
	}
	if record == nil {
		return nil, fmt.Errorf("%w: nothing is known of its collection", errUnplaced)
	}
	s, err := DecodeDocument(record)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnplaced, err)
	}
	return c.parseCollection(dot, value.Append(nil, c.systemView(id, s).Value, value.Options{}))
}

// bringInSystem brings in settings of collections. What else there is in the system
// collection is the cluster's business, which has gone on.
func (c *Core) bringInSystem(d *oldDoc) error {
	if !strings.HasPrefix(d.key.ID, collectionPrefix) {
		if !strings.HasPrefix(d.key.ID, replicaPrefix) {
			c.note(true, "what this region had changed of the cluster itself is not brought in", "document", d.key.ID)
		}
		return nil
	}
	dot, err := crdt.ParseDot(strings.TrimPrefix(d.key.ID, collectionPrefix))
	if err != nil {
		return storeError(err)
	}
	if c.catalog.byDot[dot] == nil {
		if _, err := c.asideCollection(dot); err != nil && !errors.Is(err, errUnplaced) {
			return err
		}
		return nil
	}
	e, err := c.load(store.DocKey{ID: d.key.ID}, crdt.TypeDocument)
	if err != nil {
		return err
	}
	merged := e.state.Clone()
	for i, ch := range d.changes {
		if err := merged.Apply(ch.Header, *d.mutation(i)); err != nil {
			c.note(true, "settings of a collection are not brought in", "collection", dot, "error", err)
			return nil
		}
	}
	now := value.Append(nil, c.systemView(d.key.ID, merged).Value, value.Options{})
	if string(now) == string(value.Append(nil, c.systemView(d.key.ID, e.state).Value, value.Options{})) {
		return nil
	}
	return c.updateSystem(systemDoc{d.key.ID, rawJSON(now)})
}

type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
