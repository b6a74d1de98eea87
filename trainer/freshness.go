package trainer

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/freshet-ml/freshet/schema"
)

// arrivals counts clicks by arrival time, rounded down to arrivalStep.
type arrivals map[schema.ArrivalTime]int64

const (
	arrivalStep   = 10 // ms; a hundredth of the shortest freshness anyone reads
	maxInFlight   = 1024
	longestMillis = 7 * 24 * 60 * 60 * 1000
)

func (a arrivals) add(t schema.ArrivalTime) { a[t-t%arrivalStep]++ }

// Freshness measures the time from a click's arrival on Kafka to the first replica that serves a model trained on it. It
// is safe for use by several goroutines.
type Freshness struct {
	mu       sync.Mutex
	inFlight []published // versions not yet adopted by any replica; at most maxInFlight, oldest dropped
	millis   *hdrhistogram.Histogram
	observe  func(seconds float64, clicks int64)
}

type published struct {
	version schema.Version
	clicks  arrivals
}

// NewFreshness returns an empty measurement. observe is called for every group of clicks with the same freshness, and may
// be nil.
func NewFreshness(observe func(seconds float64, clicks int64)) *Freshness {
	if observe == nil {
		observe = func(float64, int64) {}
	}
	return &Freshness{millis: hdrhistogram.New(1, longestMillis, 3), observe: observe}
}

func (f *Freshness) publish(v schema.Version, clicks arrivals) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.inFlight) == maxInFlight {
		f.inFlight = f.inFlight[1:]
	}
	f.inFlight = append(f.inFlight, published{v, clicks})
}

// Adopted says that a replica serves version v since at.
func (f *Freshness) Adopted(v schema.Version, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for ; n < len(f.inFlight) && f.inFlight[n].version <= v; n++ {
		for arrived, clicks := range f.inFlight[n].clicks {
			ms := min(max(at.UnixMilli()-int64(arrived), 0), longestMillis)
			f.millis.RecordValues(ms, clicks) // in range by the line above
			f.observe(float64(ms)/1000, clicks)
		}
	}
	f.inFlight = f.inFlight[n:]
}

// Quantiles returns the median and the 99th percentile, and how many clicks they rest on.
func (f *Freshness) Quantiles() (p50, p99 time.Duration, clicks int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := func(q float64) time.Duration { return time.Duration(f.millis.ValueAtQuantile(q)) * time.Millisecond }
	return at(50), at(99), f.millis.TotalCount()
}
