package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// rejects is the store as the dead-letter topic wants it.
type rejects struct{ *buffer.Store }

var _ source.Rejects = rejects{}

// Partitions lists the partitions that have had records. A store that is closed has none.
func (r rejects) Partitions() []schema.Partition {
	metas, err := r.Store.Partitions()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(metas))
}

// startDeadLetters forwards what goes aside to the dead-letter topic, if the configuration names one.
func (in *intake) startDeadLetters(k config.Kafka, s *stages, metrics prometheus.Registerer, log *slog.Logger) error {
	if k.DeadLetters == "" || in.kafka == nil {
		return nil
	}
	d, err := source.NewDeadLetters(source.DeadLetterConfig{Brokers: in.brokers, Security: security(k), Topic: k.DeadLetters, Log: log})
	if err != nil {
		return err
	}
	metrics.MustRegister(deadLetterCollector{d})
	s.start("dead letters", func(ctx context.Context) error { return d.Forward(ctx, rejects{in.store}) })
	return nil
}

// deadLetterCollector turns the figures of the dead-letter topic into Prometheus metrics.
type deadLetterCollector struct{ letters *source.DeadLetters }

var deadLetters = prometheus.NewDesc("freshet_dead_letters_total", "Records forwarded to the dead-letter topic, by how much of them it took: whole, cut (without value or key), none.", []string{"took"}, nil)

// Describe sends what Collect may send.
func (c deadLetterCollector) Describe(out chan<- *prometheus.Desc) { out <- deadLetters }

// Collect sends the figures of now.
func (c deadLetterCollector) Collect(out chan<- prometheus.Metric) {
	s := c.letters.Stats()
	for took, n := range map[string]uint64{"whole": s.Forwarded - s.Cut, "cut": s.Cut, "none": s.Dropped} {
		out <- prometheus.MustNewConstMetric(deadLetters, prometheus.CounterValue, float64(n), took)
	}
}
