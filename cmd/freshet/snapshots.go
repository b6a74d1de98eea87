package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
)

// share lets node's options have its partitions move between the nodes of the group, through NATS. It returns what closes the
// connection, or nil where partitions stay.
func share(ctx context.Context, c config.Config, kafka *source.Kafka, o *ingest.Options, log *slog.Logger) (func() error, error) {
	if !c.SharesPartitions() {
		return nil, nil
	}
	id, err := kafka.TopicID(ctx)
	if err != nil {
		return nil, err
	}
	// A connection of its own, which keeps nothing back while NATS is away: what was not sent must not be sent later, when
	// another node may have the partition.
	link, err := openNATS(c.NATS, roleIngest, log, nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, err
	}
	store, err := snapshots.New(link.js, snapshots.Config{Topic: c.Kafka.Topic, Group: c.Kafka.Group, TopicID: id, Owner: processName()})
	if err != nil {
		link.Close()
		return nil, err
	}
	o.Moves = moves{store}
	o.Move.SnapshotEvery, o.Move.Earliest = c.Ingest.SnapshotEvery, kafka.Earliest
	return closeConn(link.Conn), nil
}

// processName names this process to operators.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// moves is the store of snapshots as a node wants it.
type moves struct{ store *snapshots.Store }

var _ ingest.Moves = moves{}

func (m moves) Claim(ctx context.Context, p schema.Partition) (ingest.Claim, error) {
	c, err := m.store.Claim(ctx, p)
	if err != nil {
		return nil, moveError(err)
	}
	return claim{c}, nil
}

// moveError makes the errors of the store those that a node tells apart.
func moveError(err error) error {
	for _, e := range []struct{ theirs, ours error }{
		{snapshots.ErrFenced, ingest.ErrFenced}, {snapshots.ErrDoubt, ingest.ErrDoubt}, {snapshots.ErrDamaged, ingest.ErrDamaged},
		{snapshots.ErrTopic, ingest.ErrRefused}, {snapshots.ErrEntry, ingest.ErrRefused},
	} {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w: %w", e.ours, err)
		}
	}
	return err
}

type claim struct{ c *snapshots.Claim }

func (c claim) Left() (ingest.Place, bool) {
	at, ok := c.c.Left()
	return ingest.Place(at), ok
}

func (c claim) State() ingest.Moved {
	s := c.c.State()
	m := ingest.Moved{MarksFrom: s.MarksFrom}
	for _, n := range s.Snapshots {
		m.Snapshots = append(m.Snapshots, ingest.Snapshot{Object: n.Object, Place: ingest.Place(n.At), Bytes: n.Bytes})
	}
	for _, r := range s.Marks {
		m.Marks = append(m.Marks, ingest.Recorded{Kind: markKinds[r.Kind], Emit: r.Emit,
			Mark: buffer.Mark{Epoch: r.Epoch, Watermark: r.Watermark, Offset: r.Offset, Partitions: r.Partitions}})
	}
	return m
}

// markKinds are the names of marks in an entry.
var markKinds = map[string]buffer.Kind{"tick": buffer.KindTick, "end": buffer.KindEnd, "grow": buffer.KindGrow}

func (c claim) Check(ctx context.Context) error { return moveError(c.c.Check(ctx)) }

func (c claim) Record(ctx context.Context, r ingest.Recorded) error {
	m := snapshots.Mark{At: snapshots.At{Offset: r.Mark.Offset, Emit: r.Emit}, Epoch: r.Mark.Epoch, Watermark: r.Mark.Watermark, Partitions: r.Mark.Partitions}
	for name, kind := range markKinds {
		if kind == r.Kind {
			m.Kind = name
		}
	}
	return moveError(c.c.Record(ctx, m))
}

func (c claim) Save(ctx context.Context, export func(io.Writer) (ingest.Place, error)) (ingest.Snapshot, error) {
	s, err := c.c.Save(ctx, func(w io.Writer) (snapshots.At, error) {
		place, err := export(w)
		return snapshots.At(place), err
	})
	return ingest.Snapshot{Object: s.Object, Place: ingest.Place(s.At), Bytes: s.Bytes}, moveError(err)
}

