package learn

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

// TestBatchCutsDependOnPartsAlone draws a merged sequence of parts and reads it twice: once in one go, once stopped and
// started again at random cuts, with news of the progress arriving at random moments. The batches must be the same (I4).
func TestBatchCutsDependOnPartsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []schema.Part
		due, epoch := schema.EventTime(1_700_000_000_000), schema.Epoch(0)
		for i := range rapid.IntRange(0, 200).Draw(t, "parts") {
			if rapid.IntRange(0, 30).Draw(t, "end") == 0 {
				epoch++
			}
			due += schema.EventTime(rapid.SampledFrom([]int{0, 0, 1, 700, 4000}).Draw(t, "step"))
			p := schema.Part{Emit: schema.Emit(i), Epoch: epoch, Due: due}
			if rapid.Bool().Draw(t, "clicks") {
				p.Clicks = []schema.Click{{}}
			}
			parts = append(parts, p)
		}
		newBatcher := func() *Batcher {
			return NewBatcher(func() int { return 4 }, 5*time.Second)
		}
		emits := func(batch []schema.Part) (out []schema.Emit) {
			for _, p := range batch {
				out = append(out, p.Emit)
			}
			return out
		}
		var want [][]schema.Emit
		whole := newBatcher()
		for _, p := range parts {
			for _, batch := range whole.Add(p) {
				want = append(want, emits(batch))
			}
		}
		if last := whole.Advance(schema.Progress{Epoch: epoch, Ended: true}); last != nil {
			want = append(want, emits(last))
		}

		var got [][]schema.Emit
		b, trained := newBatcher(), 0
		take := func(batch []schema.Part) { got, trained = append(got, emits(batch)), trained+len(batch) }
		for i := 0; i < len(parts); {
			for _, batch := range b.Add(parts[i]) {
				take(batch)
			}
			i++
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0: // killed: what is not trained is read again
				b, i = newBatcher(), trained
			case 1, 2: // the reading knows how far it has come
				progress := schema.Progress{Epoch: parts[i-1].Epoch, Through: parts[i-1].Due}
				if i < len(parts) {
					progress = schema.Progress{Epoch: parts[i].Epoch, Through: parts[i].Due}
				}
				if last := b.Advance(progress); last != nil {
					take(last)
				}
			}
		}
		if last := b.Advance(schema.Progress{Epoch: epoch, Ended: true}); last != nil {
			take(last)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("batches differ (-whole +restarted):\n%s", diff)
		}
	})
}
