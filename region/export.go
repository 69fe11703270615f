package region

import (
	"context"
	"errors"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// An Exported is a document in a format of its own.
type Exported struct {
	Document // without its View
	// Saved are the bytes, nil if there is no document.
	Saved []byte
	// Changes and Operations are how many of them are in the document's history.
	Changes, Operations int
}

// Export reads one document of a type that can be saved in a format of its own:
// with its history, or only what it shows. For other types the error is
// crdt.ErrRefused.
func (r *Region) Export(_ context.Context, collection, id string, history bool) (Exported, error) {
	catalog, err := r.catalog()
	if err != nil {
		return Exported{}, err
	}
	col, err := catalog.Collection(collection)
	if err != nil {
		return Exported{}, err
	}
	if err := r.checkHeld(col); err != nil {
		return Exported{}, err
	}
	if err := core.CheckID(id); err != nil {
		return Exported{}, err
	}
	if col.Settings.Type != crdt.TypeAutomerge {
		return Exported{}, fmt.Errorf("%w: %s holds documents of type %q; only those of collections of type %q have an Automerge form",
			crdt.ErrRefused, col.Name, col.Settings.Type, crdt.TypeAutomerge)
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	have, err := core.DurableHave(snap)
	if err != nil {
		return Exported{}, readError(err)
	}
	key := store.DocKey{Collection: col.Incarnation, ID: id}
	record, err := snap.Doc(key)
	if err != nil {
		return Exported{}, readError(err)
	}
	d := Exported{Document: Document{ID: id, Collection: col, Have: have}}
	if record == nil {
		return d, nil
	}
	s, err := core.DecodeDocument(record)
	if err != nil {
		return d, r.suspect(key, readError(fmt.Errorf("document %q of %s: %w", id, col.Name, err)))
	}
	d.Tag, d.Versions = crdt.VersionTag(s.Heads().Dots()), s.Versions()
	exporter, ok := s.(crdt.Exporter)
	if !ok {
		return d, readError(fmt.Errorf("document %q of %s is of type %v", id, col.Name, s.Type()))
	}
	d.Changes, d.Operations = exporter.Extent()
	if history {
		d.Saved, err = exporter.Export()
	} else {
		d.Saved, err = exporter.Condense(catalog.Resolve(col, id))
	}
	if err != nil && !errors.Is(err, crdt.ErrConflict) {
		err = readError(err)
	}
	return d, err
}
