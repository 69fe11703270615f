package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/netutil"

	"github.com/meridiandb/meridian/api/collab"
)

// Server serves a region over HTTP/1.1 and cleartext HTTP/2.
type Server struct {
	cfg         Config
	log         *slog.Logger
	region      Region
	regionName  []string // as a header's value
	router      *router
	crossOrigin *http.CrossOriginProtection
	listener    net.Listener
	metrics     *metrics
	scrape      http.Handler
	tracer      trace.Tracer // nil if nothing is traced

	collab *collab.Server
	syncs  atomic.Int64

	feedPages *feedPages

	requests, waiters, feeds, backups atomic.Int64
	lastToken                         atomic.Pointer[knownToken]
	lastStaleness                     atomic.Pointer[knownStaleness]
	// closing ends when Run stops taking requests; it cuts waits short.
	closing context.Context
	close   context.CancelFunc
}

// NewServer returns a server. Nothing listens before Listen or Run.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, region: cfg.Region, regionName: []string{cfg.Region.Name()},
		crossOrigin: http.NewCrossOriginProtection(), listener: cfg.Listener,
		metrics: newMetrics(), scrape: newScrape(cfg.Gatherer), feedPages: newFeedPages(),
	}
	if cfg.Tracing != nil {
		s.tracer = cfg.Tracing.Tracer(instrumentation)
	}
	if err := s.register(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	for _, origin := range cfg.TrustedOrigins {
		if err := s.crossOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	s.closing, s.close = context.WithCancel(context.Background())
	s.collab = collab.NewServer(cfg.Region, s.importAtHome, cfg.Log)
	s.router = s.routes()
	s.region.ServeForwarded(s.serveForwarded)
	return s, nil
}

// Handler returns the server's routes, for a program that has an http.Server of
// its own, and for tests. Limits of connections are then that program's.
func (s *Server) Handler() http.Handler { return s }

// Listen takes the address, unless there is a listener already, and returns
// the one that clients can use. Run does it if nobody has.
func (s *Server) Listen() (net.Addr, error) {
	if s.listener == nil {
		l, err := net.Listen("tcp", s.cfg.Addr)
		if err != nil {
			return nil, fmt.Errorf("HTTP: %w", err)
		}
		s.listener = l
	}
	return s.listener.Addr(), nil
}

// Run serves until ctx ends. Then /readyz fails, waits are cut short, requests
// that are under way may finish within Config.Drain, and Run returns nil once
// every connection is closed. An error means that the server could not listen
// or that the listener failed. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	addr, err := s.Listen()
	if err != nil {
		return err
	}
	// What is cut off at the end of the drain learns of it by its context.
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer s.close()
	whole := bodyTimeout + MaxWait + s.cfg.Timeout
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       whole, // not less: at its end net/http cancels the request
		WriteTimeout:      whole,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	s.log.Info("serving HTTP", "address", addr.String())

	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(lateListener{netutil.LimitListener(s.listener, s.cfg.MaxConns)}) }()
	select {
	case err := <-failed:
		_ = srv.Close()
		return fmt.Errorf("HTTP: %w", err)
	case <-ctx.Done():
	}
	s.close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		s.log.Warn("requests were cut off at the end of the drain", "drain", s.cfg.Drain, "error", err)
		abort()
		_ = srv.Close()
	}
	s.collab.Wait()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP: %w", err)
	}
	return nil
}
