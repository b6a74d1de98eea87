package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// What replicas know of users, as the commands set it up.

// cacheBytes is the share of one of some replicas, as a replica wants it: its zero is a default.
func cacheBytes(all int64, replicas int) int64 {
	if all == 0 {
		return -1
	}
	return max(1, all/int64(replicas))
}

// liveClicks returns what the replicas of this process hold of clicks that are in no part yet, or nil where the configuration wants nothing held.
func liveClicks(c config.Serve, metrics prometheus.Registerer) *replica.LiveClicks {
	if c.LiveBytes == 0 {
		return nil
	}
	l := replica.NewLiveClicks(c.LiveBytes)
	metrics.MustRegister(l)
	return l
}

// hear adds what a node of this process tells to what its replicas hold, until ctx ends.
func hear(ctx context.Context, told *live.Broadcast, into *replica.LiveClicks) error {
	l := told.Listen()
	defer l.Close()
	for {
		clicks, err := l.Next(ctx)
		if err != nil {
			return err
		}
		for _, c := range clicks {
			if err := c.Each(func(c *schema.Click) error { into.Add(c); return nil }); err != nil {
				return err
			}
		}
	}
}

// toldCollector turns the figures of a broadcast into Prometheus metrics.
type toldCollector struct{ told *live.Broadcast }

var (
	toldClicks    = prometheus.NewDesc("freshet_live_told_total", "Clicks that replicas were told of when they were durable.", nil, nil)
	toldLost      = prometheus.NewDesc("freshet_live_lost_total", "Clicks that a listener was too slow to be told of: they come to it with their part.", nil, nil)
	toldListeners = prometheus.NewDesc("freshet_live_listeners", "Who listens: the replicas of this process, and of others over Arrow Flight.", nil, nil)
)

func (c toldCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{toldClicks, toldLost, toldListeners} {
		out <- d
	}
}

func (c toldCollector) Collect(out chan<- prometheus.Metric) {
	s := c.told.Stats()
	out <- prometheus.MustNewConstMetric(toldClicks, prometheus.CounterValue, float64(s.Told))
	out <- prometheus.MustNewConstMetric(toldLost, prometheus.CounterValue, float64(s.Lost))
	out <- prometheus.MustNewConstMetric(toldListeners, prometheus.GaugeValue, float64(s.Listeners))
}
