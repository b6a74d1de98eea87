package learn

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// TestReviseTeachesTheModelAlone: clicks come in any order and again, network and terms learn them, and tables and blend stay as they are.
func TestReviseTeachesTheModelAlone(t *testing.T) {
	const seed = 23
	log := drawLog(seed, 600)
	l, err := New(smallConfig(), log)
	if err != nil {
		t.Fatal(err)
	}
	each := func(parts pastParts, do func(Batch)) {
		t.Helper()
		for some := range slices.Chunk(parts, 16) {
			b, err := l.Prepare(some, 20)
			if err != nil {
				t.Fatal(err)
			}
			do(b)
		}
	}
	each(log[:300], l.Observe)
	items := l.model.Items()
	each(log[300:], l.Admit)
	if l.model.Items() < items {
		t.Fatal("items are gone")
	}
	before, rows := encoded(t, l), l.model.Items()
	rng := rand.New(rand.NewPCG(seed, 1))
	var first, last float64
	for epoch := range 6 {
		parts := slices.Clone(log[300:])
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		last = 0
		each(parts, func(b Batch) { last += l.Revise(b).Loss })
		if epoch == 0 {
			first = last
		}
	}
	if !(last < 0.97*first) {
		t.Errorf("seed %d: the loss of an epoch goes from %v to %v", seed, first, last)
	}
	moved := map[string]bool{"items": true, "params": true, "moments": true, "random": true, "recent": true}
	for name, b := range encoded(t, l) {
		if same := bytes.Equal(b, before[name]); same == moved[name] {
			t.Errorf("seed %d: %s is the same: %v", seed, name, same)
		}
	}
	if l.model.Items() != rows {
		t.Errorf("%d rows have become %d", rows, l.model.Items())
	}
	each(log[:16], func(b Batch) {
		b.past = make([][]schema.Part, len(b.Parts))
		if s := l.Revise(b); s != (model.StepStats{}) {
			t.Errorf("a step without a past: %+v", s)
		}
	})
}
