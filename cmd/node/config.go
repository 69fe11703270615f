package node

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/meridiandb/meridian/api"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/certs"
)

// The defaults of Config.
const (
	DefaultHTTP       = api.DefaultAddr
	DefaultPeerListen = "127.0.0.1:7400"
	DefaultDrain      = api.DefaultDrain
)

// Config says what a node is made of. Region, Cluster, Data and either
// Credentials or TLSDir are needed; otherwise the zero value means the default.
type Config struct {
	Region, Cluster string
	// Data is the folder of the store.
	Data string
	// HTTP is where clients connect, PeerListen where the other regions do. Port
	// 0 takes a free one.
	HTTP, PeerListen string
	// HTTPListener and PeerConn, if set, are used in place of the addresses. The
	// node closes them, also if New fails.
	HTTPListener net.Listener
	PeerConn     net.PacketConn
	// Peers are the other regions and where they listen for peers.
	Peers    map[string]string
	Topology topology.Spec
	// StrictCollections refuses writes to collections that were not made explicitly.
	StrictCollections bool
	// Callbacks are the functions that collections can name as their policy, by name.
	Callbacks map[string]region.CallbackFunc
	// ScrubEvery is how long after one check of all stored documents the next
	// begins. Default core.DefaultScrub.
	ScrubEvery time.Duration
	// ConflictLog bounds the log of conflicts.
	ConflictLog conflictlog.Limits
	// Pages are static pages that the API serves, by the first element of their paths.
	Pages map[string]fs.FS
	// TrustedOrigins are those of which pages may write here, and sync.
	TrustedOrigins []string
	// Retention says how much of the log is kept beyond what other regions need.
	Retention core.Retention
	// CatchUpRate bounds the bytes a second with which regions that are behind
	// are served; negative means no bound.
	CatchUpRate int64
	// FaultInjection lets whoever reaches the API break links and shift the clock.
	FaultInjection bool
	// Credentials are what the region shows to its peers. If nil they are read
	// from TLSDir, and again when the files change.
	Credentials certs.Source
	TLSDir      string
	// Drain is how long requests may take to finish at the end.
	Drain time.Duration
	// Store are the options of the store. Its logger is set by the node.
	Store badgerstore.Options
	// Tracing says where spans go.
	Tracing Tracing
	// Build says what runs, for the metric meridian_build_info.
	Build Build
	// Logger gets what an operator should know; nil discards it.
	Logger *slog.Logger
}

// A Build says how a program was built.
type Build struct{ Version, Revision string }

// ErrConfig is wrapped by what New returns when the configuration is wrong.
var ErrConfig = errors.New("bad configuration")

// region is the part of the configuration that is the region's.
func (c *Config) region() region.Config {
	return region.Config{
		Region: c.Region, Cluster: c.Cluster, Peers: c.Peers, Topology: c.Topology,
		StrictCollections: c.StrictCollections, Logger: c.Logger, Callbacks: c.Callbacks,
		Limits: core.Limits{Conflicts: c.ConflictLog}, Retention: c.Retention, CatchUpRate: c.CatchUpRate,
		Timing: core.Timing{Scrub: c.ScrubEvery},
	}
}
