package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

func (c *Core) submit(ask any) (any, error) {
	switch ask := ask.(type) {
	case Inspect:
		return c.status(), nil
	case Await:
		c.await(ask.Want, ask.For, true)
		return nil, nil //nolint:nilnil // there is nothing to say
	case Tell:
		c.tell(ask)
		return nil, nil //nolint:nilnil // there is nothing to say
	case Write:
		return c.write(ask)
	case Recheck:
		return nil, c.recheck(ask)
	case Restore:
		return c.restore(ask)
	case PutCollection:
		return c.putCollection(ask)
	case DropCollection:
		return c.dropCollection(ask)
	case SetHome:
		return c.setHome(ask)
	case AddRegion:
		return c.addRegion(ask)
	case RemoveRegion:
		return c.removeRegion(ask)
	case SetTopology:
		return c.setTopology(ask)
	}
	panic(fmt.Sprintf("core: unknown request %T", ask))
}

// A target is one document of a write that is being made.
type target struct {
	col    *Collection
	create bool // col is to be made first
	entry  *entry
	before bool // the document existed
}

// write makes one change of all the edits, or none if any of them fails.
func (c *Core) write(w Write) (Receipt, error) {
	if err := c.mayWrite(); err != nil {
		return Receipt{}, err
	}
	if r, done, err := c.repeated(w.Request, w.Await); done || err != nil {
		return r, err
	}
	if len(w.Docs) == 0 || len(w.Docs) > c.cfg.Limits.WriteDocs {
		return Receipt{}, fmt.Errorf("%w: a write has 1 to %d documents, not %d", ErrInvalid, c.cfg.Limits.WriteDocs, len(w.Docs))
	}
	if err := c.checkResidency(&w); err != nil {
		return Receipt{}, err
	}
	if err := c.checkHomes(&w); err != nil {
		return Receipt{}, err
	}
	targets, created, seen, err := c.targets(w)
	if err == nil {
		var r Receipt
		if r, err = c.writeTargets(w, targets, created, seen); err == nil {
			return r, nil
		}
	}
	// What is to be made under the dots that this write would have taken may be
	// of another type.
	for i := range targets {
		if t := &targets[i]; t.create && t.entry != nil {
			c.cache.remove(t.entry)
		}
	}
	return Receipt{}, err
}

func (c *Core) writeTargets(w Write, targets []target, created []*Collection, seen crdt.Stamp) (_ Receipt, err error) {
	hd := c.header(len(created), seen)
	ch := &crdt.Change{Header: hd, Trace: w.Trace, Mutations: make([]crdt.Mutation, len(w.Docs))}
	for i := range w.Docs {
		if ch.Mutations[i], err = c.prepare(&w.Docs[i], &targets[i], hd); err != nil {
			return Receipt{}, inDoc(w, i, err)
		}
	}
	ch.Request = answerTo(w.Request, ch, targets)
	encoded, err := c.encode(ch)
	if err != nil {
		return Receipt{}, err
	}
	for _, col := range created {
		if err := c.createCollection(col); err != nil {
			return Receipt{}, err
		}
	}
	if err := c.commitOwn(ch, encoded); err != nil {
		return Receipt{}, err
	}
	if w.Await > 0 {
		c.await(crdt.VectorOf(hd.Dot), w.Await, false)
	}
	r := Receipt{Dot: hd.Dot, Stamp: hd.Stamp, Have: c.have, Docs: make([]DocReceipt, len(w.Docs))}
	for i := range targets {
		t, heads := &targets[i], targets[i].entry.state.Heads()
		r.Docs[i] = DocReceipt{
			Collection: c.catalog.byDot[t.col.Incarnation], ID: w.Docs[i].ID,
			Tag: t.entry.versionTag(), Exists: heads.Visible(), Created: heads.Visible() && !t.before,
		}
	}
	return r, nil
}

// inDoc says which document of several an error is about.
func inDoc(w Write, i int, err error) error {
	if len(w.Docs) == 1 {
		return err
	}
	return fmt.Errorf("document %d (%s/%s): %w", i, w.Docs[i].Collection, w.Docs[i].ID, err)
}

