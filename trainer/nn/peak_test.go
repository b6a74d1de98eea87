package nn

import (
	"testing"
	"time"
)

// Bounds so wide that only a wrong count falls out of them: a processor does more than a tenth of a GFLOP/s, and less than 20 TFLOP/s.
func TestPeakCountsOperations(t *testing.T) {
	const least, most = 1e8, 2e13
	if f := Peak(1, time.Millisecond); f < least || f > most {
		t.Errorf("one thread: %g operations per second", f)
	}
	if f := Peak(0, 0); f < least || f > most {
		t.Errorf("no thread is taken for one: %g operations per second", f)
	}
}

func BenchmarkPeak(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(Peak(1, 100*time.Millisecond)/1e9, "GFLOP/s")
	}
}
