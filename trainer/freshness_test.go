package trainer

import (
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

func TestFreshnessCountsEachClickOnceAtItsFirstAdoption(t *testing.T) {
	var seconds float64
	f := NewFreshness(func(s float64, clicks int64) { seconds += s * float64(clicks) })
	base := time.UnixMilli(1_700_000_000_000)
	at := func(d time.Duration) schema.ArrivalTime { return schema.ArrivalTime(base.Add(d).UnixMilli()) }
	one, two := arrivals{}, arrivals{}
	one.add(at(0))
	one.add(at(0))
	two.add(at(time.Second))
	f.publish(1, one)
	f.publish(2, two)
	f.Adopted(0, base.Add(time.Second)) // an older version: none of the clicks
	if _, _, n := f.Quantiles(); n != 0 {
		t.Fatalf("%d clicks counted before their version was adopted", n)
	}
	f.Adopted(1, base.Add(2*time.Second))
	f.Adopted(1, base.Add(9*time.Second)) // a second replica: not the first
	f.Adopted(2, base.Add(5*time.Second))
	p50, p99, n := f.Quantiles()
	if n != 3 || seconds != 2+2+4 {
		t.Errorf("%d clicks, %v seconds in all; want 3 and 8", n, seconds)
	}
	if p50.Round(10*time.Millisecond) != 2*time.Second || p99.Round(10*time.Millisecond) != 4*time.Second {
		t.Errorf("p50 %v, p99 %v; want 2s and 4s", p50, p99)
	}
}
