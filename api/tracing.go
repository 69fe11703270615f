package api

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// instrumentation names what makes the spans.
const instrumentation = "github.com/meridiandb/meridian/api"

// Attributes of spans, by the semantic conventions of OpenTelemetry.
const (
	attrMethod = attribute.Key("http.request.method")
	attrRoute  = attribute.Key("http.route")
	attrStatus = attribute.Key("http.response.status_code")
	attrRegion = attribute.Key("meridian.region")
)

// traceContext takes up the traceparent of a request.
var traceContext propagation.TraceContext

// startSpan begins the span of a request, as part of the client's trace if it
// has one.
func (s *Server) startSpan(r *http.Request) (context.Context, trace.Span) {
	ctx := traceContext.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	//nolint:spancheck // endSpan ends it
	return s.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrRegion.String(s.region.Name())))
}

func endSpan(span trace.Span, x *exchange, method string) {
	if span.IsRecording() {
		if !known(method) {
			method = "_OTHER"
		}
		name := method
		if x.route != "" {
			name += " " + x.route
			span.SetAttributes(attrRoute.String(x.route))
		}
		span.SetName(name)
		span.SetAttributes(attrMethod.String(method), attrStatus.Int(x.status))
		if x.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}
