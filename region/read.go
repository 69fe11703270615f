package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/register"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// A Document is one document as this region has it. View and Versions may be
// shared with others who read it, and must not be changed.
type Document struct {
	ID         string
	Collection *core.Collection
	// Tag names the version: it is made of the document's heads.
	Tag  string
	View crdt.View
	// Versions are the heads, in canonical order.
	Versions []crdt.Version
	// Have is the region's vector at the moment of the read: the client's token.
	Have crdt.Vector

	kept *kept // nil unless it is kept for further readers
}

// ListOptions say which documents to list, by id.
type ListOptions struct {
	Prefix string
	// After is the id behind which to start.
	After string
	// Limit is the most documents on a page, 1 to MaxListLimit.
	Limit int
	// At is the moment to be shown: "" is the present one, AtNow too, and Page.At
	// then is a handle by which further pages show the same moment.
	At string
	// Each, if not nil, is called with each document in turn, instead of keeping
	// all of them in Page.Documents. If it returns false the page ends before the
	// document.
	Each func(*Document) bool
}

// MaxListLimit is the greatest ListOptions.Limit.
const MaxListLimit = 1000

// A Page is a part of a listing, of one moment.
type Page struct {
	Collection *core.Collection
	Documents  []Document
	// More says that there are documents behind the last one.
	More bool
	Have crdt.Vector
	// At is the handle of the page's moment, if ListOptions.At asked for one and
	// there is more.
	At string
}

// Have is what the region holds durably.
func (r *Region) Have() crdt.Vector { return r.published.Load().have }

// RegionOf returns the name of the region that a replica belongs to, "" if it
// is not known.
func (r *Region) RegionOf(id crdt.ReplicaID) string { return r.published.Load().catalog.Region(id) }

// catalog is what is known of collections. While a snapshot is being taken that
// is not all, and nothing can be read: the error is core.ErrCatchingUp.
func (r *Region) catalog() (*core.Catalog, error) {
	p := r.published.Load()
	return p.catalog, p.readable
}

// Collection finds a collection by name or incarnation.
func (r *Region) Collection(name string) (*core.Collection, error) {
	catalog, err := r.catalog()
	if err != nil {
		return nil, err
	}
	return catalog.Collection(name)
}

// checkHeld returns a *core.NotHeldError if the region does not hold a collection.
func (r *Region) checkHeld(col *core.Collection) error {
	return col.CheckHeld(r.cfg.Region, r.published.Load().members)
}

// Collections lists all incarnations, those that go by their name first.
func (r *Region) Collections() ([]*core.Collection, error) {
	catalog, err := r.catalog()
	if err != nil {
		return nil, err
	}
	return catalog.Collections(), nil
}

// Staleness is the age of the latest news of the peer that was not heard for
// the longest time; if one never was, the time since the start.
func (r *Region) Staleness() time.Duration {
	oldest := r.published.Load().oldestNews
	if oldest.IsZero() || oldest.Before(r.started) {
		oldest = r.started
	}
	if len(r.published.Load().members) == 1 {
		return 0
	}
	return max(r.cfg.Clock().Sub(oldest), 0)
}

// Wait waits until the region holds all of v. When ctx ends first the error is
// ErrBehind.
func (r *Region) Wait(ctx context.Context, v crdt.Vector) error {
	return r.await(ctx, func(p *published) (bool, error) {
		if p.have.Covers(v) {
			return true, nil
		}
		var lag uint64
		for _, s := range p.have.Missing(v) {
			lag += s.To - s.From + 1
		}
		return false, fmt.Errorf("%w: it lacks %d changes", ErrBehind, lag)
	})
}

// await waits until what is published is as wanted, or ctx ends. It returns the
// last error that wanted gave.
func (r *Region) await(ctx context.Context, wanted func(*published) (bool, error)) error {
	for {
		p := r.published.Load()
		ok, err := wanted(p)
		if ok {
			return err
		}
		select {
		case <-p.changed:
		case <-r.stopped:
			return ErrStopped
		case <-ctx.Done():
			return err
		}
	}
}

