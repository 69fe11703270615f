package api

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/meridiandb/meridian/crdt/value"
)

// The defaults of Config.
const (
	DefaultAddr        = "127.0.0.1:8080"
	DefaultMaxRequests = 4096
	DefaultMaxConns    = 8192
	DefaultMaxWaiters  = 1024
	DefaultMaxFeeds    = 1024
	DefaultMaxSyncs    = 1024
	DefaultMaxBatch    = 8 << 20
	DefaultTimeout     = 30 * time.Second
	DefaultDrain       = 10 * time.Second
)

// Bounds of a request that are not settings.
const (
	// MaxHeaderBytes bounds the request line and headers; beyond it net/http
	// answers 431.
	MaxHeaderBytes = 64 << 10
	// MaxSettingsBytes bounds the body of a request that changes settings.
	MaxSettingsBytes = 64 << 10
	// MaxTokenBytes bounds a Meridian-Token that is taken.
	MaxTokenBytes = 32 << 10
	// MaxETags bounds the entity tags of one If-Match or If-None-Match.
	MaxETags = 100
	// MaxResolveVersions bounds the versions that one resolve names.
	MaxResolveVersions = 4096
	// DefaultWait and MaxWait bound how long a request with a token waits until
	// the region holds what the token names: Prefer: wait=N.
	DefaultWait = 2 * time.Second
	MaxWait     = 30 * time.Second
	// DefaultListLimit and MaxListLimit bound the documents of one page of a
	// list; MaxListBytes ends a page early, after at least one document.
	DefaultListLimit = 100
	MaxListLimit     = 1000
	MaxListBytes     = 8 << 20
)

// Timeouts of connections. A request has bodyTimeout to arrive, and after that
// the longest wait and the region's Timeout to be answered.
const (
	readHeaderTimeout = 10 * time.Second
	bodyTimeout       = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxStreams        = 250 // concurrent HTTP/2 requests of one connection
)

// Config is what a Server is made of. The zero value of a field means its
// default; Region is needed.
type Config struct {
	// Region serves the requests.
	Region Region
	// Faults, if set, makes /v1/faults answer. It is for tests, demonstrations
	// and drills: whoever reaches the API can then cut links.
	Faults Faults
	// Clock, if set, makes /v1/faults/clock answer, for the same uses.
	Clock Clock
	// Addr is where Run listens, unless there is a Listener.
	Addr string
	// Listener, if set, is used in place of Addr. Run closes it.
	Listener net.Listener
	// TrustedOrigins are the origins ("https://app.example") whose pages a
	// browser may let write here. Pages of the server's own origin always may.
	TrustedOrigins []string
	// Pages are static pages, by the first element of their paths. They are for
	// demonstrations.
	Pages map[string]fs.FS
	// Doc bounds one document in a request.
	Doc value.Limits
	// MaxBatch bounds the body of POST /v1/batch.
	MaxBatch int
	// MaxRequests bounds the requests served at once; more are answered 429.
	MaxRequests int
	// MaxConns bounds the connections; more wait to be accepted.
	MaxConns int
	// MaxWaiters bounds the requests that wait for their token; more are answered 429.
	MaxWaiters int
	// MaxFeeds bounds the feeds served at once; more are answered 429.
	MaxFeeds int
	// MaxSyncs bounds the clients of automerge-repo at once; more are answered 429.
	MaxSyncs int
	// Timeout is how long what is not a write of documents, such as a change of a
	// collection, may take in the region before it is answered 503. Writes have the
	// region's WriteTimeout.
	Timeout time.Duration
	// Drain is how long Run lets requests finish after its context has ended.
	Drain time.Duration
	// Metrics is where the server registers what it measures, and Gatherer what
	// GET /metrics shows. The default is a registry with only that.
	Metrics  prometheus.Registerer
	Gatherer prometheus.Gatherer
	// Tracing makes the spans of requests. The default makes none.
	Tracing trace.TracerProvider
	// Log gets what an operator should know, and each request at level debug.
	// The default discards it.
	Log *slog.Logger
}

// ErrConfig is wrapped by what NewServer returns.
var ErrConfig = errors.New("bad server configuration")

func (c Config) withDefaults() (Config, error) {
	def(&c.Addr, DefaultAddr)
	def(&c.Doc, value.DefaultLimits)
	def(&c.Doc.MaxBytes, value.DefaultMaxBytes)
	def(&c.Doc.MaxDepth, value.DefaultMaxDepth)
	def(&c.Doc.MaxItems, value.DefaultMaxItems)
	def(&c.MaxBatch, DefaultMaxBatch)
	def(&c.MaxRequests, DefaultMaxRequests)
	def(&c.MaxConns, DefaultMaxConns)
	def(&c.MaxWaiters, DefaultMaxWaiters)
	def(&c.MaxFeeds, DefaultMaxFeeds)
	def(&c.MaxSyncs, DefaultMaxSyncs)
	def(&c.Timeout, DefaultTimeout)
	def(&c.Drain, DefaultDrain)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		own := prometheus.NewRegistry()
		c.Metrics = own
		if c.Gatherer == nil {
			c.Gatherer = own
		}
	}
	if c.Gatherer == nil {
		return c, fmt.Errorf("%w: Metrics without a Gatherer", ErrConfig)
	}
	if c.Region == nil {
		return c, fmt.Errorf("%w: a region is needed", ErrConfig)
	}
	if min(c.Doc.MaxBytes, c.Doc.MaxDepth, c.Doc.MaxItems, c.MaxBatch, c.MaxRequests, c.MaxConns, c.MaxWaiters, c.MaxFeeds, c.MaxSyncs) < 0 ||
		min(c.Timeout, c.Drain) < 0 {
		return c, fmt.Errorf("%w: limits must be positive", ErrConfig)
	}
	return c, nil
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
