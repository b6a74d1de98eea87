package replica_test

import (
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
)

// BenchmarkRecommend answers a user with two clicks from 10 000 items, through the handler, on one goroutine.
func BenchmarkRecommend(b *testing.B) {
	js := dial(b, natstest.Start(b, b.TempDir(), 0))
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

// BenchmarkServe answers a user with five clicks from 3 700 items over connections that stay open, some at a time, as callers would. The callers run on the same cores.
func BenchmarkServe(b *testing.B) {
	js := dial(b, natstest.Start(b, b.TempDir(), 0))
	newTrainee(b, 3700).publish(b, newPublisher(b, js, nil))
	r, _ := start(b, config("r1"), js, nil)
	serves(b, r, 1)
	url, stop := listening(b, r)
	defer stop()
	const callers = 8
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	defer transport.CloseIdleConnections()
	client, request := &http.Client{Transport: transport}, body(20, "i1", "i2", "i3", "i4", "i5")
	var (
		mu   sync.Mutex
		took []time.Duration
	)
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var mine []time.Duration
		for pb.Next() {
			began := time.Now()
			res, err := client.Post(url+"/v1/recommend", "application/json", strings.NewReader(request))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != 200 {
				b.Errorf("status %d", res.StatusCode)
			}
			mine = append(mine, time.Since(began))
		}
		mu.Lock()
		took = append(took, mine...)
		mu.Unlock()
	})
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkPublishToAdopt takes a delta of 10 000 items from Publish to being served.
func BenchmarkPublishToAdopt(b *testing.B) {
	js := dial(b, natstest.Start(b, b.TempDir(), 0))
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
