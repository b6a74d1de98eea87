package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// arrivals is a stream of clicks on ids that come and go: every third click is on a new one, the others on one of before, whose age is as likely to have one digit as
// seven.
type arrivals struct {
	rng *rand.Rand
	ids int
	at  schema.EventTime
}

func newArrivals() *arrivals {
	return &arrivals{rng: rand.New(rand.NewPCG(9, 9)), at: 1_700_000_000_000}
}

func (a *arrivals) next(i int) string {
	a.at += 20
	if i%3 == 0 {
		a.ids++
		return fmt.Sprintf("item-%011d", a.ids)
	}
	age := int(math.Pow(float64(a.ids), a.rng.Float64()))
	return fmt.Sprintf("item-%011d", max(1, a.ids-age+1))
}

// weekOfChurn sends the clicks of so many ids through cfg's budget and returns the heap when a fifth had come and at the end, the rows that were given up, and in how many
// sweeps.
func weekOfChurn(tb testing.TB, cfg Config, ids int) (early, late uint64, gone, sweeps int) {
	m := filled(tb, cfg, 0)
	a := newArrivals()
	for i := range 3 * ids {
		id := a.next(i)
		m.Admit(id, schema.ItemInfo{Category: id[len(id)-2:], Price: float64(len(id))}, a.at)
		if i%256 == 0 {
			if n := len(m.Sweep(a.at)); n > 0 {
				gone, sweeps = gone+n, sweeps+1
			}
		}
		if i%(1<<20) == 0 {
			m.Snapshot(false, nil)
			m.Saved()
		}
		if i == 3*ids/5 {
			early = heapBytes()
		}
	}
	late = heapBytes()
	if a.ids < ids || m.Items() > cfg.MaxItems {
		tb.Fatalf("%d ids, %d rows", a.ids, m.Items())
	}
	runtime.KeepAlive(m)
	return early, late, gone, sweeps
}

// TestMemoryIsFlatUnderChurn is BenchmarkWeekOfChurn at a hundredth of the size: what the heap holds when the budget is full is all it ever holds.
func TestMemoryIsFlatUnderChurn(t *testing.T) {
	for _, after := range []int{1, 2} {
		cfg := small()
		cfg.MaxItems, cfg.AdmitAfter, cfg.AdmitSketch = 10_000, after, 1<<16
		before := heapBytes()
		early, late, gone, _ := weekOfChurn(t, cfg, 100_000)
		if grown := float64(late-before) / float64(early-before); grown > 1.05 || gone < 20_000 {
			t.Errorf("admission after %d: the heap grew from %d to %d bytes, by %.3f, while %d rows were given up", after, early-before, late-before, grown, gone)
		}
	}
}

// BenchmarkWeekOfChurn sends ten million ids through a million rows of width 64.
func BenchmarkWeekOfChurn(b *testing.B) {
	for _, after := range []int{1, 2} {
		b.Run(fmt.Sprint("admit_after=", after), func(b *testing.B) {
			const ids = 10_000_000
			done := reportCPU(b)
			for b.Loop() {
				cfg := DefaultConfig()
				cfg.MaxItems, cfg.AdmitAfter, cfg.AdmitSketch = 1_000_000, after, 1<<22
				before := heapBytes()
				early, late, gone, sweeps := weekOfChurn(b, cfg, ids)
				b.ReportMetric(float64(early-before)/1e6, "MB-at-2M-ids")
				b.ReportMetric(float64(late-before)/1e6, "MB-at-10M-ids")
				b.ReportMetric(float64(gone)/1e6, "M-rows-given-up")
				b.ReportMetric(float64(sweeps), "sweeps")
			}
			done(3 * ids * b.N) // a click is an operation
		})
	}
}
