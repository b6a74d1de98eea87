package replica

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// w3c is the form in which callers and replicas name a trace to each other: the headers traceparent and tracestate.
var w3c = propagation.TraceContext{}

// traceRequest begins the span of a request, as a part of its caller's trace where that is named. Without a tracer it does nothing, as does what it returns.
func (r *Replica) traceRequest(x *exchange, to route) (ctx context.Context, end func()) {
	ctx = x.req.Context()
	if r.cfg.Tracer == nil || to.open {
		return ctx, func() {}
	}
	ctx, span := r.cfg.Tracer.Start(w3c.Extract(ctx, propagation.HeaderCarrier(x.req.Header)), to.name, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func() {
		span.SetAttributes(attribute.String("http.request.method", method(x.req.Method)), attribute.String("http.route", to.path), attribute.Int("http.response.status_code", x.status),
			attribute.String("freshet.request_id", x.id), attribute.Int64("freshet.version", int64(x.lanes.stable.number())))
		if x.status >= 500 {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// traced begins a span of a part of a request.
func (r *Replica) traced(ctx context.Context, name string) (end func()) {
	if r.cfg.Tracer == nil {
		return func() {}
	}
	_, span := r.cfg.Tracer.Start(ctx, name)
	return func() { span.End() }
}
