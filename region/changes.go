package region

import (
	"context"
	"errors"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// maxFeedScan is how many changes one call of Changes looks at, whether they are
// of the collection that is asked for or not.
const maxFeedScan = 10_000

// A Change is one change as a feed shows it.
type Change struct {
	crdt.Dot
	Stamp crdt.Stamp
	// Region is the one that wrote it.
	Region string
	// Documents are those that it touched, as they are when they are read: what was
	// written since shows already, and will come as a change of its own.
	Documents []Document
	// Cursor is what a feed goes on from behind the change.
	Cursor crdt.Vector
}

// Changes calls each with the changes that this region holds and that a cursor, which
// is a vector, does not cover: in causal order, those of one collection (a name or an
// incarnation), or of all of them for "". It waits until there are some, or ctx ends,
// and returns the vector to go on from, which moves on past what is of other
// collections too. If each returns false it ends behind that change.
//
// A cursor of another region is as good: what it covers that this region has not
// got yet will not be shown. The error is ErrFeedGone if the log does not reach
// back to the cursor.
func (r *Region) Changes(ctx context.Context, after crdt.Vector, collection string, each func(*Change) bool) (crdt.Vector, error) {
	if _, err := r.Beyond(ctx, after); err != nil {
		return after, err
	}
	return r.changesSince(ctx, after, collection, each)
}

// Beyond waits until the region holds something that a cursor does not cover, or ctx
// ends, and returns what it holds.
func (r *Region) Beyond(ctx context.Context, after crdt.Vector) (crdt.Vector, error) {
	for {
		p := r.published.Load()
		if !after.Covers(p.have) {
			return p.have, nil
		}
		select {
		case <-p.changed:
		case <-r.stopped:
			return crdt.Vector{}, ErrStopped
		case <-ctx.Done():
			return crdt.Vector{}, ctx.Err()
		}
	}
}

func (r *Region) changesSince(ctx context.Context, after crdt.Vector, collection string, each func(*Change) bool) (crdt.Vector, error) {
	catalog, err := r.catalog()
	if err != nil {
		return after, err
	}
	wanted := map[crdt.Dot]bool{}
	if collection != "" {
		named, err := incarnations(catalog, collection)
		if err != nil {
			return after, err
		}
		for _, c := range named {
			wanted[c] = true
		}
	}
	// The documents and the log of one moment.
	snap := r.store.Snapshot()
	defer snap.Close()
	have, err := core.DurableHave(snap)
	if err != nil {
		return after, readError(err)
	}
	scanned := 0
	for encoded, err := range core.Ordered(snap, after.Missing(have)) {
		if errors.Is(err, core.ErrTrimmed) {
			return after, fmt.Errorf("%w: %w", ErrFeedGone, err)
		}
		if err != nil {
			return after, readError(err)
		}
		if err := ctx.Err(); err != nil || scanned == maxFeedScan {
			return after, err
		}
		ch, _, err := crdt.DecodeChange(encoded)
		if err != nil {
			return after, readError(err)
		}
		scanned++
		c := Change{Dot: ch.Dot, Stamp: ch.Stamp, Region: catalog.Region(ch.Dot.Replica)}
		for i := range ch.Mutations {
			m := &ch.Mutations[i]
			if m.Collection.IsZero() || collection != "" && !wanted[m.Collection] {
				continue
			}
			d, err := r.feedDocument(snap, catalog, m)
			if err != nil {
				return after, err
			}
			c.Documents = append(c.Documents, d)
		}
		after = after.With(ch.Dot)
		if c.Cursor = after; len(c.Documents) > 0 && !each(&c) {
			return after, nil
		}
	}
	return after, nil
}

func (r *Region) feedDocument(snap store.Snapshot, catalog *core.Catalog, m *crdt.Mutation) (Document, error) {
	col, err := catalog.Collection(m.Collection.String())
	if err != nil {
		return Document{}, err
	}
	d := Document{ID: m.ID, Collection: col}
	key := store.DocKey{Collection: m.Collection, ID: m.ID}
	record, err := snap.Doc(key)
	if err != nil {
		return d, readError(err)
	}
	r.metrics.read(col, 1)
	if record == nil {
		return d, nil
	}
	return d, r.suspect(key, d.fill(catalog, record))
}
