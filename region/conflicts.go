package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/store"
)

// ErrFeedGone says that what has changed since the place that is named is not kept any
// more; read the list, and follow from there (HTTP 410).
var ErrFeedGone = errors.New("the changes are not kept any more")

// ConflictQuery says which conflicts to list. What is not set does not matter.
type ConflictQuery struct {
	// Collection is a name, or an incarnation written as a dot.
	Collection string
	State      journal.State
	// Region is one that wrote a version.
	Region string
	// Since is when a conflict must have been seen here, or later.
	Since time.Time
	// Before is the Seq of the last record of the page before, 0 for the first page.
	Before uint64
	// Limit is the most records on a page, 1 to MaxListLimit.
	Limit int
}

// A ConflictPage is a part of the conflict log, the newest first.
type ConflictPage struct {
	Records []*journal.Record
	// More says that there are others behind the last one.
	More bool
	// Changes is the rev of the log's last change: what a feed can go on from.
	Changes uint64
	Have    crdt.Vector
}

// Conflicts lists the conflicts that this region saw, the newest first.
func (r *Region) Conflicts(ctx context.Context, q ConflictQuery) (ConflictPage, error) {
	if q.Limit < 1 || q.Limit > MaxListLimit {
		return ConflictPage{}, fmt.Errorf("%w: limit must be 1 to %d", core.ErrInvalid, MaxListLimit)
	}
	if q.State != "" && !slices.Contains(journal.States, q.State) {
		return ConflictPage{}, fmt.Errorf("%w: a conflict's state is one of %q, not %.40q", core.ErrInvalid, journal.States, q.State)
	}
	f := conflictlog.Filter{State: q.State, Region: q.Region, Since: q.Since}
	if q.Collection != "" {
		catalog, err := r.catalog()
		if err != nil {
			return ConflictPage{}, err
		}
		if f.Collections, err = incarnations(catalog, q.Collection); err != nil {
			return ConflictPage{}, err
		}
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	var p ConflictPage
	var err error
	if p.Have, err = core.DurableHave(snap); err != nil {
		return ConflictPage{}, readError(err)
	}
	if p.Changes, err = conflictlog.LastChange(snap); err != nil {
		return ConflictPage{}, readError(err)
	}
	if p.Records, p.More, err = conflictlog.List(snap, f, q.Before, q.Limit); err != nil {
		return ConflictPage{}, readError(err)
	}
	return p, ctx.Err()
}

// incarnations are those that go, or went, by a name.
func incarnations(catalog *core.Catalog, name string) (out []crdt.Dot, err error) {
	for _, c := range catalog.Collections() {
		if c.Name == name {
			out = append(out, c.Incarnation)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	c, err := catalog.Collection(name)
	if err != nil {
		return nil, err
	}
	return []crdt.Dot{c.Incarnation}, nil
}

// ConflictChanges returns the records of the log that changed after a rev, in the
// order of their last changes, at most limit, and the rev to go on from. It waits
// until there are some, or ctx ends.
func (r *Region) ConflictChanges(ctx context.Context, after uint64, limit int) ([]*journal.Record, uint64, error) {
	for {
		p := r.published.Load()
		if p.conflicts.Changes != after {
			records, upTo, ok, err := conflictlog.Changes(r.store, after, limit)
			switch {
			case err != nil:
				return nil, after, readError(err)
			case !ok:
				return nil, after, fmt.Errorf("%w: change %d", ErrFeedGone, after)
			case len(records) > 0:
				return records, upTo, nil
			}
			after = upTo
		}
		select {
		case <-p.changed:
		case <-r.stopped:
			return nil, after, ErrStopped
		case <-ctx.Done():
			return nil, after, ctx.Err()
		}
	}
}

// ConflictStatus tells of the conflict log, and counts conflicts by collection
// and policy since the start.
func (r *Region) ConflictStatus() core.ConflictStatus { return r.published.Load().conflicts }

// RestoreConflict writes a version of a conflict back, over what is there now. It
// is a write like any other.
func (r *Region) RestoreConflict(ctx context.Context, ask core.Restore) (core.Receipt, error) {
	return r.write(ctx, ask, r.cfg.WriteTimeout)
}

// A ConflictDetail is all that this region knows of a conflict.
type ConflictDetail struct {
	*journal.Record
	// Stands says that the versions stand side by side at present.
	Stands bool
	// Values are the versions' values, also those that are too large for the
	// record as far as they can be had: nil where they cannot.
	Values []*journal.Place
	// Saw is what the region of each version held when it wrote it, empty if that
	// is not known any more.
	Saw []crdt.Vector
	// Tag names the present version of the document, "" if there is none, and
	// Place is what it shows where the conflict was.
	Tag   string
	Place journal.Place
	// Present is the policy of the collection as it is now, and PresentOutcome
	// what it makes of the versions.
	Present        journal.Policy
	PresentOutcome ConflictOutcome
	// Collection is the one of the document as it is now.
	Collection *core.Collection
	Have       crdt.Vector
}

// A ConflictOutcome is what a policy makes of a conflict.
type ConflictOutcome struct {
	// Shown is the version that is shown; zero if Place is a value of the policy's
	// own, or nothing is shown.
	Shown crdt.Dot
	Place journal.Place
	Open  bool
	// Pending says that a callback is still to decide.
	Pending bool
	// Failed says why the policy could not decide, "" if it could.
	Failed string
	Why    string
}

// Conflict explains one conflict by its id, present or past.
func (r *Region) Conflict(ctx context.Context, id journal.ID) (ConflictDetail, error) {
	catalog := r.published.Load().catalog
	snap := r.store.Snapshot()
	defer snap.Close()
	record, err := conflictlog.Find(snap, id)
	if err != nil {
		return ConflictDetail{}, readError(err)
	}
	if record == nil {
		return ConflictDetail{}, fmt.Errorf("%w: %v", core.ErrUnknownConflict, id)
	}
	d, err := newDetail(catalog, snap, record)
	if err != nil {
		return ConflictDetail{}, r.suspect(store.DocKey{Collection: record.Collection, ID: record.Document}, err)
	}
	return d.ConflictDetail, ctx.Err()
}

// A detail is a record with the document that it is about.
type detail struct {
	ConflictDetail
	catalog *core.Catalog
	state   crdt.State // nil if there is none
}

func newDetail(catalog *core.Catalog, snap store.Reader, record *journal.Record) (*detail, error) {
	d := &detail{catalog: catalog, ConflictDetail: ConflictDetail{Record: record}}
	var err error
	if d.Have, err = core.DurableHave(snap); err != nil {
		return nil, readError(err)
	}
	if d.Collection, err = catalog.Collection(record.Collection.String()); err != nil {
		return nil, err
	}
	key := store.DocKey{Collection: record.Collection, ID: record.Document}
	b, err := snap.Doc(key)
	if err != nil {
		return nil, readError(err)
	}
	if b != nil {
		if d.state, err = core.DecodeDocument(b); err != nil {
			return nil, readError(err)
		}
	}
	standing, err := conflictlog.StandingIn(snap, key)
	if err != nil {
		return nil, readError(err)
	}
	d.Stands = slices.ContainsFunc(standing, func(s conflictlog.Standing) bool { return s.Seq == record.Seq })
	if err := d.fillVersions(snap); err != nil {
		return nil, err
	}
	d.Present = core.PolicyAt(d.Collection, record.Path)
	if d.state != nil && d.state.Heads().Visible() {
		d.Tag = crdt.VersionTag(d.state.Heads().Dots())
		view := d.state.View(catalog.Resolve(d.Collection, record.Document))
		d.Place = placeIn(view, record.Path)
	}
	d.PresentOutcome = d.outcome(catalog.Resolve(d.Collection, record.Document))
	return d, nil
}

// fillVersions adds what is known of the versions beside their record.
func (d *detail) fillVersions(snap store.Reader) error {
	changeOf := func(dot crdt.Dot) (*crdt.Change, error) { return logged(snap, dot) }
	for i := range d.Versions {
		v := &d.Versions[i]
		ch, err := changeOf(v.Dot)
		if err != nil {
			return err
		}
		saw := crdt.Vector{}
		if ch != nil {
			saw = ch.Deps
		}
		d.Saw = append(d.Saw, saw)
		var at *journal.Place
		if !v.Deleted {
			x, err := core.KeptValue(d.Record, v.Dot, d.state, changeOf)
			switch {
			case err == nil:
				at = &journal.Place{There: true, Value: x}
			case !errors.Is(err, journal.ErrNotKept):
				return readError(err)
			}
		}
		d.Values = append(d.Values, at)
	}
	return nil
}

// logged reads a change from the log, nil if it is not there.
func logged(r store.Reader, d crdt.Dot) (*crdt.Change, error) {
	for e, err := range r.Log(d.Replica, d.Seq, d.Seq) {
		if err != nil {
			return nil, readError(err)
		}
		ch, _, err := crdt.DecodeChange(slices.Clone(e.Change))
		if err != nil {
			return nil, readError(err)
		}
		return ch, nil
	}
	return nil, nil
}
