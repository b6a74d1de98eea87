package learn

import (
	"bytes"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/trainer/recency"
)

// TestDistillIsOfThePeriods: what steps are held to is the model as it was when the last period ended, for both lanes; without a weight nothing is.
func TestDistillIsOfThePeriods(t *testing.T) {
	const seed = 17
	log := drawLog(seed, 400)
	d := recency.Decision{BatchParts: 16, HistoryParts: 20, Keep: 1, Share: 0.25}
	cfg := smallConfig()
	cfg.Recency.Distill = 0.5
	held, err := New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ends, moved := 0, 0
	for parts := range slices.Chunk(log, 16) {
		before := held.Latest()
		b, err := held.Prepare(parts, 20)
		if err != nil {
			t.Fatal(err)
		}
		stats := held.Train(b, d)
		ended := cfg.Recency.Ends(before, held.Latest())
		if _, had := encoded(t, held)["teacher"]; had != (ends > 0 || ended) {
			t.Fatalf("seed %d: behind %d periods there is a teacher: %v", seed, ends, had)
		}
		switch {
		case ends == 0 && stats.Distance != 0:
			t.Fatalf("seed %d: held to something before the first period ended", seed)
		case stats.Distance > 1e-4:
			moved++
		}
		if ended {
			ends++
			teacher := encoded(t, held)["teacher"]
			for held.Pending() {
				if err := held.Turn(); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(encoded(t, held)["teacher"], teacher) {
				t.Fatalf("seed %d: a run has moved the teacher", seed)
			}
		}
	}
	if ends < 3 || moved < 10 || held.Counts().RunSteps == 0 {
		t.Errorf("seed %d: %d periods ended, %d steps were pulled, %d of runs: nothing was tried", seed, ends, moved, held.Counts().RunSteps)
	}
	cfg.Recency.Distill = 0
	free, err := New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	trainOn(t, free, log, d)
	if _, has := encoded(t, free)["teacher"]; has {
		t.Error("there is a teacher whose weight is 0")
	}
}
