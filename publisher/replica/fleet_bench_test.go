package replica_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// BenchmarkServingFleet lets a hundred replicas, each with a connection of its own, follow one trainer: the time from Publish
// until the last of them serves the version, and what the NATS server sends for it.
func BenchmarkServingFleet(b *testing.B) {
	const items, size, deltas = 10_000, 100, 20
	server := natstest.Start(b, b.TempDir(), 0)
	p := newPublisher(b, dial(b, server), func(c *publisher.Config) { c.BaseEvery = publisher.MaxChain })
	cfg := model.DefaultConfig()
	cfg.LossWithoutHistory, cfg.NegativesUniform = true, 1000
	trainee := newTraineeOf(b, cfg, items)
	var fleet [size]*replica.Replica
	for i := range fleet {
		fleet[i], _ = start(b, config(fmt.Sprintf("r%d", i)), dial(b, server), nil)
	}
	sent := func() int64 {
		v, err := server.Varz(nil)
		if err != nil {
			b.Fatal(err)
		}
		return v.OutBytes
	}
	adopted := func(v schema.Version) {
		for _, r := range fleet {
			serves(b, r, v)
		}
	}
	for b.Loop() {
		began := time.Now()
		m := trainee.publish(b, p)
		adopted(m.Version)
		base := time.Since(began)
		took, size, before := newLatencies(), int64(0), sent()
		for range deltas {
			u := trainee.update(b, schema.KindDelta)
			began := time.Now()
			m := send(b, p, u)
			adopted(m.Version)
			took.RecordValue(time.Since(began).Microseconds())
			for _, o := range m.Objects {
				size += o.Bytes
			}
		}
		b.ReportMetric(base.Seconds()*1000, "base-ms")
		b.ReportMetric(float64(took.ValueAtQuantile(50))/1000, "p50-ms")
		b.ReportMetric(float64(took.Max())/1000, "max-ms")
		b.ReportMetric(float64(size)/deltas, "bytes/version")
		b.ReportMetric(float64(sent()-before)/deltas, "egress-bytes/version")
	}
	b.ReportMetric(0, "ns/op")
}
