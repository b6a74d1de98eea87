package model

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// drift trains on requests whose targets follow from their past, until what follows on what changes all at once. It returns the mean losses of the last steps before, and
// of the steps behind it, and the rates at the end of both.
func drift(tb testing.TB, cfg Config, before, behind int) (settled, recovering float64, was, is float64) {
	const items = 60
	m := filled(tb, cfg, items)
	rng := rand.New(rand.NewPCG(3, 3))
	step := func(shift int) float64 {
		batch := make([]Example, 16)
		for i := range batch {
			r := rng.IntN(items)
			at := schema.EventTime(1_700_000_000_000)
			batch[i] = Example{
				Past: []Session{{At: at, Events: []Event{{Row(r), schema.ActionClick}}}}, At: at + 60_000,
				Targets: []Row{Row((r*7 + shift) % items)},
			}
			if rng.IntN(3) == 0 { // what nothing can be learned from
				batch[i].Targets[0] = Row(rng.IntN(items))
			}
		}
		s := m.Learn(batch)
		if s.Skipped {
			tb.Fatalf("%+v", s)
		}
		return s.Loss
	}
	for i := range before {
		if loss := step(0); i >= before-50 {
			settled += loss / 50
		}
	}
	was = m.plasticity.rate
	for range behind {
		recovering += step(31) / float64(behind)
		is = max(is, m.plasticity.rate)
	}
	return settled, recovering, was, is
}

// TestPlasticityFollowsDrift: where targets switch, the rate rises, and the loss comes down sooner than with a rate that stays.
func TestPlasticityFollowsDrift(t *testing.T) {
	cfg := small()
	cfg.Dropout = 0
	settled, rigid, was, is := drift(t, cfg, 600, 200)
	if was != 1 || is != 1 {
		t.Errorf("without plasticity the rate is %v, then %v", was, is)
	}
	cfg.Plasticity = 0.05
	settledPlastic, plastic, was, is := drift(t, cfg, 600, 200)
	t.Logf("loss before the switch %.3f, %.3f with plasticity; in the 200 steps behind it %.3f, %.3f; rate %.2f, then up to %.2f", settled, settledPlastic, rigid, plastic, was, is)
	if is < 1.5*was {
		t.Errorf("the rate was %.2f before the switch, and at most %.2f behind it", was, is)
	}
	if plastic > rigid-0.1 {
		t.Errorf("the mean loss of the 200 steps behind the switch is %.3f, without plasticity %.3f", plastic, rigid)
	}
}

// TestRowMemoryHalves: an accumulator is half of what it was after a half-life in which the row was not moved.
func TestRowMemoryHalves(t *testing.T) {
	cfg := small()
	cfg.RowMemory = 10
	m := filled(t, cfg, 3)
	m.rowState.acc[0][1], m.rowState.accBias[0][1], m.rowState.steps[0][1] = 8, 4, 100
	m.rowState.forget(1, 120, cfg.RowMemory)
	if m.rowState.acc[0][1] != 2 || m.rowState.accBias[0][1] != 1 || m.rowState.steps[0][1] != 120 {
		t.Errorf("after two half-lives: %v, %v", m.rowState.acc[0][1], m.rowState.accBias[0][1])
	}
	remembering := small()
	_, keeps, _, _ := drift(t, remembering, 600, 200)
	remembering.RowMemory = 100
	_, fades, _, _ := drift(t, remembering, 600, 200)
	if t.Logf("loss behind a switch %.3f, with a half-life of 100 steps %.3f", keeps, fades); math.IsNaN(fades) || fades > keeps-0.1 {
		t.Errorf("the mean loss behind a switch is %.3f with memory that fades, %.3f without", fades, keeps)
	}
}
