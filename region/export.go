package region

import (
	"context"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// Export reads one document of a type that can be saved in a format of its own,
// with all of its history that the format holds. The bytes are nil if there is
// no document; its View stays empty. For other types the error is crdt.ErrRefused.
func (r *Region) Export(_ context.Context, collection, id string) (Document, []byte, error) {
	col, err := r.Collection(collection)
	if err != nil {
		return Document{}, nil, err
	}
	if err := core.CheckID(id); err != nil {
		return Document{}, nil, err
	}
	if col.Settings.Type != crdt.TypeAutomerge {
		return Document{}, nil, fmt.Errorf("%w: %s holds documents of type %q; only those of collections of type %q have an Automerge form",
			crdt.ErrRefused, col.Name, col.Settings.Type, crdt.TypeAutomerge)
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	have, err := core.DurableHave(snap)
	if err != nil {
		return Document{}, nil, readError(err)
	}
	key := store.DocKey{Collection: col.Incarnation, ID: id}
	record, err := snap.Doc(key)
	if err != nil {
		return Document{}, nil, readError(err)
	}
	d := Document{ID: id, Collection: col, Have: have}
	if record == nil {
		return d, nil, nil
	}
	s, err := core.DecodeDocument(record)
	if err != nil {
		return d, nil, r.suspect(key, readError(fmt.Errorf("document %q of %s: %w", id, col.Name, err)))
	}
	d.Tag, d.Versions = crdt.VersionTag(s.Heads().Dots()), s.Versions()
	exporter, ok := s.(crdt.Exporter)
	if !ok {
		return d, nil, readError(fmt.Errorf("document %q of %s is of type %v", id, col.Name, s.Type()))
	}
	b, err := exporter.Export()
	if err != nil {
		return d, nil, readError(err)
	}
	return d, b, nil
}
