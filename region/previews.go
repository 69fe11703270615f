package region

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
)

// A ConflictPreview is what would become of a conflict under another policy.
type ConflictPreview struct {
	*journal.Record
	Policy  journal.Policy
	Outcome ConflictOutcome
	// Now is what the document shows in the place of the conflict.
	Now journal.Place
	// Diff is a JSON patch of the document as it stands; empty if nothing would change.
	Diff []journal.DiffOp
	// Unknown says that a value that the policy would need is not kept any more.
	Unknown bool
}

// MaxPreviews is the most conflicts that are previewed at once.
const MaxPreviews = 1000

// PreviewConflict says what would be made of a conflict under a policy. Nothing is written.
func (r *Region) PreviewConflict(ctx context.Context, id journal.ID, p conflict.Resolver) (ConflictPreview, error) {
	catalog := r.published.Load().catalog
	snap := r.store.Snapshot()
	defer snap.Close()
	record, err := conflictlog.Find(snap, id)
	if err != nil {
		return ConflictPreview{}, readError(err)
	}
	if record == nil {
		return ConflictPreview{}, fmt.Errorf("%w: %v", core.ErrUnknownConflict, id)
	}
	d, err := newDetail(catalog, snap, record)
	if err != nil {
		return ConflictPreview{}, err
	}
	return d.preview(p), ctx.Err()
}

// PreviewConflicts does so for the last conflicts of a collection, the newest
// first, if p were the collection's policy: its rules for fields stay.
func (r *Region) PreviewConflicts(ctx context.Context, collection string, p conflict.Resolver, last int) ([]ConflictPreview, error) {
	if last < 1 || last > MaxPreviews {
		return nil, fmt.Errorf("%w: 1 to %d conflicts can be previewed at once, not %d", core.ErrInvalid, MaxPreviews, last)
	}
	col, err := r.Collection(collection)
	if err != nil {
		return nil, err
	}
	catalog := r.published.Load().catalog
	snap := r.store.Snapshot()
	defer snap.Close()
	records, _, err := conflictlog.List(snap, conflictlog.Filter{Collections: []crdt.Dot{col.Incarnation}}, 0, last)
	if err != nil {
		return nil, readError(err)
	}
	out := make([]ConflictPreview, 0, len(records))
	for _, record := range records {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := newDetail(catalog, snap, record)
		if err != nil {
			return nil, err
		}
		out = append(out, d.preview(conflict.At(col.Settings.Fields.Over(p), record.Path)))
	}
	return out, nil
}

// preview compares what a policy would show with what stands.
func (d *detail) preview(p conflict.Resolver) ConflictPreview {
	resolve := conflict.View(p, conflict.Context{Collection: d.Record.Name, ID: d.Document}, d.catalog.Region)
	out := ConflictPreview{Record: d.Record, Policy: journal.PolicyOf(p), Outcome: d.outcome(resolve), Now: d.Place, Diff: []journal.DiffOp{}}
	switch {
	case d.Kind == journal.Overruled:
		// No policy brings back what a deletion that wins has taken away.
	case !out.Outcome.Place.There:
		out.Unknown = true
	default:
		out.Diff = journal.Diff(d.Path, d.Place, out.Outcome.Place)
	}
	return out
}

// outcome asks a policy about the conflict: as it stands in the document or, if
// it does not any more, as it is in the record.
func (d *detail) outcome(resolve crdt.Resolve) ConflictOutcome {
	if d.Stands && d.state != nil {
		found, view := core.ConflictsIn(d.state, resolve)
		for i := range found {
			f := &found[i]
			if f.Path == d.Path && journal.IDOf(d.Record.Collection, d.Document, f.Path, dotsOf(f)) == d.ID {
				return outcomeOf(f, view)
			}
		}
	}
	recorded := ConflictOutcome{Shown: d.Outcome.Shown, Open: d.Outcome.Open, Pending: d.Outcome.Pending, Failed: d.Outcome.Failed, Why: d.Outcome.Why}
	if k := slices.IndexFunc(d.Versions, func(v journal.Version) bool { return v.Dot == d.Outcome.Shown }); k >= 0 && d.Values[k] != nil {
		recorded.Place = *d.Values[k]
	}
	c := crdt.Conflict{Path: d.Path}
	for i := range d.Versions {
		v := &d.Versions[i]
		if v.Deleted {
			continue
		}
		if d.Values[i] == nil {
			return recorded
		}
		c.Versions = append(c.Versions, crdt.Version{Dot: v.Dot, Stamp: v.Stamp, Value: d.Values[i].Value})
	}
	deleted := len(c.Versions) < len(d.Versions)
	if d.Kind == journal.Overruled || len(c.Versions) < 2 || deleted && d.Type != crdt.TypeRegister.String() {
		return recorded
	}
	f := crdt.Resolved{Conflict: c, Outcome: resolve(c)}
	return outcomeOf(&f, crdt.View{})
}

func dotsOf(r *crdt.Resolved) []crdt.Dot {
	out := make([]crdt.Dot, len(r.Versions))
	for i := range r.Versions {
		out[i] = r.Versions[i].Dot
	}
	return out
}

func outcomeOf(f *crdt.Resolved, view crdt.View) ConflictOutcome {
	out := ConflictOutcome{Open: f.Open, Pending: f.Pending, Failed: f.Failed, Why: f.Reason}
	if f.Shown < 0 || f.Shown >= len(f.Versions) {
		out.Place = journal.Place{There: true, Value: f.Value}
		return out
	}
	v := &f.Versions[f.Shown]
	out.Shown, out.Place = v.Dot, journal.Place{There: !v.Deleted, Value: v.Value}
	if f.Path == "" && view.Exists {
		out.Place = journal.Place{There: true, Value: view.Value}
	}
	return out
}

func placeIn(view crdt.View, path string) journal.Place {
	p, err := value.ParsePointer(path)
	if err != nil || !view.Exists {
		return journal.Place{}
	}
	v, there := value.Find(view.Value, p)
	return journal.Place{There: there, Value: v}
}

// ParsePolicy reads a policy as requests have it.
func ParsePolicy(b []byte) (conflict.Resolver, error) {
	p, err := conflict.Parse(b)
	if errors.Is(err, conflict.ErrBadPolicy) {
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	return p, err
}
