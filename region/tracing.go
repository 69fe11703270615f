package region

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// The spans of a region. A write's starts in the region that takes it; its
// change carries it along, and each other region adds one of its own when it
// has made the change durable.
const (
	spanWrite = "meridian write"
	spanApply = "meridian apply"
)

// instrumentation names what makes the spans.
const instrumentation = "github.com/meridiandb/meridian/region"

// Attributes of spans.
const (
	attrRegion    = attribute.Key("meridian.region")
	attrOrigin    = attribute.Key("meridian.origin")
	attrPeer      = attribute.Key("meridian.peer")
	attrChange    = attribute.Key("meridian.change")
	attrDocuments = attribute.Key("meridian.documents")
)

// traceWrite begins the span of a write, if what ctx is part of is traced, and
// lets the change carry it.
func (r *Region) traceWrite(ctx context.Context, w *core.Write) (context.Context, trace.Span) {
	if r.tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, nil
	}
	ctx, span := r.tracer.Start(ctx, spanWrite, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attrRegion.String(r.cfg.Region), attrDocuments.Int(len(w.Docs))))
	if sc := span.SpanContext(); sc.IsSampled() {
		w.Trace = crdt.Trace{ID: sc.TraceID(), Span: sc.SpanID()}
	}
	return ctx, span
}

func endWrite(span trace.Span, r *core.Receipt, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	} else {
		span.SetAttributes(attrChange.String(r.Dot.String()))
	}
	span.End()
}

// traceApplied adds a span for each change that was traced and is durable here
// since end; the step that applied it began at start.
func (o *owner) traceApplied(changes []core.Traced, catalog *core.Catalog, start, end time.Time) {
	if o.tracer == nil {
		return
	}
	for i := range changes {
		c := &changes[i]
		ctx := trace.ContextWithRemoteSpanContext(o.ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: c.Trace.ID, SpanID: c.Trace.Span, TraceFlags: trace.FlagsSampled, Remote: true,
		}))
		_, span := o.tracer.Start(ctx, spanApply, trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attrRegion.String(o.cfg.Region), attrOrigin.String(catalog.Region(c.Dot.Replica)), attrPeer.String(c.From), attrChange.String(c.Dot.String())))
		span.End(trace.WithTimestamp(end))
	}
}
