package region

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// A Synced document is what its clients that hold a replica need to know of it.
type Synced struct {
	// Exists says that there is a document. Without one, Known says that its
	// deletion is remembered, and Wins that it is one which edits do not survive.
	Exists, Known, Wins bool
	// Dots are the changes that the present version is made of.
	Dots []crdt.Dot
	// History is what lives, or lived until the document was deleted.
	History *amsync.History
}

// Sync reads the history of a document of a collection of type automerge. It
// extends old, if that is an earlier one of the same document.
func (r *Region) Sync(_ context.Context, key store.DocKey, old *amsync.History) (Synced, error) {
	snap := r.store.Snapshot()
	defer snap.Close()
	record, err := snap.Doc(key)
	if err != nil {
		return Synced{}, readError(err)
	}
	out := Synced{History: amsync.NewHistory()}
	if record == nil {
		return out, nil
	}
	s, err := core.PeekAutomerge(record)
	if err == nil {
		out.History, err = s.History(old)
	}
	if err != nil {
		return Synced{}, r.suspect(key, readError(fmt.Errorf("document %q of %v: %w", key.ID, key.Collection, err)))
	}
	heads := s.Heads()
	out.Exists, out.Known, out.Wins = heads.Visible(), heads.Known(), len(heads.Wins()) > 0
	out.Dots = heads.Dots()
	return out, nil
}

// StorageID is how clients of automerge-repo know a region as a place where
// documents are kept: a UUID made of the names, the same for ever.
func StorageID(cluster, region string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("meridian://"+cluster+"/"+region)).String()
}

// ClusterName is the name that all regions share.
func (r *Region) ClusterName() string { return r.cfg.Cluster }

// Holders names the regions, besides this one, that are known to hold all the
// changes durably.
func (r *Region) Holders(dots []crdt.Dot) []string { return r.acks.holdAll(dots) }
