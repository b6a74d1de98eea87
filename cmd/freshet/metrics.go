package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/schema"
)

// newMetrics returns a registry with what every process shows: its memory, its processor time, its version.
func newMetrics() *prometheus.Registry {
	v := version()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "go": v.Go}})
	build.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector turns the status into Prometheus metrics, so that they, the live view and the JSON cannot disagree. Names have
// base units and no user or item labels.
type collector struct{ status func() view.Status }

var (
	clicksDesc    = prometheus.NewDesc("freshet_clicks_total", "Records read from Kafka.", nil, nil)
	asideDesc     = prometheus.NewDesc("freshet_clicks_aside_total", "Records put aside, by reason.", []string{"reason"}, nil)
	trainedDesc   = prometheus.NewDesc("freshet_clicks_trained_total", "Clicks trained on.", nil, nil)
	pendingDesc   = prometheus.NewDesc("freshet_clicks_pending", "Clicks in open sessions and in parts not trained on yet.", nil, nil)
	openDesc      = prometheus.NewDesc("freshet_sessions_open", "Open sessions.", nil, nil)
	lagDesc       = prometheus.NewDesc("freshet_consumer_lag_records", "Records of the topic that have not been read.", nil, nil)
	watermarkDesc = prometheus.NewDesc("freshet_watermark_lag_seconds", "How far the slowest partition's watermark is behind the fastest's, in event time.", nil, nil)
	stepsDesc     = prometheus.NewDesc("freshet_train_steps_total", "Optimiser steps.", nil, nil)
	levelDesc     = prometheus.NewDesc("freshet_train_level", "What gives way because training is behind: 0 nothing, 1 runs, 2 and 3 histories, 4 and more parts.", nil, nil)
	behindDesc    = prometheus.NewDesc("freshet_train_lag_seconds", "How far training was behind the log when the last micro-batch began, in event time.", nil, nil)
	shedDesc      = prometheus.NewDesc("freshet_train_shed_total", "What gave way because training was behind: pit_runs, parts of histories (at most so many), parts.", []string{"reason"}, nil)
	runsDesc      = prometheus.NewDesc("freshet_train_runs_total", "Runs over buckets of users that came due.", nil, nil)
	runStepsDesc  = prometheus.NewDesc("freshet_train_run_steps_total", "Of the optimiser steps, those of runs.", nil, nil)
	driftDesc     = prometheus.NewDesc("freshet_train_drift_total", "Lasting rises of the loss that were detected.", nil, nil)
	recallDesc    = prometheus.NewDesc("freshet_recall_at_20_ratio", "Prequential recall@20 over the last third of the tests.", []string{"arm"}, nil)
	mrrDesc       = prometheus.NewDesc("freshet_mrr_at_20_ratio", "Prequential MRR@20 over the last third of the tests.", []string{"arm"}, nil)
	scoredDesc    = prometheus.NewDesc("freshet_parts_scored_total", "Parts scored before they were trained on.", nil, nil)

	collectorDescs = []*prometheus.Desc{clicksDesc, asideDesc, trainedDesc, pendingDesc, openDesc, lagDesc, watermarkDesc,
		stepsDesc, levelDesc, behindDesc, shedDesc, runsDesc, runStepsDesc, driftDesc, recallDesc, mrrDesc, scoredDesc}
)

// Describe sends what Collect may send.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range collectorDescs {
		out <- d
	}
}

// Collect sends the figures of now. What has not been measured is left out.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v view.Number, labels ...string) {
		if v.Known() {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
	}
	counter(clicksDesc, float64(s.Clicks))
	for _, reason := range schema.Reasons {
		counter(asideDesc, float64(s.Aside[reason]), string(reason))
	}
	counter(trainedDesc, float64(s.Trained))
	gauge(pendingDesc, view.Number(s.Pending))
	gauge(openDesc, view.Number(s.OpenSessions))
	gauge(lagDesc, view.Number(s.KafkaLag))
	gauge(watermarkDesc, s.WatermarkLagSeconds)
	counter(stepsDesc, float64(s.Steps))
	gauge(levelDesc, view.Number(s.Training.Level))
	gauge(behindDesc, s.Training.LagSeconds)
	shed := s.Training.Shed
	counter(shedDesc, float64(shed.Runs), "pit_runs")
	counter(shedDesc, float64(shed.HistoryParts), "history_parts")
	counter(shedDesc, float64(shed.Parts), "parts")
	counter(runsDesc, float64(s.Training.Runs))
	counter(runStepsDesc, float64(s.Training.RunSteps))
	counter(driftDesc, float64(s.Training.Drift.Detections))
	counter(scoredDesc, float64(s.Scored))
	arms := func(d *prometheus.Desc, of view.Scores) {
		for _, arm := range of.Arms() {
			gauge(d, arm.Number, arm.Arm)
		}
	}
	arms(recallDesc, s.LastThird.Recall20)
	arms(mrrDesc, s.LastThird.MRR20)
}
