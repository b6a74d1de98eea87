package replica_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// What deploy/serving.sh runs. The replica is a process of its own; NATS, the trainer and the load are in this one.

// shop is a NATS server with a line of versions on it, and the trainee that extends the line.
type shop struct {
	*trainee
	url string
	p   *publisher.Publisher
}

// baseEvery is how many deltas follow a base.
const baseEvery = 64

// newShop publishes a base of items of width 64, as change leaves it. The deltas that follow have about touched rows each.
func newShop(tb testing.TB, items, touched int, change func(publisher.Update)) *shop {
	tb.Helper()
	server := natstest.Start(tb, tb.TempDir(), 0)
	cfg := model.DefaultConfig()
	cfg.MaxSessions, cfg.MaxTokens, cfg.LossWithoutHistory, cfg.NegativesUniform = 60, 300, true, touched
	s := &shop{newTraineeOf(tb, cfg, items), server.ClientURL(), newPublisher(tb, dial(tb, server), func(c *publisher.Config) { c.BaseEvery = baseEvery })}
	u := s.update(tb, s.p.NextKind())
	if change != nil {
		change(u)
	}
	if _, err := s.p.Publish(tb.Context(), u); err != nil {
		tb.Fatal(err)
	}
	return s
}

// cluster makes the vectors of a base like trained ones: most of an item is its cluster, and some dimensions say more than others.
func cluster(tb testing.TB, u publisher.Update, rng *rand.Rand) {
	tb.Helper()
	v, err := schema.Col[schema.Vectors](u.Objects[0].Table, "vector")
	if err != nil {
		tb.Fatal(err)
	}
	fill := func(to []float32) {
		for j := range to {
			to[j] = float32(rng.NormFloat64() * math.Exp(-float64(j)/float64(v.Dim)))
		}
	}
	centres, noise := make([]float32, clusters*v.Dim), make([]float32, v.Dim)
	fill(centres)
	for i := range len(v.Values) / v.Dim {
		fill(noise)
		centre, length := centres[i%clusters*v.Dim:], float32(0.3*math.Exp(0.4*rng.NormFloat64()))
		for j, x := range noise {
			v.Values[i*v.Dim+j] = length * (centre[j] + 0.7*x)
		}
	}
}

// waitFor waits until the replica at address serves a version. It asks seldom enough to be no load of its own.
func waitFor(tb testing.TB, address string, v schema.Version) {
	tb.Helper()
	want := strconv.FormatUint(uint64(v), 10)
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		res, err := http.Get("http://" + address + "/livez")
		if err == nil {
			res.Body.Close()
			if res.Header.Get(replica.HeaderVersion) == want {
				return
			}
		}
		if time.Now().After(end) {
			tb.Fatalf("the replica does not serve version %s: %v", want, err)
		}
	}
}

// capacity is how many requests a second a replica answers to a closed loop of 16 connections, its caches warm, and the
// µs of CPU that it takes for one: where other programs share the machine, the latter says more.
func capacity(tb testing.TB, l load) (requestsPerSec, cpuMicros float64) {
	tb.Helper()
	l.conns, l.rate = 16, 0
	l.during(tb, 2*time.Second)
	cpu := gauge(tb, l.address, "process_cpu_seconds_total")
	most := l.during(tb, 4*time.Second)
	cpu = gauge(tb, l.address, "process_cpu_seconds_total") - cpu
	return most.requestsPerSec(), 1e6 * cpu / float64(most.latency.TotalCount())
}

// fixedRate is asked for a second as well, so that runs compare whatever a replica can answer.
const fixedRate = 1500

