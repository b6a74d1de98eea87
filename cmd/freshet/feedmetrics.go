package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/ingest/flight"
)

// shownCollector and feedCollector turn figures into Prometheus metrics.
type (
	shownCollector struct{ server *flight.Server }
	feedCollector  struct{ mirror *flight.Mirror }
)

var (
	shownStreams = prometheus.NewDesc("freshet_flight_streams_open", "Readings of the log by other programs.", nil, nil)
	shownBatches = prometheus.NewDesc("freshet_flight_batches_total", "Record batches sent to them.", nil, nil)
	shownRows    = prometheus.NewDesc("freshet_flight_rows_total", "Parts and marks sent to them.", nil, nil)
	shownBytes   = prometheus.NewDesc("freshet_flight_bytes_total", "Bytes of Arrow sent to them.", nil, nil)
	shownRefused = prometheus.NewDesc("freshet_flight_calls_refused_total", "Calls without the token, or beyond the bound on streams.", nil, nil)

	feedEntries = prometheus.NewDesc("freshet_feed_entries_total", "Parts and marks copied from other nodes.", nil, nil)
	feedBytes   = prometheus.NewDesc("freshet_feed_bytes_total", "Bytes of Arrow copied from other nodes.", nil, nil)
	feedBehind  = prometheus.NewDesc("freshet_feed_entries_behind", "Entries that nodes have and that are not copied, as of the last look.", nil, nil)
	feedStreams = prometheus.NewDesc("freshet_feed_streams_total", "Readings begun: one a partition, and one for each fault and each move.", nil, nil)
	feedFaults  = prometheus.NewDesc("freshet_feed_faults_total", "Readings that ended with an error.", nil, nil)
	feedGaps    = prometheus.NewDesc("freshet_feed_gap_entries_total", "Entries that no node had and that were passed over.", nil, nil)
	feedLive    = prometheus.NewDesc("freshet_feed_live_clicks_total", "Clicks that nodes told of before they were in any part.", nil, nil)
	feedNodes   = prometheus.NewDesc("freshet_feed_nodes", "Nodes of the feed, by whether they answer.", []string{"answers"}, nil)
)

func (c shownCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{shownStreams, shownBatches, shownRows, shownBytes, shownRefused} {
		out <- d
	}
}

func (c shownCollector) Collect(out chan<- prometheus.Metric) {
	s := c.server.Stats()
	out <- prometheus.MustNewConstMetric(shownStreams, prometheus.GaugeValue, float64(s.Streams))
	out <- prometheus.MustNewConstMetric(shownBatches, prometheus.CounterValue, float64(s.Batches))
	out <- prometheus.MustNewConstMetric(shownRows, prometheus.CounterValue, float64(s.Rows))
	out <- prometheus.MustNewConstMetric(shownBytes, prometheus.CounterValue, float64(s.Bytes))
	out <- prometheus.MustNewConstMetric(shownRefused, prometheus.CounterValue, float64(s.Refused))
}

func (c feedCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{feedEntries, feedBytes, feedBehind, feedStreams, feedFaults, feedGaps, feedLive, feedNodes} {
		out <- d
	}
}

func (c feedCollector) Collect(out chan<- prometheus.Metric) {
	s := c.mirror.Stats()
	out <- prometheus.MustNewConstMetric(feedEntries, prometheus.CounterValue, float64(s.Entries))
	out <- prometheus.MustNewConstMetric(feedBytes, prometheus.CounterValue, float64(s.Bytes))
	out <- prometheus.MustNewConstMetric(feedBehind, prometheus.GaugeValue, float64(s.Behind))
	out <- prometheus.MustNewConstMetric(feedStreams, prometheus.CounterValue, float64(s.Streams))
	out <- prometheus.MustNewConstMetric(feedFaults, prometheus.CounterValue, float64(s.Faults))
	out <- prometheus.MustNewConstMetric(feedGaps, prometheus.CounterValue, float64(s.Gaps))
	out <- prometheus.MustNewConstMetric(feedLive, prometheus.CounterValue, float64(s.Live))
	out <- prometheus.MustNewConstMetric(feedNodes, prometheus.GaugeValue, float64(s.Answered), "true")
	out <- prometheus.MustNewConstMetric(feedNodes, prometheus.GaugeValue, float64(s.Nodes-s.Answered), "false")
}
