package replica_test

import (
	"testing"

	"github.com/freshet-ml/freshet/publisher"
)

// BenchmarkRecommend answers a user with two clicks from 10 000 items, through the handler, on one goroutine.
func BenchmarkRecommend(b *testing.B) {
	js := dial(b, startNATS(b, b.TempDir(), 0))
	newTrainee(b, 10_000).publish(b, newPublisher(b, js, nil))
	r, _ := start(b, config("r1"), js, nil)
	serves(b, r, 1)
	h, request := r.Handler(), body(20, "i1", "i2")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if w := call(h, "POST", "/v1/recommend", request); w.Code != 200 {
			b.Fatal(w.Body)
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkPublishToAdopt takes a delta of 10 000 items from Publish to being served.
func BenchmarkPublishToAdopt(b *testing.B) {
	js := dial(b, startNATS(b, b.TempDir(), 0))
	p := newPublisher(b, js, func(c *publisher.Config) { c.BaseEvery = publisher.MaxChain })
	trainee := newTrainee(b, 10_000)
	r, _ := start(b, config("r1"), js, nil)
	serves(b, r, trainee.publish(b, p).Version)
	for b.Loop() {
		b.StopTimer()
		u := trainee.update(b, p.NextKind())
		b.StartTimer()
		m, err := p.Publish(b.Context(), u)
		if err != nil {
			b.Fatal(err)
		}
		for c, _ := r.Current(); c.Version != m.Version; c, _ = r.Current() {
		}
	}
}