func (c *Core) encode(ch *crdt.Change) ([]byte, error) {
	c.reside(ch)
	b, err := c.exact(ch.AppendBinary)
	if err == nil && len(b) > crdt.MaxChangeBytes {
		err = fmt.Errorf("%w: %d bytes of changes, at most %d", ErrTooBig, len(b), crdt.MaxChangeBytes)
	}
	return b, err
}

// commitOwn commits a change of this replica. Its mutations were prepared
// against the states that they are applied to, so a failure is a defect.
func (c *Core) commitOwn(ch *crdt.Change, encoded []byte) error {
	if !c.contact && len(c.peers) > 0 && c.unmet == 0 {
		c.unmet = ch.Dot.Seq
	}
	if err := c.commit(ch, encoded, ""); err != nil {
		return storeError(err)
	}
	return nil
}

// targets finds the documents of a write and checks their preconditions. seen
// is the greatest stamp among them; created are collections to be made first.
func (c *Core) targets(w Write) (ts []target, created []*Collection, seen crdt.Stamp, err error) {
	ts = make([]target, len(w.Docs))
	for i := range w.Docs {
		d, t := &w.Docs[i], &ts[i]
		if err := CheckID(d.ID); err != nil {
			return ts, nil, 0, inDoc(w, i, err)
		}
		if t.col, err = c.catalog.Collection(d.Collection); err != nil {
			if created, err = c.implicit(d.Collection, created, t); err != nil {
				return ts, nil, 0, inDoc(w, i, err)
			}
		}
		key := store.DocKey{Collection: t.col.Incarnation, ID: d.ID}
		for j := range i {
			if ts[j].entry.key == key {
				return ts, nil, 0, inDoc(w, i, fmt.Errorf("%w: the same document twice in one write", ErrInvalid))
			}
		}
		if t.entry, err = c.load(key, t.col.Settings.Type); err != nil {
			return ts, nil, 0, err
		}
		heads := t.entry.state.Heads()
		t.before = heads.Visible()
		if err := d.If.check(t.entry); err != nil {
			return ts, nil, 0, inDoc(w, i, err)
		}
		seen = max(seen, heads.MaxStamp())
		if !heads.Known() {
			seen = max(seen, c.forgotten) // it may have been deleted before
		}
	}
	return ts, created, seen, nil
}

// implicit notes that an unknown collection is to be made by the write to it.
func (c *Core) implicit(name string, created []*Collection, t *target) ([]*Collection, error) {
	if i := slices.IndexFunc(created, func(x *Collection) bool { return x.Name == name }); i >= 0 {
		t.col, t.create = created[i], true
		return created, nil
	}
	if c.cfg.StrictCollections {
		return nil, fmt.Errorf("%w: %q; this server creates collections by PUT /v1/collections/%s only", ErrUnknownCollection, name, name)
	}
	if err := c.checkNew(name, len(created)); err != nil {
		return nil, err
	}
	seq := c.have.Get(c.replica) + uint64(len(created)) + 1
	t.create = true
	t.col = &Collection{Incarnation: crdt.Dot{Replica: c.replica, Seq: seq}, Name: name, Settings: DefaultSettings()}
	return append(created, t.col), nil
}

func (c *Core) checkNew(name string, ahead int) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(c.catalog.byDot)+ahead >= c.cfg.Limits.Collections {
		return fmt.Errorf("%w: there are %d collections, no more can be made", ErrInvalid, len(c.catalog.byDot))
	}
	return nil
}

func (f *Condition) check(e *entry) error {
	if !f.Absent && !f.MatchAny && len(f.Match) == 0 && len(f.NoneMatch) == 0 {
		return nil
	}
	tag := ""
	if e.state.Heads().Visible() {
		tag = e.versionTag()
	}
	switch {
	case f.Absent && tag != "":
		return fmt.Errorf("%w: the document exists", ErrPrecondition)
	case f.MatchAny && tag == "":
		return fmt.Errorf("%w: the document does not exist", ErrPrecondition)
	case len(f.Match) > 0 && tag == "":
		return fmt.Errorf("%w: the document does not exist (any more)", ErrPrecondition)
	case len(f.Match) > 0 && !slices.Contains(f.Match, tag):
		return fmt.Errorf("%w: the document has changed, read it again", ErrPrecondition)
	case tag != "" && slices.Contains(f.NoneMatch, tag):
		return fmt.Errorf("%w: the document is still this version", ErrPrecondition)
	}
	return nil
}

