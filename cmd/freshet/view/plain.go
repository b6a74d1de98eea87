package view

import (
	"context"
	"log/slog"
	"time"

	"github.com/freshet-ml/freshet/trainer/recency"
)

// Plain logs a line of the status every so often until ctx ends: the view where there is no terminal.
func Plain(ctx context.Context, log *slog.Logger, every time.Duration, poll func() Status) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			log.LogAttrs(ctx, slog.LevelInfo, "status", attrs(poll())...)
		}
	}
}

// attrs picks what a reader of logs watches. Figures that have not been measured are left out.
func attrs(s Status) []slog.Attr {
	out := []slog.Attr{slog.String("stage", string(s.Stage)), slog.Int64("clicks", s.Clicks)}
	number := func(name string, n Number, decimals float64) {
		if n.Known() {
			out = append(out, slog.Float64(name, float64(int64(float64(n)*decimals+0.5))/decimals))
		}
	}
	number("clicks_per_second", s.ClicksPerSecond, 10)
	out = append(out, slog.Int64("open_sessions", s.OpenSessions), slog.Int64("kafka_lag", s.KafkaLag),
		slog.Int64("trained", s.Trained), slog.Int64("pending", s.Pending), slog.Int64("aside", s.Aside.Total()),
		slog.Uint64("steps", uint64(s.Steps)), slog.Int64("versions", s.Versions))
	if s.Training.Level > recency.Normal {
		out = append(out, slog.String("gives_way", s.Training.Level.String()))
		number("training_lag_seconds", s.Training.LagSeconds, 10)
	}
	number("watermark_lag_seconds", s.WatermarkLagSeconds, 10)
	number("recall_at_20", s.Recall20.Model, 1000)
	number("recall_at_20_item_to_item", s.Recall20.ItemToItem, 1000)
	number("recall_at_20_popularity", s.Recall20.Popularity, 1000)
	number("freshness_p50_seconds", s.Freshness.P50, 10)
	number("freshness_p99_seconds", s.Freshness.P99, 10)
	for _, r := range s.Replicas {
		out = append(out, slog.Uint64(r.ID, uint64(r.Version)))
	}
	if s.Total > 0 {
		out = append(out, slog.Int64("done", s.Done), slog.Int64("total", s.Total))
		if left := eta(s.Done, s.Total, time.Duration(s.UptimeSeconds*float64(time.Second))); left != "" {
			out = append(out, slog.String("left", left))
		}
	}
	return out
}
