package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
)

// TestTracesReachACollector: spans that were begun are sent by the end, in OTLP, under the name of the replica.
func TestTracesReachACollector(t *testing.T) {
	got := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		got <- req.URL.Path + " " + req.Header.Get("Content-Type") + " " + string(b)
	}))
	defer collector.Close()
	tracer, end, err := openTracer(config.ServeTraces{Endpoint: collector.URL, Sample: 1}, "replica-7", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracer.Start(t.Context(), "recommend")
	span.End()
	if err := end(); err != nil {
		t.Error(err)
	}
	if sent := <-got; !strings.HasPrefix(sent, "/v1/traces application/x-protobuf ") || !strings.Contains(sent, "replica-7") || !strings.Contains(sent, "recommend") {
		t.Errorf("the collector got %q", sent)
	}
	if tracer, end, err := openTracer(config.ServeTraces{}, "r", nil); tracer != nil || err != nil || end() != nil {
		t.Errorf("without an endpoint: %v, %v", tracer, err)
	}
}