// onOneCore reports what a replica with GOMAXPROCS=1 answers, and how long answers take at three, five and seven tenths of that.
func onOneCore(b *testing.B, items int, how model.Serving, users int, request func(i int) []byte) {
	s := newShop(b, items, 1000, func(u publisher.Update) { cluster(b, u, rand.New(rand.NewPCG(1, 1))) })
	address := spawn(b, child{NATS: s.url, Procs: 1, Serving: how, Users: users, Tokens: 256, Items: items})
	waitFor(b, address, 1)
	s.trainee = nil
	runtime.GC() // the trainer's heap is of no more use
	l := load{address: address, conns: 32, request: request}
	for b.Loop() {
		most, cpu := capacity(b, l)
		b.ReportMetric(most, "requests/s")
		b.ReportMetric(cpu, "cpu-µs/request")
		report := func(of string, rate float64) {
			l.rate = rate
			got := l.during(b, 6*time.Second)
			b.ReportMetric(rate, "asked/s-at-"+of)
			b.ReportMetric(got.millis(50), "p50-ms-at-"+of)
			b.ReportMetric(got.millis(99), "p99-ms-at-"+of)
		}
		for _, share := range []float64{0.3, 0.5, 0.7} {
			report(fmt.Sprint(share), share*most)
		}
		if most > fixedRate {
			report(fmt.Sprintf("%d/s", fixedRate), fixedRate)
		}
	}
	if how.Index != "" {
		b.ReportMetric(gauge(b, address, `freshet_index_recall_ratio{lane="stable"}`), "recall")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkServingHistories asks for users with 256 tokens of history.
func BenchmarkServingHistories(b *testing.B) {
	for _, c := range []struct {
		items int
		name  string
		how   model.Serving
	}{
		{100_000, "float32", model.Serving{}}, {100_000, "int8", model.Serving{Precision: model.Int8}}, {100_000, "int4", model.Serving{Precision: model.Int4}}, {100_000, "ivf", model.Serving{Index: model.IVF}},
		{1_000_000, "int8", model.Serving{Precision: model.Int8}}, {1_000_000, "int4", model.Serving{Precision: model.Int4}}, {1_000_000, "ivf", model.Serving{Index: model.IVF}},
	} {
		b.Run(fmt.Sprintf("%d/%s", c.items, c.name), func(b *testing.B) {
			const users = 256
			var requests [users][]byte
			for u := range requests {
				requests[u] = get(fmt.Sprintf("/v1/recommend?user_id=u%d&k=20", u))
			}
			onOneCore(b, c.items, c.how, users, func(i int) []byte { return requests[i%users] })
		})
	}
}

// BenchmarkServingClicks asks with five clicks in the request, of 3,700 items.
func BenchmarkServingClicks(b *testing.B) {
	const items = 3_700
	var requests [256][]byte
	for i := range requests {
		var ids []string
		for c := range 5 {
			ids = append(ids, fmt.Sprintf("i%d", (i*5+c)*2_654_435_761%items))
		}
		requests[i] = post("/v1/recommend", body(10, ids...))
	}
	onOneCore(b, items, model.Serving{}, 0, func(i int) []byte { return requests[i%len(requests)] })
}

// BenchmarkServingAdopt is the time from Publish of a delta of some 1,000 rows until a replica of a million items serves it.
func BenchmarkServingAdopt(b *testing.B) {
	const items, deltas = 1_000_000, 40
	s := newShop(b, items, 1000, nil)
	began := time.Now()
	address := spawn(b, child{NATS: s.url})
	waitFor(b, address, 1)
	load := time.Since(began)
	for b.Loop() {
		took, rows := newLatencies(), 0
		for range deltas {
			u := s.update(b, schema.KindDelta)
			ids, err := schema.Col[[]string](u.Objects[0].Table, "item_id")
			if err != nil {
				b.Fatal(err)
			}
			rows += len(ids)
			began := time.Now()
			m, err := s.p.Publish(context.Background(), u)
			if err != nil {
				b.Fatal(err)
			}
			waitFor(b, address, m.Version)
			took.RecordValue(time.Since(began).Microseconds())
		}
		b.ReportMetric(load.Seconds(), "base-s")
		b.ReportMetric(float64(rows)/deltas, "rows")
		b.ReportMetric(float64(took.ValueAtQuantile(50))/1000, "p50-ms")
		b.ReportMetric(float64(took.ValueAtQuantile(99))/1000, "p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}
