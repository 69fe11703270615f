package api

import (
	"context"
	"io"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/backup"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/fault"
)

// Region is what the API asks of a region; *region.Region is one. All methods
// are safe for concurrent use.
type Region interface {
	// Name is the region's name.
	Name() string
	// Ready returns nil when the region serves, or why it does not.
	Ready() error

	// Write makes an atomic change and returns when it is durable.
	Write(ctx context.Context, w core.Write) (core.Receipt, error)
	// PutCollection makes a collection or changes its settings.
	PutCollection(ctx context.Context, p core.PutCollection) (core.CollectionReceipt, error)
	// DeleteCollection deletes a collection's documents and then marks it deleted.
	DeleteCollection(ctx context.Context, name string, shares time.Duration) (core.CollectionReceipt, error)

	// AddRegion makes a region a member, or changes its address.
	AddRegion(ctx context.Context, ask core.AddRegion) (core.MemberReceipt, error)
	// RemoveRegion begins to remove a member, or says how far that is.
	RemoveRegion(ctx context.Context, ask core.RemoveRegion) (core.RemovalReceipt, error)
	// Lost says which changes that a vector names were lost with removed regions; nil if none was.
	Lost(v crdt.Vector) error
	// SetTopology changes the shape of the links.
	SetTopology(ctx context.Context, spec topology.Spec) (core.TopologyReceipt, error)

	// Collection finds a collection by its name, or by its incarnation
	// written as a dot.
	Collection(name string) (*core.Collection, error)
	// Collections lists all incarnations.
	Collections() ([]*core.Collection, error)
	// Get reads a document. If there is none the view does not exist; that is no error.
	Get(ctx context.Context, collection, id string) (region.Document, error)
	// Export reads a document of a type that can be saved in a format of its own,
	// with its history or without.
	Export(ctx context.Context, collection, id string, history bool) (region.Exported, error)
	// ClusterName is the name that all regions share. The next five are for clients
	// that hold replicas themselves, see package collab.
	ClusterName() string
	NewWatcher() *region.Watcher
	Commits() uint64
	Sync(ctx context.Context, key store.DocKey, old *amsync.History) (region.Synced, error)
	Holders(dots []crdt.Dot) []string
	// List reads documents in the order of their ids.
	List(ctx context.Context, collection string, o region.ListOptions) (region.Page, error)

	// Beyond waits until the region holds something that a cursor does not cover, or ctx
	// ends, and returns what it holds.
	Beyond(ctx context.Context, after crdt.Vector) (crdt.Vector, error)
	// Changes calls each with the changes behind a cursor, once there are some, and
	// returns the cursor behind what it has looked at.
	Changes(ctx context.Context, after crdt.Vector, collection string, each func(*region.Change) bool) (crdt.Vector, error)

	// Compare visits the documents in conflict with what another policy would
	// make of them.
	Compare(ctx context.Context, collection string, other conflict.Resolver, visit func(*region.Compared) error) (region.Comparison, error)

	// Conflicts lists what the region saw become concurrent, the newest first.
	Conflicts(ctx context.Context, q region.ConflictQuery) (region.ConflictPage, error)
	// Conflict explains one of them.
	Conflict(ctx context.Context, id journal.ID) (region.ConflictDetail, error)
	// ConflictChanges returns records that changed after a change, once there are some.
	ConflictChanges(ctx context.Context, after uint64, limit int) ([]*journal.Record, uint64, error)
	// ConflictStatus tells of the log of conflicts.
	ConflictStatus() core.ConflictStatus
	// PreviewConflict and PreviewConflicts tell what another policy would show.
	PreviewConflict(ctx context.Context, id journal.ID, p conflict.Resolver) (region.ConflictPreview, error)
	PreviewConflicts(ctx context.Context, collection string, p conflict.Resolver, last int) ([]region.ConflictPreview, error)
	// RestoreConflict writes a version of a conflict back.
	RestoreConflict(ctx context.Context, ask core.Restore) (core.Receipt, error)

	// RegionOf names the region of a replica, "" if it is not known.
	RegionOf(r crdt.ReplicaID) string
	// Have is what the region holds.
	Have() crdt.Vector
	// Members names the regions of the cluster, this one included.
	Members() []string
	// Acked waits until the regions of a resolved quorum hold a change, or ctx
	// ends, and returns those that do.
	Acked(ctx context.Context, d crdt.Dot, q core.Quorum) (holders []string, met bool)
	// Gather waits until the region holds what those of a resolved quorum held
	// when they were asked, and returns who told.
	Gather(ctx context.Context, q core.Quorum, wait time.Duration) ([]string, error)
	// Held waits until the regions of a resolved quorum hold what this one does.
	Held(ctx context.Context, dots []crdt.Dot, q core.Quorum, wait time.Duration) error
	// Wait returns when Have covers v, or region.ErrBehind when ctx has ended before.
	Wait(ctx context.Context, v crdt.Vector) error
	// Cluster tells how it stands with the region and its peers.
	Cluster(ctx context.Context) (region.ClusterStatus, error)
	Convergence(ctx context.Context) (region.Convergence, error)
	Backup(ctx context.Context, out io.Writer, base *region.BackupBase) (backup.Header, backup.Summary, error)
	// SetHome moves, claims or takes a strict home.
	SetHome(ctx context.Context, ask core.SetHome) (core.HomeReceipt, error)
	// Authority returns nil if the region has authority over a document that has a home,
	// and AwaitAuthority waits for it while it is only pending.
	Authority(incarnation crdt.Dot, id string) error
	AwaitAuthority(ctx context.Context, incarnation crdt.Dot, id string) error
	// Fresh names regions that can be reached and hold v, the nearest first.
	Fresh(v crdt.Vector) []string
	// Nearest are those of the regions that requests can be forwarded to, in that order.
	Nearest(regions []string) []string
	// Forward has another region answer a request, and ServeForwarded says who
	// answers those of others.
	Forward(ctx context.Context, to string, request []byte) ([]byte, error)
	ServeForwarded(s region.Serve)
	// Staleness is the age of the news of the peer that was heard least recently.
	Staleness() time.Duration
}

// Faults breaks links on request; *fault.Transport does.
type Faults interface {
	// Set changes the fault of the link with a region; the zero Fault heals it.
	Set(region string, f fault.Fault) error
	// Faults returns the faults that there are, by region.
	Faults() map[string]fault.Fault
}
