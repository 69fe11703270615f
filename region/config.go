package region

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
)

// Errors of a region, besides those of packages core and crdt.
var (
	// ErrBusy: the mailbox is full; nothing was written (HTTP 429).
	ErrBusy = errors.New("too many writes are waiting")
	// ErrStopped: the region is not running (HTTP 503).
	ErrStopped = errors.New("the region is not running")
	// ErrStorage: the store refused the write; nothing was written. It wraps
	// the store's error: store.ErrFull if the disk is full (HTTP 507).
	ErrStorage = errors.New("storage failed")
	// ErrBehind: the region does not hold what the token names yet (HTTP 503).
	ErrBehind = errors.New("the region is behind the token")
)

// Config of a region. Zero values of what is not named required mean defaults.
type Config struct {
	// Region is this region's name and Cluster the name of all regions together. Required.
	Region, Cluster string
	// Peers are the other regions and where they listen. Once a region was added
	// to the cluster, who is a member is known from the store, and these are only
	// where to reach them at first.
	Peers map[string]string
	// Topology is the shape of the links. Default mesh.
	Topology topology.Spec
	// StrictCollections refuses writes to collections that were not made explicitly.
	StrictCollections bool
	// Limits and Timing of the core.
	Limits core.Limits
	Timing core.Timing
	// MaxSkew bounds how far the clock follows stamps from the future. Default crdt.DefaultMaxSkew.
	MaxSkew time.Duration
	// Callbacks are the functions that collections can name as their policy, by name.
	Callbacks map[string]CallbackFunc
	// Mailbox is how many writes may wait for the owner. Default DefaultMailbox.
	Mailbox int
	// WriteTimeout is how long the caller of Write or Restore waits for the answer, and
	// for as long as the write may wait for shares of bounded counters besides; a
	// context may end that sooner. The outcome is not known then
	// (context.DeadlineExceeded). Default DefaultWriteTimeout.
	WriteTimeout time.Duration
	// PeerMailbox is how many messages of peers may wait for the owner, each up
	// to about 1 MiB; the links are held back beyond that. Default DefaultPeerMailbox.
	PeerMailbox int
	// ReadCacheBytes bounds the documents kept for readers, by an estimate. Default
	// DefaultReadCacheBytes.
	ReadCacheBytes int
	// Streams is how many catch-up streams are served at a time. Default DefaultStreams.
	Streams int
	// CatchUpRate bounds the bytes a second of all catch-up and snapshot streams
	// together, so that they leave room for live changes; negative means no
	// bound. Default DefaultCatchUpRate.
	CatchUpRate int64
	// Retention says how much of the log is kept beyond what is needed.
	Retention core.Retention
	// Clock reads the wall clock. Default time.Now.
	Clock func() time.Time
	// NewReplica mints replica ids. Default UUIDv7.
	NewReplica func() crdt.ReplicaID
	// Metrics is where the region registers what it measures. Default: nowhere.
	Metrics prometheus.Registerer
	// Tracing makes the spans of writes, and of changes of others that carry a
	// trace. Default: none are made, and changes carry none.
	Tracing trace.TracerProvider
	// Logger gets what an operator should read. Default slog.Default().
	Logger *slog.Logger
}

// Defaults of Config.
const (
	DefaultMailbox      = 1024
	DefaultWriteTimeout = 30 * time.Second
	DefaultPeerMailbox  = 64
	DefaultStreams      = 8
	DefaultCatchUpRate  = 32 << 20
)

// maxNameBytes bounds the names of regions and clusters, which become part of
// a certificate's URI.
const maxNameBytes = 63

// CheckName says whether a region or a cluster may have this name: 1 to 63 of
// a-z, 0-9 and '-', starting and ending with a letter or digit.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxNameBytes && name[0] != '-' && name[len(name)-1] != '-'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	if !ok {
		return fmt.Errorf("%w: name %.100q: use 1 to %d of a-z, 0-9 and '-', not at either end", core.ErrInvalid, name, maxNameBytes)
	}
	return nil
}

// Validate fills in defaults and reports what is missing or contradictory.
func (c *Config) Validate() error {
	for _, name := range append([]string{c.Region, c.Cluster}, c.peerNames()...) {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	if _, self := c.Peers[c.Region]; self {
		return fmt.Errorf("%w: the peers of %s include itself", core.ErrInvalid, c.Region)
	}
	if c.ReadCacheBytes < 0 {
		return fmt.Errorf("%w: a cache of %d bytes", core.ErrInvalid, c.ReadCacheBytes)
	}
	if c.Topology.Kind == "" {
		c.Topology.Kind = topology.Mesh
	}
	if c.Mailbox == 0 {
		c.Mailbox = DefaultMailbox
	}
	if c.WriteTimeout < 0 {
		return fmt.Errorf("%w: writes are waited for %v", core.ErrInvalid, c.WriteTimeout)
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = DefaultWriteTimeout
	}
	if c.PeerMailbox == 0 {
		c.PeerMailbox = DefaultPeerMailbox
	}
	if c.ReadCacheBytes == 0 {
		c.ReadCacheBytes = DefaultReadCacheBytes
	}
	if c.Streams == 0 {
		c.Streams = DefaultStreams
	}
	if c.CatchUpRate == 0 {
		c.CatchUpRate = DefaultCatchUpRate
	}
	if c.Retention.Age < 0 {
		return fmt.Errorf("%w: the log is kept for %v", core.ErrInvalid, c.Retention.Age)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.NewReplica == nil {
		c.NewReplica = func() crdt.ReplicaID { return crdt.ReplicaID(uuid.Must(uuid.NewV7())) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	// Whoever is named there may be a member that this region does not know yet.
	return c.Topology.Check()
}

func (c *Config) peerNames() []string {
	names := make([]string, 0, len(c.Peers))
	for n := range c.Peers {
		names = append(names, n)
	}
	return names
}

func (c *Config) members() []string { return append(c.peerNames(), c.Region) }

func (c *Config) core(st store.Store, refused map[crdt.Dot]string) core.Config {
	return core.Config{
		Region: c.Region, Cluster: c.Cluster, Members: c.members(), Addresses: c.Peers, Topology: c.Topology,
		StrictCollections: c.StrictCollections, Limits: c.Limits, Timing: c.Timing,
		Retention: c.Retention,
		MaxSkew:   c.MaxSkew, NewReplica: c.NewReplica, Refused: refused, Discontinuous: !st.Continuous(),
	}
}
