package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/flight"
)

// How sessions travel between machines: here the log of this process is shown to others, and the logs of others become
// this process's.

// shown is the log of this process as others read it.
type shown struct {
	server   *flight.Server
	listener net.Listener
}

// openShown shows the log of in at l, once start is called. It returns nil where l is nil: the configuration names no address.
func openShown(c config.Flight, l net.Listener, in *intake, log *slog.Logger) (*shown, error) {
	if l == nil {
		return nil, nil
	}
	tls, err := tlsFiles(c).Server()
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host(l)); c.Token == "" && c.TLS.ClientCA == "" && !ip.IsLoopback() {
		log.Warn("whoever reaches this address can read the log: set flight.token, or flight.tls.client_ca", "flight", l.Addr())
	}
	return &shown{server: flight.NewServer(in.store, flight.ServerConfig{Token: c.Token, TLS: tls, Live: in.told, Log: log}), listener: l}, nil
}

func host(l net.Listener) string {
	h, _, _ := net.SplitHostPort(l.Addr().String())
	return h
}

func tlsFiles(c config.Flight) flight.TLSFiles {
	return flight.TLSFiles{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA, ClientCA: c.TLS.ClientCA}
}

// address returns where others read, as they write it in --feed, or "" where they do not.
func (s *shown) address(c config.Flight) string {
	switch {
	case s == nil:
		return ""
	case c.TLS.Cert != "":
		return "grpc+tls://" + s.listener.Addr().String()
	}
	return "grpc://" + s.listener.Addr().String()
}

// start starts the stage, and registers the metrics, of a log that is shown; of none it does nothing.
func (s *shown) start(stages *stages, metrics *prometheus.Registry) {
	if s == nil {
		return
	}
	metrics.MustRegister(shownCollector{s.server})
	stages.start("flight", func(ctx context.Context) error { return s.server.Run(ctx, s.listener) })
}

// openFeed opens a copy of the logs of other nodes in the place of what a Kafka would give.
func openFeed(c config.Config, dir *datadir.Dir, log *slog.Logger) (*intake, error) {
	store, err := buffer.Open(dir.Buffer(), storeOptions(c.Ingest, log))
	if err != nil {
		return nil, err
	}
	m, err := openCopy(c.Flight, store, log)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &intake{mirror: m, store: store}, nil
}

// openCopy mirrors whole logs into store, which must have none of its own.
func openCopy(c config.Flight, store *buffer.Store, log *slog.Logger) (*flight.Mirror, error) {
	partitions, err := store.Partitions()
	if err != nil {
		return nil, err
	}
	for p, m := range partitions {
		if !m.Mirror && m.NextOffset > 0 {
			return nil, fmt.Errorf("this data directory has a log of its own (partition %d), read from Kafka: give --feed an empty --data-dir", p)
		}
	}
	return openMirror(c, 0, store, log)
}

// openMirror mirrors the feed's nodes into store. With latest a new copy begins so far behind the watermark, and may have gaps; 0 begins with the first entry
// there is.
func openMirror(c config.Flight, latest time.Duration, store flight.Store, log *slog.Logger) (*flight.Mirror, error) {
	tls, err := tlsFiles(c).Client()
	if err != nil {
		return nil, err
	}
	// A copy of the latest is for histories, which may have gaps.
	return flight.NewMirror(store, flight.MirrorConfig{
		Nodes: c.Feed, Token: c.Token, TLS: tls, Keep: latest, AcceptGaps: c.AcceptGaps || latest > 0, Log: log,
	})
}

// health says why the log does not grow as it should, or nil.
func (in *intake) health() error {
	if in.mirror != nil {
		return in.mirror.Health()
	}
	return errors.Join(in.kafka.Health(), in.node.Health())
}

// stats returns the figures of the log. Those of a copy are the nodes' as of the last entry that is here; open sessions and
// the lag behind Kafka are known to the nodes alone.
func (in *intake) stats() ingest.Stats {
	if in.mirror == nil {
		return in.node.Stats()
	}
	s := ingest.Stats{Totals: in.store.Totals()}
	partitions, err := in.store.Partitions()
	if err != nil {
		return s // the store is closed: the process ends
	}
	for _, p := range slices.Sorted(maps.Keys(partitions)) {
		m := partitions[p]
		s.Partitions = append(s.Partitions, ingest.PartitionStats{
			Partition: p, NextOffset: m.NextOffset, Watermark: m.Window.Watermark, Epoch: m.Window.Epoch, Ended: m.Window.Ended,
			Pending: m.Window.Counts.Pending(),
		})
	}
	return s
}

// watch registers the metrics of the log, and of the copying where it is a copy.
func (in *intake) watch(metrics prometheus.Registerer) {
	metrics.MustRegister(intakeCollector{in})
	if in.mirror != nil {
		metrics.MustRegister(feedCollector{in.mirror})
	} else {
		metrics.MustRegister(in.commits, toldCollector{in.told})
	}
}
