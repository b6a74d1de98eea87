package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus"
)

// gauge returns the value of a gauge, or of a counter of a reason.
func gauge(t *testing.T, from prometheus.Gatherer, name, reason string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (reason == "" || m.Label[0].GetValue() == reason) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %q", name, reason)
	return 0
}

func TestReasons(t *testing.T) {
	for _, of := range []struct {
		err  error
		want publisher.Reason
	}{
		{publisher.ErrNotFinite, publisher.ReasonNotFinite}, {publisher.ErrMetric, publisher.ReasonMetric}, {publisher.ErrUpdate, publisher.ReasonUpdate},
		{publisher.ErrLine, publisher.ReasonLine}, {publisher.ErrNoHead, publisher.ReasonLost}, {context.Canceled, publisher.ReasonStopped},
		{context.DeadlineExceeded, publisher.ReasonStore}, {errors.New("no responders"), publisher.ReasonStore},
	} {
		if got := publisher.ReasonOf(fmt.Errorf("publish: %w", of.err)); got != of.want {
			t.Errorf("%v is of reason %s, want %s", of.err, got, of.want)
		}
	}
}

func TestGuard(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	cfg := config("a")
	cfg.Metric, cfg.MaxDrop = "hit_rate_20", 0.2
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	p := open(t, js, cfg)
	publish(t, p, 1)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	bad := func(name string, change func(u *publisher.Update)) {
		t.Helper()
		u := update(schema.KindBase, 1, 2)
		change(&u)
		if _, err := p.Publish(t.Context(), u); !errors.Is(err, publisher.ErrGuard) {
			t.Errorf("%s: got %v, want ErrGuard", name, err)
		}
		if p.NextKind() != schema.KindBase {
			t.Errorf("%s: the next version must be a base", name)
		}
		if gauge(t, registry, "freshet_publish_held_back", "") != 1 {
			t.Errorf("%s: the gauge does not say that it is held back", name)
		}
	}
	column := func(data any) func(u *publisher.Update) {
		return func(u *publisher.Update) {
			u.Objects[0].Table = schema.Table{Columns: []schema.Column{{Name: "x", Data: data}}}
		}
	}
	bad("nan", column([]float32{0, nan}))
	bad("inf in a vector", column(schema.Vectors{Dim: 2, Values: []float32{0, 0, inf, 0}}))
	bad("nan in a list", column([][]float32{{1}, {2, nan}}))
	for _, word := range []string{"NaN", "-Inf", "1e999"} {
		bad("metadata "+word, func(u *publisher.Update) {
			u.Objects[0].Table.Meta = [][2]string{{"rows", "1"}, {"popularity_0", word}}
		})
	}
	bad("inf float64", column([]float64{math.Inf(-1)}))
	bad("metric", func(u *publisher.Update) { u.Metrics = map[string]float64{"hit_rate_20": 0.19} })
	for reason, want := range map[publisher.Reason]float64{publisher.ReasonNotFinite: 7, publisher.ReasonMetric: 1, publisher.ReasonStore: 0} {
		if got := gauge(t, registry, "freshet_publish_failures_total", string(reason)); got != want {
			t.Errorf("%v failures of reason %s, want %v", got, reason, want)
		}
	}
	u := update(schema.KindBase, 1, 2)
	u.Metrics = map[string]float64{"hit_rate_20": 0.21}
	if _, err := p.Publish(t.Context(), u); err != nil {
		t.Errorf("a drop within the bound: %v", err)
	}
	if gauge(t, registry, "freshet_publish_held_back", "") != 0 {
		t.Error("the gauge says that a published version is held back")
	}
	if head, _ := store(t, js).Head(t.Context(), "shop"); head.Version != 2 {
		t.Errorf("head %d: a refused version must not use up a number", head.Version)
	}
}