// Get reads one document. A document that is not there is no error: its View
// says that it does not exist.
func (r *Region) Get(_ context.Context, collection, id string) (Document, error) {
	p := r.published.Load()
	if p.readable != nil {
		return Document{}, p.readable
	}
	col, err := p.catalog.Collection(collection)
	if err != nil {
		return Document{}, err
	}
	if err := r.checkHeld(col); err != nil {
		return Document{}, err
	}
	if err := core.CheckID(id); err != nil {
		return Document{}, err
	}
	r.metrics.read(col, 1)
	key := store.DocKey{Collection: col.Incarnation, ID: id}
	kept, generation := r.cache.get(key, p)
	if kept != nil {
		d := kept.doc
		d.kept, d.Have = kept, p.have
		return d, nil
	}
	// The vector must not be older than the document nor newer: one snapshot.
	snap := r.store.Snapshot()
	defer snap.Close()
	have, err := core.DurableHave(snap)
	if err != nil {
		return Document{}, readError(err)
	}
	if have.Equal(p.have) {
		have = p.have // many documents are kept that were read at one moment
	}
	record, err := snap.Doc(key)
	if err != nil {
		return Document{}, readError(err)
	}
	d := Document{ID: id, Collection: col, Have: have}
	if record == nil {
		return d, nil
	}
	if err := r.suspect(key, d.fill(p.catalog, record)); err != nil {
		return d, err
	}
	d.kept = r.cache.put(key, d, p.catalog, len(record), generation)
	return d, nil
}

// suspect tells the owner of a document that could not be read, so that it is
// repaired. If the mailbox is full it is found otherwise.
func (r *Region) suspect(key store.DocKey, err error) error {
	if errors.Is(err, core.ErrDamaged) {
		select {
		case r.submits <- submission{ask: core.Recheck{Key: key}, reply: make(chan core.Reply, 1)}:
		default:
		}
	}
	return err
}

