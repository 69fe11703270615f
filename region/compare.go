package region

import (
	"context"
	"fmt"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// MaxCompareDocuments bounds how many documents Compare reads.
const MaxCompareDocuments = 10_000

// A Compared is a document in conflict, under the policy of its collection and
// under another one.
type Compared struct {
	ID        string
	Now, Then crdt.View
	// Asked are the conflicts that the other policy was asked about, with what
	// it made of them: also those within versions that are not shown.
	Asked []crdt.Resolved
}

// Comparison is how much Compare has read.
type Comparison struct {
	// Scanned are all documents that were read, Conflicted those in conflict.
	Scanned, Conflicted int
	// Truncated says that the collection has more than were read.
	Truncated bool
	// Have is the region's vector at the moment of the comparison.
	Have crdt.Vector
}

// Compare reads documents of a collection, at most MaxCompareDocuments, and
// visits those in conflict with what another policy would make of them. It
// changes nothing. It ends early when visit fails.
func (r *Region) Compare(ctx context.Context, collection string, other conflict.Resolver, visit func(*Compared) error) (Comparison, error) {
	col, err := r.Collection(collection)
	if err != nil {
		return Comparison{}, err
	}
	catalog := r.published.Load().catalog
	snap := r.store.Snapshot()
	defer snap.Close()
	var c Comparison
	if c.Have, err = core.DurableHave(snap); err != nil {
		return Comparison{}, readError(err)
	}
	for e, err := range snap.Docs(col.Incarnation, "", "") {
		if err != nil {
			return c, readError(err)
		}
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if c.Scanned == MaxCompareDocuments {
			c.Truncated = true
			break
		}
		s, err := core.DecodeDocument(e.State)
		if err != nil {
			key := store.DocKey{Collection: col.Incarnation, ID: e.ID}
			return c, r.suspect(key, readError(fmt.Errorf("document %q of %s: %w", e.ID, col.Name, err)))
		}
		now := s.View(catalog.Resolve(col, e.ID))
		if !now.Exists {
			continue
		}
		c.Scanned++
		if len(now.Conflicts) == 0 {
			continue
		}
		c.Conflicted++
		d := Compared{ID: e.ID, Now: now}
		ask := conflict.View(other, conflict.Context{Collection: col.Name, ID: e.ID}, catalog.Region)
		d.Then = s.View(func(con crdt.Conflict) crdt.Outcome {
			out := ask(con)
			d.Asked = append(d.Asked, crdt.Resolved{Conflict: con, Outcome: out})
			return out
		})
		if err := visit(&d); err != nil {
			return c, err
		}
	}
	return c, nil
}
