package main

import (
	"sync"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// monitor collects the figures of a running node into a view.Status.
type monitor struct {
	in       *intake
	train    *training
	producer *source.Producer // nil where the clicks come from elsewhere
	input    source.Stream    // of the producer
	static   view.Status      // addresses and backend
	started  time.Time

	mu        sync.Mutex // guards what follows
	stage     view.Stage
	rate      view.Number // clicks read per second, over about rateOver
	rateFrom  int64
	rateSince time.Time
}

// rateOver is the time over which the rate of clicks is measured.
const rateOver = 2 * time.Second

func (m *monitor) enter(s view.Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage = s
}

// status returns the figures as they are now. It may be called from any goroutine.
func (m *monitor) status() view.Status {
	s := m.static
	now := time.Now()
	s.UptimeSeconds = now.Sub(m.started).Seconds()

	var trained trainer.Stats // read before ingest's figures: it cannot have trained on what is not in them
	if m.train != nil {
		trained = m.train.trainer.Stats()
	}
	in := m.in.stats()
	counts := in.Totals.Counts
	s.Clicks = int64(counts.In())
	s.Aside = view.Aside{}
	for i, reason := range schema.Reasons {
		if n := counts.Rejected[i]; n > 0 {
			s.Aside[reason] = int64(n)
		}
	}
	for _, n := range counts.Parts {
		s.Parts += int64(n)
	}
	behind := time.Duration(-1)
	var newest schema.EventTime
	for _, p := range in.Partitions {
		s.OpenSessions += p.Sessions
		s.KafkaLag += p.Lag
		newest = max(newest, p.Watermark)
	}
	for _, p := range in.Partitions {
		if p.Watermark != schema.BeginningOfTime && !p.Ended {
			behind = max(behind, time.Duration(newest-p.Watermark)*time.Millisecond)
		}
	}
	s.WatermarkLagSeconds = view.None
	if behind >= 0 {
		s.WatermarkLagSeconds = view.Number(behind.Seconds())
	}
	s.ClicksPerSecond = m.clicksPerSecond(now, s.Clicks)
	if m.train != nil {
		m.addTraining(&s, trained, int64(counts.Emitted))
	}
	s.Pending += int64(counts.Pending())
	if p, ok := m.input.(source.Progress); ok {
		s.Done, s.Total = p.Progress()
	} else if m.input != nil && m.input.Len() >= 0 {
		sent := m.producer.Stats()
		s.Done, s.Total = int64(sent.Sent+sent.Skipped), int64(m.input.Len())
	}
	s.Total = max(s.Total, 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Stage = m.stage
	return s
}

func (m *monitor) addTraining(s *view.Status, t trainer.Stats, emitted int64) {
	s.Trained, s.Steps, s.Versions, s.Digest = t.Clicks, t.Steps, int64(t.Version), t.Digest
	s.Pending = emitted - t.Clicks
	s.Training = view.Training{
		Level: t.Level, GivesWay: t.Level.String(), LagSeconds: view.None, Runs: t.Runs, RunSteps: t.RunSteps, Shed: t.Shed,
		Drift: view.Drift{Detections: t.Drifts.Detections, Last: t.Drifts.Last},
	}
	if t.Lag >= 0 {
		s.Training.LagSeconds = view.Number(t.Lag.Seconds())
	}
	s.Scored, s.Rule = t.Whole.Tests, evaluate.Rule
	s.Recall20, s.MRR20 = scores(t.Whole)
	s.LastThird.Scored = t.Third.Tests
	s.LastThird.Recall20, s.LastThird.MRR20 = scores(t.Third)
	s.Freshness = view.Quantiles{P50: view.None, P99: view.None}
	if p50, p99, n := m.train.fresh.Quantiles(); n > 0 {
		s.Freshness = view.Quantiles{P50: view.Number(p50.Seconds()), P99: view.Number(p99.Seconds())}
	}
	for _, r := range m.train.replicas() {
		age := view.None
		if !r.AppliedAt.IsZero() {
			age = view.Number(time.Since(r.AppliedAt).Seconds())
		}
		s.Replicas = append(s.Replicas, view.Replica{Adopted: view.Adopted{ID: r.ID, Version: r.Version}, AgeSeconds: age, Address: r.Address, Problem: r.Refused})
	}
}

func scores(g evaluate.Group) (recall, mrr view.Scores) {
	r, m := map[string]view.Number{}, map[string]view.Number{}
	for _, arm := range g.Arms {
		r[arm.Arm], m[arm.Arm] = view.Number(arm.Recall20), view.Number(arm.MRR20)
	}
	of := func(of map[string]view.Number) view.Scores {
		number := func(arm int) view.Number {
			if v, ok := of[learn.ArmNames[arm]]; ok {
				return v
			}
			return view.None
		}
		s := view.Scores{
			Model: number(learn.ArmModel), Blend: number(learn.ArmBlend), VSKNN: number(learn.ArmVSKNN), STAN: number(learn.ArmSTAN), VSTAN: number(learn.ArmVSTAN),
			ItemToItem: number(learn.ArmItemToItem), Popularity: number(learn.ArmPopularity),
		}
		if best := number(learn.ArmBest); best.Known() {
			s.Best = &best
		}
		return s
	}
	return of(r), of(m)
}

func (m *monitor) clicksPerSecond(now time.Time, clicks int64) view.Number {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch over := now.Sub(m.rateSince); {
	case m.rateSince.IsZero():
		m.rate, m.rateFrom, m.rateSince = view.None, clicks, now
	case over >= rateOver:
		m.rate = view.Number(float64(clicks-m.rateFrom) / over.Seconds())
		m.rateFrom, m.rateSince = clicks, now
	}
	return m.rate
}
