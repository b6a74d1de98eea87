package learn

import (
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Batcher cuts the merged parts into micro-batches. The cut depends on the parts alone, from the last cut on, so that a
// trainer that starts again at any cut finds the same cuts behind it (I4): a batch ends when it holds maxParts parts with
// clicks, before the first part whose due time lies in another span, and at the end of an epoch.
type Batcher struct {
	limit  func() int
	spanMs schema.EventTime

	parts    []schema.Part
	maxParts int // of the batch that is begun
	examples int
}

func (b *Batcher) span(t schema.EventTime) schema.EventTime {
	s := t / b.spanMs
	if t%b.spanMs < 0 {
		s--
	}
	return s
}

// NewBatcher returns one for batches within span of event time. limit is asked at the beginning of each batch how many parts with clicks it may have.
func NewBatcher(limit func() int, span time.Duration) *Batcher {
	return &Batcher{limit: limit, spanMs: schema.EventTime(span.Milliseconds())}
}

// Add takes the next part and returns the batches that are complete, at most two.
func (b *Batcher) Add(p schema.Part) (complete [][]schema.Part) {
	if n := len(b.parts); n > 0 {
		if last := &b.parts[n-1]; last.Epoch != p.Epoch || b.span(last.Due) != b.span(p.Due) {
			complete = append(complete, b.cut())
		}
	}
	if len(b.parts) == 0 {
		b.maxParts = b.limit()
	}
	b.parts = append(b.parts, p)
	if len(p.Clicks) > 0 {
		b.examples++
	}
	if b.examples == b.maxParts {
		complete = append(complete, b.cut())
	}
	return complete
}

// Advance takes news of the reading's progress and returns the waiting batch when nothing can join it any more, else nil.
func (b *Batcher) Advance(progress schema.Progress) []schema.Part {
	n := len(b.parts)
	if n == 0 {
		return nil
	}
	last := &b.parts[n-1]
	if progress.Ended || progress.Epoch > last.Epoch ||
		(progress.Epoch == last.Epoch && progress.Through > schema.BeginningOfTime && b.span(progress.Through) > b.span(last.Due)) {
		return b.cut()
	}
	return nil
}

func (b *Batcher) cut() []schema.Part {
	parts := b.parts
	b.parts, b.examples = nil, 0
	return parts
}
