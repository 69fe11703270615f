package region

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/backup"
)

// A BackupBase is the earlier backup that an incremental one follows on.
type BackupBase struct {
	ID   string
	Have crdt.Vector
}

// Backup writes all that the region has at this moment, in the form of package
// backup; with a base only what has changed since. Writes go on meanwhile.
// Nothing was written to out if the error wraps backup.ErrSince.
func (r *Region) Backup(ctx context.Context, out io.Writer, base *BackupBase) (backup.Header, backup.Summary, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return backup.Header{}, backup.Summary{}, fmt.Errorf("backup: %w", err)
	}
	h := backup.Header{ID: id.String(), Created: r.cfg.Clock().UTC(), Cluster: r.cfg.Cluster, Region: r.cfg.Region}
	if base != nil {
		h.Base, h.Since = base.ID, backup.VectorOf(base.Have)
	}
	snap := r.store.Snapshot()
	defer snap.Close()
	return backup.Write(ctx, out, snap, h)
}
