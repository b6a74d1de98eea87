package replica_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// sampled is how many of the soak's requests are compared with what their version alone answers: one in so many.
const sampled = 16

// BenchmarkServingSoak adopts a thousand versions, four a second, of 100,000 items, a hundredth of them changed in each, under
// half of the load that the replica can take. No request may fail, and each is answered from one version (I8). It reports
// the 99th percentile with adoptions beside that without, and the live heap at the start, in the middle and at the end.
func BenchmarkServingSoak(b *testing.B) {
	const items, adoptions, every = 100_000, 1000, 250 * time.Millisecond
	o, asked := origin{Items: items, Versions: 1 + adoptions}, newSoakRequests(items)
	o.begin(b, asked)
	address := spawn(b, child{NATS: o.url})
	waitFor(b, address, 1)
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
		for n := range adoptions {
			if n%(adoptions/2) == 0 {
				heap[n*2/adoptions] = liveHeap(b, address)
			}
			o.publish(b)
			waitFor(b, address, schema.Version(n+2))
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

// answers are those of a model.
func (s *soakRequests) answers(m *model.Served) (want [8][]replica.Item) {
	for i, clicks := range s.clicks {
		want[i] = expected(m, 20, clicks...)
	}
	return want
}

func (s *soakRequests) check(a answer) error {
	version, err := strconv.ParseUint(a.header.Get(replica.HeaderVersion), 10, 64)
	if err != nil || !bytes.Contains(a.body, fmt.Appendf(nil, `"version":%d,`, version)) {
		return fmt.Errorf("the header says version %d (%v), the answer %.200s", version, err, a.body)
	}
	if a.request%sampled != a.request/sampled%sampled { // all requests have their turn
		return nil
	}
	var got replica.Answer
	if err := json.Unmarshal(a.body, &got); err != nil {
		return err
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
