package collab

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// Bounds of a connection, and of all of them together.
const (
	// MaxMessage is the greatest message of a client.
	MaxMessage = automerge.MaxImport + 64<<10
	// MaxDocuments is how many documents a connection may have open.
	MaxDocuments = 10_000
	// MaxHistories is how much memory the histories of open documents take, by
	// estimate. Beyond it those go that were not used for the longest time, and
	// are read again when they are needed.
	MaxHistories = 256 << 20
	// WriteTimeout is how long a client may take to take a message in.
	WriteTimeout = 15 * time.Second
	// PingEvery is how often a client has to show that it is there, within
	// PingTimeout.
	PingEvery   = 10 * time.Second
	PingTimeout = 20 * time.Second
	// JoinTimeout is how long a connection may be open without a join.
	JoinTimeout = 10 * time.Second
	// PresenceRate and PresenceBurst bound the ephemeral messages of a connection
	// that are passed on, in a second and at once. The rest is dropped.
	PresenceRate  = 60
	PresenceBurst = 120
	// seekTime is how long the other regions are asked for a document that is
	// not known here.
	seekTime = 2 * time.Second
	// offerEvery is after how long a sync that stands still, although both sides
	// differ, is begun anew.
	offerEvery = 10 * time.Second
	// holdersEvery is how often a client is told which regions hold its documents.
	holdersEvery = 200 * time.Millisecond
	// writeChanges and writeBytes bound the changes that go into one write.
	writeChanges = 1000
	writeBytes   = 512 << 10
)

// Region is what is asked of a region; *region.Region is one.
type Region interface {
	Name() string
	ClusterName() string
	Members() []string
	Write(ctx context.Context, w core.Write) (core.Receipt, error)
	Gather(ctx context.Context, q core.Quorum, wait time.Duration) ([]string, error)
	// NewWatcher tells of documents as they change, and Commits orders what is
	// read by what is told.
	NewWatcher() *region.Watcher
	Commits() uint64
	Sync(ctx context.Context, key store.DocKey, old *amsync.History) (region.Synced, error)
	Holders(dots []crdt.Dot) []string
}

// ErrAway says that the home of a document cannot take changes now. They may be
// offered to it again.
var ErrAway = errors.New("the home of the document is away")

// AtHome has a document's home, which is another region, take a write, and
// returns when this region has it, too. The error wraps ErrAway, or is one of
// those by which a region refuses a write.
type AtHome func(ctx context.Context, home string, w core.DocWrite) error

// A Server serves the connections of one region.
type Server struct {
	region Region
	atHome AtHome
	log    *slog.Logger

	mu     sync.Mutex
	docs   map[store.DocKey]*shared
	clock  uint64 // of uses
	memory int

	sessions sync.WaitGroup
	dropped  atomic.Int64
}

// NewServer returns a server.
func NewServer(r Region, atHome AtHome, log *slog.Logger) *Server {
	return &Server{region: r, atHome: atHome, log: log, docs: map[store.DocKey]*shared{}}
}

// peerID is who the region is for clients.
func (s *Server) peerID() string { return "meridian:" + s.region.ClusterName() + "/" + s.region.Name() }

// regionOf finds a region by its storage id, "" if it is none.
func (s *Server) regionOf(storage string) string {
	for _, name := range s.region.Members() {
		if region.StorageID(s.region.ClusterName(), name) == storage {
			return name
		}
	}
	return ""
}

// Dropped is how many connections were ended because the client took nothing in.
func (s *Server) Dropped() int64 { return s.dropped.Load() }

// Wait waits until every connection has ended.
func (s *Server) Wait() { s.sessions.Wait() }

// Serve serves a connection until it ends, or ctx does, or closing. It closes
// conn. The collection is one of type automerge.
func (s *Server) Serve(ctx context.Context, closing <-chan struct{}, conn *websocket.Conn, collection *core.Collection) {
	s.sessions.Add(1)
	defer s.sessions.Done()
	newSession(s, conn, collection).run(ctx, closing)
}

// shared is what all connections have in common of a document.
type shared struct {
	key  store.DocKey
	refs int    // of Server.mu
	used uint64 // of Server.mu
	size int    // of Server.mu: as it was counted

	mu     sync.Mutex // of what follows
	loaded bool
	upTo   uint64 // it has all commits up to this one
	synced region.Synced
}

// acquire takes up a document; release gives it back.
func (s *Server) acquire(key store.DocKey) *shared {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.docs[key]
	if !ok {
		d = &shared{key: key}
		s.docs[key] = d
	}
	d.refs++
	return d
}

func (s *Server) release(d *shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.refs--; d.refs == 0 {
		delete(s.docs, d.key)
		s.memory -= d.size
	}
}

// with calls f with the document as it is after all commits that were told of. f
// has it alone.
func (s *Server) with(ctx context.Context, d *shared, f func(region.Synced)) error {
	commits := s.region.Commits()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.loaded || d.upTo < commits {
		synced, err := s.region.Sync(ctx, d.key, d.synced.History)
		if err != nil {
			d.loaded, d.synced = false, region.Synced{}
			return err
		}
		d.loaded, d.upTo, d.synced = true, commits, synced
	}
	f(d.synced)
	s.account(d, d.synced.History.Size())
	return nil
}

// account counts the memory of d, whose lock is held, and frees that of others if
// it is too much.
func (s *Server) account(d *shared, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.refs == 0 {
		return
	}
	s.clock++
	s.memory += size - d.size
	d.used, d.size = s.clock, size
	for s.memory > MaxHistories {
		var oldest *shared
		for _, o := range s.docs {
			if o != d && o.size > 0 && (oldest == nil || o.used < oldest.used) {
				oldest = o
			}
		}
		if oldest == nil {
			return
		}
		s.memory -= oldest.size
		oldest.size = 0
		if oldest.mu.TryLock() { // else somebody is just using it, and counts it again
			oldest.loaded, oldest.synced = false, region.Synced{}
			oldest.mu.Unlock()
		}
	}
}
