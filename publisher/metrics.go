package publisher

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	published *prometheus.CounterVec   // kind
	failed    *prometheus.CounterVec   // reason
	bytes     *prometheus.CounterVec   // kind
	seconds   *prometheus.HistogramVec // kind
	version   prometheus.Gauge
	held      prometheus.Gauge
	collected prometheus.Counter
}

// newMetrics makes the metrics and registers them where to is not nil.
func newMetrics(to prometheus.Registerer) metrics {
	m := metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_updates_published_total", Help: "Versions published."}, []string{"kind"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_publish_failures_total",
			Help: "Versions that were not published: not_finite and metric (the guard), update (a mistake of the caller), line (another writer has it), lost (NATS has lost the line), store, stopped."},
			[]string{"reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_update_bytes_total", Help: "Bytes of the objects published."}, []string{"kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_publish_seconds", Help: "Time to publish a version.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}, []string{"kind"}),
		version: prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_published_version", Help: "Newest version published by this process."}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_publish_held_back",
			Help: "1 while the guard holds the newest version back: replicas serve the last good one."}),
		collected: prometheus.NewCounter(prometheus.CounterOpts{Name: "freshet_versions_collected_total", Help: "Old versions removed from the store."}),
	}
	for _, k := range []schema.Kind{schema.KindBase, schema.KindDelta} {
		m.published.WithLabelValues(string(k))
		m.bytes.WithLabelValues(string(k))
	}
	for _, reason := range reasons {
		m.failed.WithLabelValues(string(reason))
	}
	if to != nil {
		to.MustRegister(m.published, m.failed, m.bytes, m.seconds, m.version, m.held, m.collected)
	}
	return m
}

// fail counts a version that was not published.
func (m *metrics) fail(reason Reason) {
	m.failed.WithLabelValues(string(reason)).Inc()
	if reason == ReasonNotFinite || reason == ReasonMetric {
		m.held.Set(1)
	}
}
