package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// intakeCollector turns the figures of a log that is read from Kafka into Prometheus metrics.
type intakeCollector struct{ in *intake }

var (
	sourceRecords    = prometheus.NewDesc("freshet_source_records_total", "Records of the topic by what became of them: read, markers of transactions, of aborted transactions, or removed by retention before they were read.", []string{"outcome"}, nil)
	sourceFaults     = prometheus.NewDesc("freshet_source_faults_total", "Requests to the brokers that failed and were tried again.", nil, nil)
	sourceRebalances = prometheus.NewDesc("freshet_source_rebalances_total", "Generations of the consumer group that this process was a member of.", nil, nil)
	sourcePartitions = prometheus.NewDesc("freshet_source_partitions", "Partitions of the topic.", nil, nil)

	partitionLag       = prometheus.NewDesc("freshet_partition_lag_records", "Records of an owned partition that have not been read.", []string{"partition"}, nil)
	partitionWatermark = prometheus.NewDesc("freshet_partition_watermark_timestamp_seconds", "No click with an earlier event time is expected on the partition.", []string{"partition"}, nil)
	partitionOpen      = prometheus.NewDesc("freshet_partition_sessions_open", "Open sessions of an owned partition.", []string{"partition"}, nil)

	partsByCause = prometheus.NewDesc("freshet_parts_total", "Parts of sessions emitted, by cause.", []string{"cause"}, nil)
	closed       = prometheus.NewDesc("freshet_sessions_closed_total", "Sessions closed, by cause.", []string{"cause"}, nil)
	ticks        = prometheus.NewDesc("freshet_ticks_total", "Advances of an idle partition's watermark by the clock.", nil, nil)
	logBytes     = prometheus.NewDesc("freshet_log_bytes", "Bytes of the log of sessions, before compression.", nil, nil)
	asideKept    = prometheus.NewDesc("freshet_aside_records", "Records that are kept aside.", nil, nil)
	asideTrimmed = prometheus.NewDesc("freshet_aside_trimmed_total", "Records aside that had to make room for later ones.", nil, nil)
	asideResent  = prometheus.NewDesc("freshet_aside_resent_total", "Records aside that were sent to the topic again (freshet aside redrive).", nil, nil)
	splitUsers   = prometheus.NewDesc("freshet_users_split_total", "Users seen on two partitions: their producer does not use the user id as the key.", nil, nil)

	intakeDescs = []*prometheus.Desc{sourceRecords, sourceFaults, sourceRebalances, sourcePartitions, partitionLag, partitionWatermark,
		partitionOpen, partsByCause, closed, ticks, logBytes, asideKept, asideTrimmed, asideResent, splitUsers}
)

// closes are the causes that close a session with its part.
var closes = map[schema.Cause]bool{schema.CauseGap: true, schema.CauseMax: true, schema.CauseFull: true, schema.CauseEnd: true}

// Describe sends what Collect may send.
func (c intakeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range intakeDescs {
		out <- d
	}
}

// Collect sends the figures of now.
func (c intakeCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.in.stats()
	for i, cause := range window.Causes {
		counter(partsByCause, s.Totals.Counts.Parts[i], string(cause))
		if closes[cause] {
			counter(closed, s.Totals.Counts.Parts[i], string(cause))
		}
	}
	counter(ticks, s.Totals.Ticks)
	gauge(logBytes, float64(s.Totals.LogBytes))
	gauge(asideKept, float64(s.Totals.AsideKept))
	counter(asideTrimmed, s.Totals.AsideTrimmed)
	counter(asideResent, s.Totals.AsideResent)
	for _, p := range s.Partitions {
		if p.Watermark != schema.BeginningOfTime {
			gauge(partitionWatermark, float64(p.Watermark)/1000, partitionLabel(p.Partition))
		}
	}
	if c.in.kafka == nil {
		return // a copy: the rest is what its nodes know
	}
	for _, p := range s.Partitions {
		gauge(partitionLag, float64(p.Lag), partitionLabel(p.Partition))
		gauge(partitionOpen, float64(p.Sessions), partitionLabel(p.Partition))
	}
	counter(splitUsers, s.SplitUsers)
	k := c.in.kafka.Stats()
	counter(sourceRecords, k.Records, "read")
	counter(sourceRecords, k.Control, "control")
	counter(sourceRecords, k.Aborted, "aborted")
	counter(sourceRecords, k.Expired, "expired")
	counter(sourceFaults, k.Faults)
	counter(sourceRebalances, k.Rebalances)
	gauge(sourcePartitions, float64(k.TopicPartitions))
}

func partitionLabel(p schema.Partition) string { return strconv.Itoa(int(p)) }

// newCommitSeconds returns what measures the commits of a node.
func newCommitSeconds() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "freshet_commit_seconds", Help: "Time of a synced commit of windows, log and offsets, with the wait for room on the disk.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	})
}
