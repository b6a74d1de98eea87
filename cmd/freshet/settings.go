package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/trainer"
	"github.com/freshet-ml/freshet/trainer/replay"
)

// The packages below know nothing of the configuration file: here it becomes their own configs.

func windowConfig(c config.Window) window.Config {
	return window.Config{
		Gap: c.Gap, LatenessBound: c.Lateness, PartAge: c.PartAge, PartClicks: c.PartClicks,
		MaxSessionAge: c.MaxSessionAge, MaxSessionClicks: c.MaxSessionClicks, MaxOpenSessions: c.MaxOpenSessions,
	}
}

func storeOptions(c config.Ingest, log *slog.Logger) buffer.Options {
	return buffer.Options{LogAge: c.Keep, LogBytes: c.KeepBytes, MinFreeBytes: c.MinFree, Log: log}
}

func simConfig(c config.Config) sim.Config {
	s := sim.DefaultConfig()
	s.Seed, s.Records = c.Sim.Seed, c.Source.Clicks
	s.Users, s.Items, s.Clusters = c.Sim.Users, c.Sim.Items, c.Sim.Clusters
	s = s.AtRate(c.Sim.Rate) // a busier shop needs more users than were configured
	s.SessionClicks, s.Think, s.ItemLife = c.Sim.SessionClicks, c.Sim.Think, c.Sim.ItemLife
	s.TasteDrift, s.TasteJump, s.ExposureShare = c.Sim.TasteDrift, c.Sim.TasteJump, c.Sim.ExposureShare
	s.OutOfOrder, s.Late, s.Duplicate = c.Sim.OutOfOrder, c.Sim.Late, c.Sim.Duplicate
	s.Undecodable, s.Invalid = c.Sim.Undecodable, c.Sim.Invalid
	s.Lateness = c.Window.Lateness
	return s
}

func trainerConfig(c config.Train) trainer.Config {
	t := trainer.DefaultConfig()
	t.BatchParts, t.BatchSpan = c.BatchParts, c.BatchSpan
	t.Learn.HistoryParts, t.Learn.Baseline, t.Learn.Recency = c.HistoryParts, c.Live, c.Recency
	t.PublishEvery, t.WeightsEvery, t.CheckpointEvery, t.KeepCheckpoints = c.PublishEvery, c.WeightsEvery, c.CheckpointEvery, c.KeepCheckpoints
	t.Learn.Model, t.Learn.Drift, t.Learn.TestParts = c.ModelConfig(), c.Drift, c.TestParts
	return t
}

// decodeConfig is what the records of the topic look like.
func decodeConfig(c config.Source) (decode.Config, error) {
	r, err := c.Records()
	if err != nil {
		return decode.Config{}, err
	}
	d := decode.Config{Format: decode.Format(r.Format), Fields: r.Fields, Actions: r.Actions}
	if c.Kind() != config.KindKafka {
		return d, nil // records of this program's making are plain JSON
	}
	d.Framing, d.SchemaFile, d.SchemaMessage = decode.Framing(c.Framing), c.SchemaFile, c.SchemaMessage
	s := c.SchemaRegistry
	d.Registry = decode.RegistryConfig{User: s.User, Password: s.Password, Token: s.Token, CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, Timeout: s.Timeout}
	if s.URL != "" {
		d.Registry.URLs = strings.Split(s.URL, ",")
	}
	return d, nil
}

// openStream opens what is to be produced. The id tells streams in one topic apart; the bound on their length is not part
// of it, so that a longer run goes on behind a shorter one. What has to be sorted and does not fit into memory is sorted in
// the folder sortIn.
func openStream(c config.Config, sortIn string) (stream source.Stream, id uint64, err error) {
	h := fnv.New64a()
	switch c.Source.Kind() {
	case config.KindSim:
		s := simConfig(c)
		if stream, err = sim.New(s); err != nil {
			return nil, 0, err
		}
		s.Records = 0
		fmt.Fprintf(h, "sim %+v", s)
		return stream, h.Sum64(), nil
	case config.KindFile:
		format, err := c.Source.FileFormat()
		if err != nil {
			return nil, 0, err
		}
		if stream, err = source.OpenFile(c.Source.From, format, source.Options{Fields: c.Source.Fields}); err != nil {
			return nil, 0, err
		}
		fmt.Fprintf(h, "file %s %s", format, c.Source.From)
		if c.Source.Sorts(format) {
			stream = source.Sort(stream, sortIn)
			fmt.Fprint(h, " by time")
		}
		if c.Source.Clicks > 0 {
			stream = source.Limit(stream, c.Source.Clicks)
		}
		return stream, h.Sum64(), nil
	}
	return nil, 0, errors.New("a Kafka topic is read where it is: give --source sim or a file to produce")
}

func producerConfig(c config.Config, brokers []string, id uint64, live bool, log *slog.Logger) (source.ProducerConfig, error) {
	speed, err := c.Source.SpeedFactor(live)
	if err != nil {
		return source.ProducerConfig{}, err
	}
	return source.ProducerConfig{Brokers: brokers, Security: security(c.Kafka), Topic: c.Kafka.Topic, StreamID: id, Speed: speed, Log: log}, nil
}

// security says how the brokers are reached.
func security(k config.Kafka) source.Security {
	s := source.Security{
		TLS: source.TLS{Enabled: k.TLS.Enabled, CAFile: k.TLS.CAFile, CertFile: k.TLS.CertFile, KeyFile: k.TLS.KeyFile,
			ServerName: k.TLS.ServerName, AcceptAnyCertificate: k.TLS.AcceptAnyCertificate},
		SASL: source.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.User, Password: k.SASL.Password, PasswordFile: k.SASL.PasswordFile},
	}
	if s.SASL.Mechanism == "none" {
		s.SASL.Mechanism = ""
	}
	return s
}

// defaultStreamArm is what an arm of a replay is where nothing is given: what the trainer would be.
func defaultStreamArm(c config.Config) replay.StreamArm {
	arm := replay.StreamArm{Learn: trainerConfig(c.Train).Learn, Online: replay.DefaultOnline()}
	arm.Online.BatchParts, arm.Online.BatchSpan, arm.Online.HistoryParts = c.Train.BatchParts, c.Train.BatchSpan, c.Train.HistoryParts
	arm.Online.Drift = c.Train.Drift
	return arm
}

// orNone is a setting of which 0 means none, as a part wants it whose own 0 is its default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
