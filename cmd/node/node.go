// Package node puts a region together: store, transport, fault injection, the
// region itself, and its HTTP API. It is a package of its own, beside the
// subcommands and not in package region, because it is the one place that knows
// which store and which transport there are, and because "serve", "demo" and
// the end-to-end tests all start regions this way.
package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/api"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/fault"
	"github.com/meridiandb/meridian/transport/quic"
)

// A Node is one region with all that it needs.
type Node struct {
	cfg    Config
	log    *slog.Logger
	store  *badgerstore.Store
	links  transport.Transport
	faults *fault.Transport // nil unless enabled
	clock  shiftedClock
	// registry has what is measured of this node, and of the process.
	registry *prometheus.Registry
	measured prometheus.Registerer // registers with the region's name
	region   *region.Region
	server   *api.Server
	tracing  *sdktrace.TracerProvider // nil if nothing is traced
	http     net.Listener
}

// New opens the store and takes the addresses. Nothing is served before Run;
// who does not call Run calls Close.
func New(cfg Config) (_ *Node, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, log: cfg.Logger, http: cfg.HTTPListener}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.openMetrics(); err != nil {
		return nil, err
	}
	if err := n.openTracing(); err != nil {
		return nil, err
	}
	settings := cfg.region()
	settings.Metrics = n.measured
	if cfg.FaultInjection {
		settings.Clock = n.clock.Now
	}
	if n.tracing != nil {
		settings.Tracing = n.tracing
	}
	if err := settings.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if cfg.Data == "" {
		return nil, fmt.Errorf("%w: a data folder is needed", ErrConfig)
	}
	credentials, err := n.credentials()
	if err != nil {
		return nil, err
	}
	cfg.Store.Logger = n.log
	if n.store, err = badgerstore.Open(cfg.Data, cfg.Store); err != nil {
		return nil, err
	}
	if err := n.openLinks(credentials); err != nil {
		return nil, err
	}
	if n.region, err = region.New(settings, n.store, n.links); err != nil {
		return nil, err
	}
	return n, n.openAPI()
}

// credentials finds what the region shows to its peers, and checks that it is
// this region's of this cluster.
func (n *Node) credentials() (certs.Source, error) {
	source := n.cfg.Credentials
	if source == nil {
		if n.cfg.TLSDir == "" {
			return nil, fmt.Errorf("%w: a folder with certificates is needed", ErrConfig)
		}
		folder, err := certs.Load(n.cfg.TLSDir, n.cfg.Region, n.log)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		source = folder
	}
	own, err := source.Credentials()
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	want := certs.Identity{Cluster: n.cfg.Cluster, Region: n.cfg.Region}
	switch {
	case own.Cluster != want.Cluster:
		return nil, fmt.Errorf("certificates: %w: it says %s, not %s", certs.ErrCluster, own.Identity, want)
	case own.Region != want.Region:
		return nil, fmt.Errorf("certificates: %w: it says %s, not %s", certs.ErrRegion, own.Identity, want)
	}
	return source, nil
}

// openLinks makes the transport, and what breaks its links if that is enabled.
func (n *Node) openLinks(credentials certs.Source) error {
	t, err := quic.New(quic.Config{
		Config:      transport.Config{Log: n.log},
		Listen:      or(n.cfg.PeerListen, DefaultPeerListen),
		Conn:        n.cfg.PeerConn,
		Credentials: credentials,
	})
	if err != nil {
		return err
	}
	n.links = t
	if n.cfg.FaultInjection {
		n.log.Warn("fault injection is on: whoever reaches the API can break links")
		var seed [8]byte
		rand.Read(seed[:]) // never fails
		n.faults = fault.Wrap(t, binary.LittleEndian.Uint64(seed[:]))
		n.links = n.faults
	}
	return nil
}

func (n *Node) openAPI() (err error) {
	if n.http == nil {
		if n.http, err = net.Listen("tcp", or(n.cfg.HTTP, DefaultHTTP)); err != nil {
			return fmt.Errorf("listen for clients: %w", err)
		}
	}
	cfg := api.Config{
		Region: n.region, Listener: n.http, TrustedOrigins: n.cfg.TrustedOrigins, Pages: n.cfg.Pages, Drain: n.cfg.Drain, Log: n.log,
		Metrics: n.measured, Gatherer: n.registry,
	}
	if n.tracing != nil {
		cfg.Tracing = n.tracing
	}
	if n.faults != nil {
		cfg.Faults, cfg.Clock = n.faults, &n.clock
	}
	n.server, err = api.NewServer(cfg)
	return err
}

func or(s, ifEmpty string) string {
	if s == "" {
		return ifEmpty
	}
	return s
}

// Run serves until ctx ends or something fails for good. At the end requests
// may finish, the last write is handed over (region.HandOver), then the links are closed, then the store. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	// The region outlives the API, for the requests that are still under way.
	regionCtx, stopRegion := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRegion()
	serveCtx, stopServing := context.WithCancel(ctx)
	defer stopServing()
	var g errgroup.Group
	g.Go(func() error {
		defer stopServing()
		return n.region.Run(regionCtx)
	})
	g.Go(func() error {
		defer stopRegion()
		err := n.server.Run(serveCtx)
		n.region.HandOver(regionCtx)
		return err
	})
	return errors.Join(g.Wait(), n.Close())
}

// Close frees what New took. Run does it by itself.
func (n *Node) Close() error {
	var errs []error
	if n.http != nil {
		errs = append(errs, ignoreClosed(n.http.Close()))
	}
	switch {
	case n.links != nil:
		errs = append(errs, ignoreClosed(n.links.Close()))
	case n.cfg.PeerConn != nil:
		errs = append(errs, ignoreClosed(n.cfg.PeerConn.Close()))
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	errs = append(errs, n.closeTracing())
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Region is the region of the node.
func (n *Node) Region() *region.Region { return n.region }

// URL is where clients of this machine reach the API.
func (n *Node) URL() string {
	addr := n.http.Addr().String()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// PeerAddr is where other regions reach this one, by UDP.
func (n *Node) PeerAddr() string { return n.links.Addr() }

// readyPoll is how often AwaitReady looks.
const readyPoll = 10 * time.Millisecond

// AwaitReady returns when the region takes writes. One that has others' changes
// takes none until it has met a peer. When ctx ends first the error says why it
// does not. Run must have been called, by another goroutine.
func (n *Node) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := n.region.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