// prepare turns one edit into a mutation.
func (c *Core) prepare(d *DocWrite, t *target, hd crdt.Header) (crdt.Mutation, error) {
	e := d.Edit
	e.Collection, e.ID = t.col.Incarnation, d.ID
	if e.Kind == crdt.EditDelete && e.Mode == crdt.NotDelete {
		e.Mode = t.col.Settings.Delete
	}
	if d.BaseTag != "" && d.BaseTag != t.entry.versionTag() {
		record, err := c.olderVersion(t.entry, d.BaseTag)
		if err != nil {
			return crdt.Mutation{}, err
		}
		if record == nil {
			return crdt.Mutation{}, fmt.Errorf("%w: %s keeps %d older versions of a document for %v; send the base along (see Meridian-Base)",
				ErrBaseGone, t.col.Name, t.col.Settings.KeepVersions, t.col.Settings.KeepAge)
		}
		if e.Base, err = DecodeDocument(record); err != nil {
			return crdt.Mutation{}, fmt.Errorf("%w: %w; send the base along (see Meridian-Base)", ErrBaseGone, err)
		}
	}
	c.written.col, c.written.id = t.col, d.ID
	view := c.written.resolve
	var m crdt.Mutation
	var err error
	if len(t.col.Settings.Bounds) > 0 {
		m, err = c.prepareBounded(t, e, hd, view)
	} else {
		m, err = t.entry.state.Prepare(e, hd, view, c.cfg.Limits.Doc)
	}
	m.Collection, m.ID = t.col.Incarnation, d.ID
	return m, err
}

// A written is the document that is being written, for the resolve that a write is
// prepared with, which is hardly ever asked: making one for each write costs more.
type written struct {
	col     *Collection
	id      string
	resolve crdt.Resolve
}

func (c *Core) resolveWritten(con crdt.Conflict) crdt.Outcome {
	return c.catalog.Resolve(c.written.col, c.written.id)(con)
}

// Resolve is the policy of a collection, made for one of its documents.
func (c *Catalog) Resolve(col *Collection, id string) crdt.Resolve {
	return conflict.View(col.Settings.Resolver(), conflict.Context{Collection: col.Name, ID: id}, c.Region)
}

// createCollection makes a collection, in a change of its own. Its homes are
// part of it: whoever knows the collection knows them, so nobody has to be asked.
func (c *Core) createCollection(col *Collection) error {
	hd := c.header(0, 0)
	col.Incarnation, col.Born = hd.Dot, hd.Stamp
	docs := []systemDoc{{collectionID(hd.Dot), col.system()}}
	for _, want := range col.Settings.Homes {
		h, err := c.nextHome(&Home{}, want)
		if err != nil {
			return err
		}
		h.Granted = h.Strict()
		docs = append(docs, systemDoc{homeID(hd.Dot, h.Prefix), h.system()})
	}
	return c.writeSystem(hd, docs...)
}

// putCollection makes a collection or changes its settings.
func (c *Core) putCollection(p PutCollection) (CollectionReceipt, error) {
	if err := c.mayWrite(); err != nil {
		return CollectionReceipt{}, err
	}
	old, err := c.catalog.Collection(p.Name)
	if err := p.reveal(old); err != nil {
		return CollectionReceipt{}, err
	}
	if err != nil {
		if err := c.checkNew(p.Name, 0); err != nil {
			return CollectionReceipt{}, err
		}
		col := &Collection{Name: p.Name, Settings: p.Settings, Explicit: true}
		if len(col.Settings.Holders(c.members)) == 0 {
			return CollectionReceipt{}, fmt.Errorf("%w: regions: no region of the cluster matches %s, only %s are there",
				ErrInvalid, strings.Join(p.Settings.Regions, ", "), strings.Join(c.members, ", "))
		}
		if err := c.checkHeld(col); err != nil {
			return CollectionReceipt{}, err
		}
		if err := c.knowsHolders(col); err != nil {
			return CollectionReceipt{}, err
		}
		if err := c.createCollection(col); err != nil {
			return CollectionReceipt{}, err
		}
		return CollectionReceipt{Collection: c.catalog.byDot[col.Incarnation], Created: true, Have: c.have}, nil
	}
	if old.Settings.Type != p.Settings.Type {
		return CollectionReceipt{}, fmt.Errorf("%w: %s is a %v collection; the type is fixed when a collection is made",
			ErrExists, old.Name, old.Settings.Type)
	}
	if !old.Settings.Bounds.equal(p.Settings.Bounds) {
		return CollectionReceipt{}, fmt.Errorf("%w: the bounds of %s are fixed, since shares of them are out; make another collection",
			ErrExists, old.Name)
	}
	if !slices.Equal(old.Settings.Regions, p.Settings.Regions) {
		return CollectionReceipt{}, fmt.Errorf("%w: the regions that hold %s are fixed, since its changes are with them only; make another collection",
			ErrExists, old.Name)
	}
	homes, err := c.nextHomes(old, p.Settings.Homes)
	if err != nil {
		return CollectionReceipt{}, err
	}
	changed := *old
	changed.Settings, changed.Explicit = p.Settings, true
	return c.changeCollection(&changed, homes)
}