func (c claim) Open(ctx context.Context, s ingest.Snapshot) (io.Reader, error) {
	for _, n := range c.c.State().Snapshots {
		if n.Object == s.Object {
			r, err := c.c.Open(ctx, n)
			if err != nil {
				return nil, moveError(err)
			}
			return snapshotReader{r}, nil
		}
	}
	return nil, fmt.Errorf("snapshot %s: %w: it is not in the entry any more", s.Object, ingest.ErrDamaged)
}

type snapshotReader struct{ r io.Reader }

func (s snapshotReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	return n, moveError(err)
}

func (c claim) Discard(s ingest.Snapshot) { c.c.Discard(snapshots.Snapshot{Object: s.Object}) }

func (c claim) Release(ctx context.Context, at ingest.Place) error {
	return moveError(c.c.Release(ctx, snapshots.At(at)))
}

// moveCollector shows what has happened to snapshots and marks.
type moveCollector struct{ node *ingest.Node }

var moveDescs = struct{ saved, bytes, failed, restored, fallbacks, diverged, fenced, marks, age *prometheus.Desc }{
	saved:     prometheus.NewDesc("freshet_snapshots_total", "Snapshots of partitions that were saved for other nodes.", nil, nil),
	bytes:     prometheus.NewDesc("freshet_snapshot_bytes_total", "Bytes of snapshots that were saved.", nil, nil),
	failed:    prometheus.NewDesc("freshet_snapshot_failures_total", "Snapshots that could not be saved, or were found damaged.", []string{"reason"}, nil),
	restored:  prometheus.NewDesc("freshet_partitions_restored_total", "Partitions that went on from a snapshot.", nil, nil),
	fallbacks: prometheus.NewDesc("freshet_partitions_fallback_total", "Partitions that went on without all of their marks: their log may differ from what was read.", nil, nil),
	diverged:  prometheus.NewDesc("freshet_partitions_diverged_total", "Partitions of which two logs were found.", nil, nil),
	fenced:    prometheus.NewDesc("freshet_partitions_fenced_total", "Times that another node claimed a partition that was assigned to this one.", nil, nil),
	marks:     prometheus.NewDesc("freshet_marks_total", "Ticks, ends and growths that were recorded for other nodes, or left out because they could not be.", []string{"outcome"}, nil),
	age:       prometheus.NewDesc("freshet_snapshot_age_seconds", "How far the partition with the oldest snapshot has gone on since.", nil, nil),
}

// Describe sends what Collect may send.
func (c moveCollector) Describe(out chan<- *prometheus.Desc) {
	d := &moveDescs
	for _, desc := range []*prometheus.Desc{d.saved, d.bytes, d.failed, d.restored, d.fallbacks, d.diverged, d.fenced, d.marks, d.age} {
		out <- desc
	}
}

// Collect sends the figures of now.
func (c moveCollector) Collect(out chan<- prometheus.Metric) {
	s, d := c.node.Stats().Moves, &moveDescs
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	counter(d.saved, s.Snapshots)
	counter(d.bytes, s.Bytes)
	counter(d.failed, s.Failures, "not_saved")
	counter(d.failed, s.Damaged, "damaged")
	counter(d.restored, s.Restored)
	counter(d.fallbacks, s.Fallbacks)
	counter(d.diverged, s.Diverged)
	counter(d.fenced, s.Fenced)
	counter(d.marks, s.Marks, "recorded")
	counter(d.marks, s.Refused, "left_out")
	out <- prometheus.MustNewConstMetric(d.age, prometheus.GaugeValue, s.Age.Seconds())
}

// startSnapshots saves what other nodes need, while the process runs and in.run reads: it is started before, and stopped after.
func (in *intake) startSnapshots(s *stages, metrics prometheus.Registerer, log *slog.Logger) {
	if in.leave == nil {
		return
	}
	metrics.MustRegister(moveCollector{in.node})
	s.start("snapshots", in.node.RunSnapshots)
	log.Info("partitions move between the nodes of the group, through NATS")
}