func readError(err error) error {
	if errors.Is(err, core.ErrCatchingUp) {
		return err // it began between two looks
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// fill decodes a stored document and shows it under its collection's policy.
func (d *Document) fill(catalog *core.Catalog, record []byte) error {
	s, err := core.DecodeDocument(record)
	if err != nil {
		return readError(fmt.Errorf("document %q of %s: %w", d.ID, d.Collection.Name, err))
	}
	d.Tag = crdt.VersionTag(s.Heads().Dots())
	d.View = s.View(catalog.Resolve(d.Collection, d.ID))
	d.Versions = s.Versions()
	return nil
}

// List reads a page of a collection, in the order of the ids' bytes.
func (r *Region) List(ctx context.Context, collection string, o ListOptions) (Page, error) {
	if o.Limit < 1 || o.Limit > MaxListLimit {
		return Page{}, fmt.Errorf("%w: limit must be 1 to %d", core.ErrInvalid, MaxListLimit)
	}
	m, err := r.moment(o.At)
	if err != nil {
		return Page{}, err
	}
	defer r.moments.release(m)
	col, err := m.catalog.Collection(collection)
	if err != nil {
		return Page{}, err
	}
	if err := r.checkHeld(col); err != nil {
		return Page{}, err
	}
	p := Page{Collection: col, Have: m.have}
	count := 0
	for e, err := range m.snap.Docs(col.Incarnation, o.Prefix, o.After) {
		if err != nil {
			return Page{}, readError(err)
		}
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		d := Document{ID: e.ID, Collection: col, Have: p.Have}
		if err := r.suspect(store.DocKey{Collection: col.Incarnation, ID: e.ID}, d.fill(m.catalog, e.State)); err != nil {
			return Page{}, err
		}
		if !d.View.Exists {
			continue
		}
		if count == o.Limit || o.Each != nil && !o.Each(&d) {
			p.More = true
			break
		}
		count++
		if o.Each == nil {
			p.Documents = append(p.Documents, d)
		}
	}
	r.metrics.read(col, count)
	if p.More && o.At == AtNow {
		if err := r.moments.keep(m); err != nil {
			return Page{}, err
		}
	}
	if p.More {
		p.At = m.handle
	}
	return p, nil
}

// Write makes one atomic change. It returns when the change is durable here;
// no other region is waited for (I9), but for shares of bounded counters.
func (r *Region) Write(ctx context.Context, w core.Write) (core.Receipt, error) {
	ctx, span := r.traceWrite(ctx, &w)
	w.Docs = r.encoded(w.Docs)
	receipt, err := r.write(ctx, w, r.cfg.WriteTimeout+w.Shares)
	endWrite(span, &receipt, err)
	return receipt, err
}

// encoded encodes what is put into registers, so that the owner need not: all writes of
// the region wait for it in turn. The caller's are left as they are: the owner may still
// have them when a write has timed out and is made again.
func (r *Region) encoded(docs []core.DocWrite) []core.DocWrite {
	own := false
	for i := range docs {
		if docs[i].Edit.Kind != crdt.EditPut {
			continue
		}
		c, err := r.Collection(docs[i].Collection)
		if err != nil || c.Settings.Type != crdt.TypeRegister {
			continue
		}
		if !own {
			docs, own = slices.Clone(docs), true
		}
		// What it does not take, the owner refuses, in its turn.
		docs[i].Edit.Encoded, _ = register.Encode(docs[i].Edit.Value, r.cfg.Limits.Documents().Value)
	}
	return docs
}

// write submits what a [core.Receipt] answers.
func (r *Region) write(ctx context.Context, ask any, within time.Duration) (core.Receipt, error) {
	start := time.Now()
	res, err := r.submitWithin(ctx, ask, within)
	receipt, _ := res.(core.Receipt)
	r.metrics.wrote(start, &receipt, err)
	return receipt, err
}

// PutCollection makes a collection or changes its settings.
func (r *Region) PutCollection(ctx context.Context, p core.PutCollection) (core.CollectionReceipt, error) {
	res, err := r.submit(ctx, p)
	if err != nil {
		return core.CollectionReceipt{}, err
	}
	return res.(core.CollectionReceipt), nil
}

// deleteBatch is how many documents one change of DeleteCollection deletes.
const deleteBatch = 500

// DeleteCollection deletes a collection's documents, in several changes, and
// then the collection. An edit made concurrently elsewhere survives and stays
// readable under the collection's incarnation. Documents with bounded counters need
// the shares of all regions, for which each change waits at most shares; if some
// stay away the error is a *core.ShareError, the documents that were deleted
// before stay so, and the collection stays.
func (r *Region) DeleteCollection(ctx context.Context, name string, shares time.Duration) (core.CollectionReceipt, error) {
	col, err := r.Collection(name)
	if err != nil {
		return core.CollectionReceipt{}, err
	}
	incarnation := col.Incarnation.String()
	for {
		page, err := r.List(ctx, incarnation, ListOptions{Limit: deleteBatch})
		if err != nil {
			return core.CollectionReceipt{}, err
		}
		if len(page.Documents) == 0 {
			break
		}
		w := core.Write{Shares: shares}
		for _, d := range page.Documents {
			w.Docs = append(w.Docs, core.DocWrite{Collection: incarnation, ID: d.ID, Edit: crdt.Edit{Kind: crdt.EditDelete}})
		}
		// Someone else may have deleted one of them: the next page tells.
		if _, err := r.Write(ctx, w); err != nil && !errors.Is(err, crdt.ErrNotFound) {
			return core.CollectionReceipt{}, err
		}
	}
	res, err := r.submit(ctx, core.DropCollection{Name: incarnation})
	if err != nil {
		return core.CollectionReceipt{}, err
	}
	return res.(core.CollectionReceipt), nil
}
