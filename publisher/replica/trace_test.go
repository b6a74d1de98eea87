package replica_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/replica"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestTraces: a request is a part of its caller's trace, with its wait, its history and its retrieval as parts of it; probes are not traced, and no user is named.
func TestTraces(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	r, _ := serving(t, func(c *replica.Config) { c.Tracer = provider.Tracer("test") }, nil)
	req := httptest.NewRequest("GET", "/v1/recommend?user_id=somebody", nil)
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	deliver(r.Handler(), req)
	call(r.Handler(), "GET", "/readyz", "")
	got := spans.GetSpans()
	names := map[string]tracetest.SpanStub{}
	for _, s := range got {
		names[s.Name] = s
		if s.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %s is of trace %v", s.Name, s.SpanContext.TraceID())
		}
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.String(), "somebody") {
				t.Errorf("span %s names a user: %v", s.Name, a)
			}
		}
	}
	root := names["recommend"]
	if len(got) != 4 || root.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("%d spans, the request's parent is %v", len(got), root.Parent.SpanID())
	}
	for _, part := range []string{"queue", "history", "retrieve"} {
		if names[part].Parent.SpanID() != root.SpanContext.SpanID() {
			t.Errorf("%s is no part of the request", part)
		}
	}
}

// TestClientNamesItsTrace: the trace that a caller is in goes along.
func TestClientNamesItsTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	r, _ := serving(t, func(c *replica.Config) { c.Tracer = provider.Tracer("test") }, nil)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	ctx, span := provider.Tracer("caller").Start(t.Context(), "page")
	c := replica.Client{BaseURL: server.URL, HTTP: server.Client()}
	if _, err := c.Recommend(ctx, replica.Request{UserID: "u"}); err != nil {
		t.Fatal(err)
	}
	span.End()
	eventually(t, "all spans have ended", func() bool { return len(spans.GetSpans()) == 5 })
	for _, s := range spans.GetSpans() {
		if s.SpanContext.TraceID() != span.SpanContext().TraceID() {
			t.Errorf("span %s is of another trace", s.Name)
		}
	}
}
