package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/trainer"
)

// The packages below know nothing of the configuration file: here it becomes their own configs.

func windowConfig(c config.Window) window.Config {
	return window.Config{
		Gap: c.Gap, LatenessBound: c.Lateness, PartAge: c.PartAge, PartClicks: c.PartClicks,
		MaxSessionAge: c.MaxSessionAge, MaxSessionClicks: c.MaxSessionClicks,
	}
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
	t.BatchParts, t.BatchSpan, t.HistoryParts = c.BatchParts, c.BatchSpan, c.HistoryParts
	t.PopularityHalfLife = c.PopularityHalfLife
	t.PublishEvery, t.CheckpointEvery, t.KeepCheckpoints = c.PublishEvery, c.CheckpointEvery, c.KeepCheckpoints
	t.Model.Dim, t.Model.Blocks, t.Model.Heads, t.Model.Seed = c.Model.Dim, c.Model.Blocks, c.Model.Heads, c.Seed
	t.Model.DenseRate, t.Model.RowRate = c.Model.DenseRate, c.Model.RowRate
	t.Model.SideRate = c.Model.SideRate
	t.Model.NegativesUniform, t.Model.NegativesRecent = c.Model.NegativesUniform, c.Model.NegativesRecent
	t.Model.MaxSessions = c.HistoryParts
	return t
}

// openStream opens what is to be produced. The id tells streams in one topic apart; the bound on their length is not part
// of it, so that a longer run goes on behind a shorter one.
func openStream(c config.Config) (stream source.Stream, id uint64, err error) {
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
		if c.Source.Clicks > 0 {
			stream = source.Limit(stream, c.Source.Clicks)
		}
		fmt.Fprintf(h, "file %s %s", format, c.Source.From)
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
