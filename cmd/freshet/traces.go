package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds the wait at the end for spans that are on their way.
const flushTimeout = 5 * time.Second

// openTracer returns a tracer that sends a share of the requests' spans to a collector, and what ends it; or none where no endpoint is set. Spans wait in a bounded
// queue, and are dropped where the collector is slower than they come.
func openTracer(c config.ServeTraces, id string, log *slog.Logger) (trace.Tracer, func() error, error) {
	if c.Endpoint == "" {
		return nil, func() error { return nil }, nil
	}
	url := strings.TrimRight(c.Endpoint, "/")
	if !strings.HasSuffix(url, "/v1/traces") {
		url += "/v1/traces"
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(url))
	if err != nil {
		return nil, nil, fmt.Errorf("traces to %s: %w", c.Endpoint, err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("spans are lost", "endpoint", c.Endpoint, "err", err) }))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "freshet"), attribute.String("service.instance.id", id))),
	)
	return provider.Tracer("github.com/freshet-ml/freshet"), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans are lost", "endpoint", c.Endpoint, "err", err) // no reason to fail the end of a replica
		}
		return nil
	}, nil
}
