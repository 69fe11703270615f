package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Tracing says where spans go.
type Tracing struct {
	// Endpoint is the URL of an OTLP receiver that speaks HTTP, such as
	// http://collector:4318; without a path /v1/traces is added. "" turns tracing
	// off. Headers, certificates, timeouts and compression are taken from the
	// OTEL_EXPORTER_OTLP_… variables of the environment.
	Endpoint string
	// Sample is the share of the requests without a trace of their own that are
	// traced, 0 to 1. A request with a trace is traced if that is sampled.
	Sample float64
}

// DefaultTraceSample is the share that the command line takes.
const DefaultTraceSample = 0.01

// shutdownTimeout bounds how long the last spans may take to be sent.
const shutdownTimeout = 5 * time.Second

// otlpTracesPath is where receivers take traces.
const otlpTracesPath = "/v1/traces"

// Validate reports what is wrong, wrapped in ErrConfig.
func (t Tracing) Validate() error {
	if t.Sample < 0 || t.Sample > 1 {
		return fmt.Errorf("%w: the share of requests to trace must be 0 to 1, not %v", ErrConfig, t.Sample)
	}
	if t.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: the OTLP endpoint %q must be a URL such as http://127.0.0.1:4318", ErrConfig, t.Endpoint)
	}
	return nil
}

// openTracing makes what spans are given to; nil if they go nowhere.
func (n *Node) openTracing() error {
	t := n.cfg.Tracing
	if err := t.Validate(); err != nil || t.Endpoint == "" {
		return err
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil {
		return err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = otlpTracesPath
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return fmt.Errorf("OTLP: %w", err)
	}
	n.tracing = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: exporter, log: n.log}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "meridian"),
			attribute.String("service.namespace", n.cfg.Cluster),
			attribute.String("service.instance.id", n.cfg.Region),
			attribute.String("service.version", n.cfg.Build.Version),
		)),
	)
	return nil
}

func (n *Node) closeTracing() error {
	if n.tracing == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	// Spans that cannot be sent were logged; they do not make an end go wrong.
	if err := n.tracing.Shutdown(ctx); err != nil {
		n.log.Warn("spans were lost at the end", "error", err)
	}
	return nil
}

// exportErrorEvery is how often, in nanoseconds, failures to export are logged.
const exportErrorEvery = int64(time.Minute)

// A loggingExporter logs failures, where the library would give them to a
// handler that is one for the whole process.
type loggingExporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	last atomic.Int64
}

func (e *loggingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	now, last := time.Now().UnixNano(), e.last.Load()
	if now-last >= exportErrorEvery && e.last.CompareAndSwap(last, now) {
		e.log.Warn("spans cannot be sent and are lost", "spans", len(spans), "error", err)
	}
	return nil
}