// reveal puts the secret of a callback that the collection has already in the
// place of what stands for it.
func (p *PutCollection) reveal(old *Collection) error {
	callback := conflict.CallbackOf(p.Settings.Policy)
	if callback == nil {
		return nil
	}
	var before conflict.Resolver
	if old != nil {
		before = old.Settings.Policy
	}
	callback, err := callback.Revealed(before)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p.Settings.Policy = callback
	return nil
}

func (c *Core) dropCollection(d DropCollection) (CollectionReceipt, error) {
	if err := c.mayWrite(); err != nil {
		return CollectionReceipt{}, err
	}
	old, err := c.catalog.Collection(d.Name)
	if err != nil {
		return CollectionReceipt{}, err
	}
	if err := c.checkHeld(old); err != nil {
		return CollectionReceipt{}, err
	}
	for i := range old.Homes {
		if h := &old.Homes[i]; h.Strict() {
			if err := CheckHome(c.cfg.Region, c.replica, old, h); err != nil {
				return CollectionReceipt{}, err
			}
		}
	}
	changed := *old
	changed.Deleted = true
	return c.changeCollection(&changed, nil)
}

// changeCollection writes a collection and the homes that change, in one change.
func (c *Core) changeCollection(col *Collection, homes []Home) (CollectionReceipt, error) {
	docs := []systemDoc{{collectionID(col.Incarnation), col.system()}}
	for i := range homes {
		docs = append(docs, systemDoc{homeID(col.Incarnation, homes[i].Prefix), homes[i].system()})
	}
	var seen crdt.Stamp
	for _, d := range docs {
		e, err := c.load(store.DocKey{ID: d.id}, crdt.TypeDocument)
		if err != nil {
			return CollectionReceipt{}, err
		}
		seen = max(seen, e.state.Heads().MaxStamp())
	}
	if err := c.writeSystem(c.header(0, seen), docs...); err != nil {
		return CollectionReceipt{}, err
	}
	return CollectionReceipt{Collection: c.catalog.byDot[col.Incarnation], Have: c.have}, nil
}

// A systemDoc is what a document of the system collection is to be.
type systemDoc struct {
	id  string
	doc any
}

// writeSystem writes documents of the system collection, in one change.
func (c *Core) writeSystem(hd crdt.Header, docs ...systemDoc) error {
	ch := &crdt.Change{Header: hd, Mutations: make([]crdt.Mutation, len(docs))}
	for i, d := range docs {
		b, err := json.Marshal(d.doc)
		if err != nil {
			return err
		}
		v, err := value.ParseObject(b, value.DefaultLimits)
		if err != nil {
			return err
		}
		e, err := c.load(store.DocKey{ID: d.id}, crdt.TypeDocument)
		if err != nil {
			return err
		}
		resolve := conflict.View(conflict.LWW(), conflict.Context{ID: d.id}, c.catalog.Region)
		if ch.Mutations[i], err = e.state.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: v}, hd, resolve, c.cfg.Limits.Doc); err != nil {
			return err
		}
		ch.Mutations[i].ID = d.id
	}
	encoded, err := c.encode(ch)
	if err != nil {
		return err
	}
	return c.commitOwn(ch, encoded)
}
