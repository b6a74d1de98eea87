package main

import (
	"errors"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/flight"
)

// histories is what serve knows of users: of the logs of the feed's nodes, the latest parts of each.
type histories struct {
	mirror *flight.Mirror
	store  *buffer.Histories
}

func openHistories(c config.Config, dir *datadir.Dir, log *slog.Logger) (*histories, error) {
	if _, err := os.Stat(dir.Buffer()); err == nil {
		log.Warn("this directory has a whole copy of the feed's logs, as replicas kept it before, or a log of another role: serve does not read it, and it may be removed if no other role uses it", "directory", dir.Buffer())
	}
	store, err := buffer.OpenHistories(dir.Histories(), buffer.HistoriesOptions{
		Store: buffer.Options{MinFreeBytes: c.Ingest.MinFree, Log: log}, Parts: c.Flight.KeepParts, Age: c.Flight.Keep, Bytes: c.Flight.KeepBytes,
	})
	if err != nil {
		return nil, err
	}
	m, err := openMirror(c.Flight, c.Flight.Keep, store, log)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &histories{mirror: m, store: store}, nil
}

func (h *histories) close() error { return errors.Join(h.mirror.Close(), h.store.Close()) }

// historiesCollector turns their figures into Prometheus metrics.
type historiesCollector struct{ store *buffer.Histories }

var (
	historiesUsers   = prometheus.NewDesc("freshet_histories_users", "Users of whom parts are kept.", nil, nil)
	historiesBytes   = prometheus.NewDesc("freshet_histories_bytes", "Bytes of the parts that are kept, before compression.", nil, nil)
	historiesParts   = prometheus.NewDesc("freshet_histories_parts_dropped_total", "Parts that made room for later ones of their user.", nil, nil)
	historiesEvicted = prometheus.NewDesc("freshet_histories_users_evicted_total", "Users who were let go: not seen for too long (age), or least recently (bytes).", []string{"reason"}, nil)
)

func (c historiesCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{historiesUsers, historiesBytes, historiesParts, historiesEvicted} {
		out <- d
	}
}

func (c historiesCollector) Collect(out chan<- prometheus.Metric) {
	s := c.store.Stats()
	out <- prometheus.MustNewConstMetric(historiesUsers, prometheus.GaugeValue, float64(s.Users))
	out <- prometheus.MustNewConstMetric(historiesBytes, prometheus.GaugeValue, float64(s.Bytes))
	out <- prometheus.MustNewConstMetric(historiesParts, prometheus.CounterValue, float64(s.PartsOverParts))
	out <- prometheus.MustNewConstMetric(historiesEvicted, prometheus.CounterValue, float64(s.UsersOverAge), "age")
	out <- prometheus.MustNewConstMetric(historiesEvicted, prometheus.CounterValue, float64(s.UsersOverBytes), "bytes")
}
