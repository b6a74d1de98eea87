package replica

import (
	"strconv"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registry      *prometheus.Registry
	version       *prometheus.GaugeVec // lane
	head          prometheus.Gauge
	items         prometheus.Gauge
	recall        *prometheus.GaugeVec   // lane
	adoptions     *prometheus.CounterVec // kind
	rejected      *prometheus.CounterVec // reason
	swap          prometheus.Histogram
	requests      *prometheus.CounterVec   // route, code
	seconds       *prometheus.HistogramVec // route, class
	queue         prometheus.Histogram
	shed          *prometheus.CounterVec   // reason
	served        *prometheus.CounterVec   // source, lane
	computed      *prometheus.HistogramVec // lane
	warmed        prometheus.Gauge
	share         prometheus.Gauge
	order         prometheus.Gauge
	ordersRefused *prometheus.CounterVec // reason
	inFlight      prometheus.Gauge
	failures      *prometheus.CounterVec // of
}

// newMetrics makes the metrics of one replica on a registry of their own, so that a process can run several. age returns the
// age of the version that a lane serves in seconds.
func newMetrics(age func(Lane) float64) metrics {
	m := metrics{
		registry: prometheus.NewRegistry(),
		version:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "freshet_model_version", Help: "Version served, by lane; 0 = none."}, []string{"lane"}),
		head:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_head_version", Help: "Newest version seen, adopted or not."}),
		items:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_model_items", Help: "Items in the version served."}),
		recall: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "freshet_index_recall_ratio",
			Help: "Share of the best 100 items that the index of the version served finds, as measured, by lane; below serve.min_recall it is not used; 1 = no index."}, []string{"lane"}),
		adoptions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_adoptions_total",
			Help: "Versions swapped in: from a base that was loaded (base), from what changed since the version held (delta), or the last good version at start (disk)."}, []string{"kind"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_updates_rejected_total", Help: "Updates refused."}, []string{"reason"}),
		swap: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "freshet_swap_seconds", Help: "Time from seeing a head to serving it.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_requests_total", Help: "Requests, by route and status code."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_request_seconds", Help: "Time to answer a request, by route and class of status code.",
			Buckets: requestBuckets}, []string{"route", "class"}),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "freshet_queue_seconds", Help: "Time that requests waited for their turn to be computed.",
			Buckets: requestBuckets}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_shed_total",
			Help: "Requests that were not computed: no room to wait (full), too long a wait (wait, late), a caller that left (gone), large bodies (memory), over a rate (rate, caller), or no version serves (no_model)."}, []string{"reason"}),
		served: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_recommendations_total", Help: "Answers, by what computed them and the lane of their user."}, []string{"source", "lane"}),
		computed: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_recommend_seconds", Help: "Time to compute an answer, by lane.",
			Buckets: requestBuckets}, []string{"lane"}),
		warmed:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_warmup_requests", Help: "Recorded requests that the newest version answered before it served."}),
		share:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_candidate_share", Help: "Share of the users that the candidate answers; 0 = there is none."}),
		order:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_order_serial", Help: "Serial of the order in force; 0 = none was seen."}),
		ordersRefused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_orders_refused_total", Help: "Orders that were not obeyed."}, []string{"reason"}),
		inFlight:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_requests_in_flight", Help: "Requests being answered or waiting."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_replica_failures_total",
			Help: "What went wrong without stopping the service: history (not readable), disk (last good version not kept), report (not sent)."}, []string{"of"}),
	}
	for _, k := range []string{string(schema.KindBase), string(schema.KindDelta), "disk"} {
		m.adoptions.WithLabelValues(k)
	}
	for _, reason := range reasons {
		m.rejected.WithLabelValues(string(reason))
	}
	for _, reason := range shedReasons {
		m.shed.WithLabelValues(string(reason))
	}
	for _, of := range []string{"history", "disk", "report"} {
		m.failures.WithLabelValues(of)
	}
	for _, reason := range []Reason{ReasonOrder, ReasonReplay, ReasonUnsigned, ReasonSigner, ReasonTampered} {
		m.ordersRefused.WithLabelValues(string(reason))
	}
	for _, lane := range []Lane{LaneStable, LaneCandidate} {
		m.version.WithLabelValues(string(lane))
		m.recall.WithLabelValues(string(lane))
		m.computed.WithLabelValues(string(lane))
		for _, source := range []Source{SourceModel, SourceBaseline} {
			m.served.WithLabelValues(string(source), string(lane))
		}
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "freshet_model_age_seconds", Help: "Time since the version served was made, by lane; 0 = none.",
			ConstLabels: prometheus.Labels{"lane": string(lane)}}, func() float64 { return age(lane) }))
	}
	m.registry.MustRegister(m.computed, m.warmed, m.share, m.order, m.ordersRefused)
	m.registry.MustRegister(m.version, m.head, m.items, m.recall, m.adoptions, m.rejected, m.swap, m.requests, m.seconds, m.queue, m.shed, m.served, m.inFlight, m.failures)
	return m
}

// requestBuckets resolve what a model on one machine takes, tenths of a millisecond to a second, to about 1.4 times.
var requestBuckets = []float64{.0001, .00014, .0002, .00028, .0004, .00056, .0008, .0011, .0016, .0022, .0032, .0045, .0063, .009, .0125, .018, .025, .035, .05, .07, .1, .14, .2, .28, .4, .56, .8, 1, 2, 5}

// answered counts an answer.
func (m *metrics) answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route, classes[status/100%len(classes)]).Observe(took.Seconds())
}

// classes are those of status codes by their hundreds.
var classes = [...]string{"", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Metrics returns what /metrics shows, for a process that shows several replicas in one place.
func (r *Replica) Metrics() prometheus.Collector { return r.metrics.registry }
