package replica_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// sampled is how many of the soak's requests are compared with what their version alone answers: one in so many.
const sampled = 16

// BenchmarkServingSoak adopts a thousand versions, four a second, of 100,000 items, a hundredth of them changed in each, under
// half of the load that the replica can take. No request may fail, and each is answered from one version (I8). It reports
// the 99th percentile with adoptions beside that without, and the live heap at the start, in the middle and at the end.
// The versions are made before: a trainer has a machine of its own.
func BenchmarkServingSoak(b *testing.B) {
	const items, adoptions, every = 100_000, 1000, 250 * time.Millisecond
	s := newShop(b, items, 1000, nil)
	address := spawn(b, child{NATS: s.url})
	asked := newSoakRequests(items)
	asked.record(1, s)
	waitFor(b, address, 1)
	var updates [adoptions]publisher.Update
	for n := range updates {
		if n%(baseEvery+1) == baseEvery {
			updates[n] = s.following(b)
		} else {
			updates[n] = s.update(b, schema.KindDelta)
		}
		asked.record(schema.Version(n+2), s)
	}
	s.trainee = nil
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection of a heap that large takes the cores from the replica
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(10 << 30))
	l := load{address: address, conns: 32, request: asked.request, check: asked.check}
	for b.Loop() {
		most, _ := capacity(b, l)
		l.rate = most / 2
		before := l.during(b, 10*time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan loaded, 1)
		go func() { ended <- l.run(ctx) }()
		var heap [3]float64
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n, u := range updates {
			if n%(adoptions/2) == 0 {
				heap[n*2/adoptions] = liveHeap(b, address)
			}
			m, err := s.p.Publish(b.Context(), u)
			if err != nil || m.Version != schema.Version(n+2) {
				b.Fatalf("version %d: %v", m.Version, err)
			}
			waitFor(b, address, m.Version)
			<-tick.C
		}
		heap[2] = liveHeap(b, address)
		cancel()
		during := <-ended
		if during.failed > 0 {
			b.Fatalf("%d of %d requests failed: %v", during.failed, during.latency.TotalCount(), during.fault)
		}
		after := l.during(b, 10*time.Second)
		after.latency.Merge(before.latency) // the machine is not the same at all times
		b.ReportMetric(l.rate, "asked/s")
		b.ReportMetric(float64(during.latency.TotalCount()), "requests")
		b.ReportMetric(float64(during.failed), "failed")
		b.ReportMetric(float64(asked.compared.Load()), "compared")
		b.ReportMetric(after.millis(99), "p99-without-ms")
		b.ReportMetric(during.millis(99), "p99-with-ms")
		b.ReportMetric(during.millis(99)/after.millis(99), "p99-ratio")
		for i, at := range []string{"start", "middle", "end"} {
			b.ReportMetric(heap[i]/1e6, "heap-"+at+"-MB")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// liveHeap is what the replica's last garbage collection left, in bytes.
func liveHeap(tb testing.TB, address string) float64 {
	return gauge(tb, address, "go_gc_heap_live_bytes")
}

// soakRequests are requests whose answers by every version are known.
type soakRequests struct {
	clicks   [8][]string
	requests [8][]byte
	want     sync.Map // version → [8][]replica.Item
	compared atomic.Int64
}

func newSoakRequests(items int) *soakRequests {
	s := &soakRequests{}
	for i := range s.clicks {
		for c := range 5 {
			s.clicks[i] = append(s.clicks[i], fmt.Sprintf("i%d", (i*5+c)*2_654_435_761%items))
		}
		s.requests[i] = post("/v1/recommend", body(20, s.clicks[i]...))
	}
	return s
}

func (s *soakRequests) request(i int) []byte { return s.requests[i%len(s.requests)] }

// record keeps what the trainee's model answers, as version v.
func (s *soakRequests) record(v schema.Version, from *shop) {
	var want [8][]replica.Item
	for i, clicks := range s.clicks {
		want[i] = expected(from.direct, 20, clicks...)
	}
	s.want.Store(v, want)
}

func (s *soakRequests) check(a answer) error {
	var got replica.Answer
	if err := json.Unmarshal(a.body, &got); err != nil {
		return err
	}
	if header := a.header.Get(replica.HeaderVersion); header != strconv.FormatUint(uint64(got.Model.Version), 10) {
		return fmt.Errorf("the header says version %s, the answer %d", header, got.Model.Version)
	}
	if a.request%sampled != a.request/sampled%sampled { // all requests have their turn
		return nil
	}
	want, ok := s.want.Load(got.Model.Version)
	if !ok {
		return fmt.Errorf("version %d was never published", got.Model.Version)
	}
	s.compared.Add(1)
	if diff := cmp.Diff(want.([8][]replica.Item)[a.request%len(s.requests)], got.Items); diff != "" {
		return fmt.Errorf("the answer is not that of version %d (-want +got):\n%s", got.Model.Version, diff)
	}
	return nil
}
