package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// Feed is a bounded log as a learner reads it.
type Feed interface {
	learn.History
	// Next returns the parts that follow in merged order, at most max of them, or io.EOF at the end of the log.
	Next(ctx context.Context, max int) ([]schema.Part, schema.Progress, error)
}

// Bounds is what of a log is read: the parts whose first click is from From on and before Until, until they have Limit clicks. 0 is no bound.
type Bounds struct {
	From, Until schema.EventTime
	Limit       int64
}

// reader cuts a feed into micro-batches. Two of them over one log give the same batches.
type reader struct {
	feed    Feed
	bounds  Bounds
	batcher *learn.Batcher
	ready   [][]schema.Part
	clicks  int64
	ended   bool
}

const readAtOnce = 256

// next returns the next micro-batch, or nil at the end.
func (r *reader) next(ctx context.Context) ([]schema.Part, error) {
	for len(r.ready) == 0 && !r.ended {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		parts, progress, err := r.feed.Next(ctx, readAtOnce)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		for i := range parts {
			if r.ended {
				break
			}
			if !r.bounds.holds(&parts[i]) {
				continue
			}
			r.ready = append(r.ready, r.batcher.Add(parts[i])...)
			r.clicks += int64(len(parts[i].Clicks))
			r.ended = r.bounds.Limit > 0 && r.clicks >= r.bounds.Limit
		}
		r.ended = r.ended || err != nil
		if r.ended {
			progress = schema.Progress{Ended: true}
		}
		if last := r.batcher.Advance(progress); last != nil {
			r.ready = append(r.ready, last)
		}
	}
	if len(r.ready) == 0 {
		return nil, nil
	}
	batch := r.ready[0]
	r.ready = r.ready[1:]
	return batch, nil
}

func (b Bounds) holds(p *schema.Part) bool {
	if len(p.Clicks) == 0 {
		return false // nothing is asked or learned
	}
	at := p.Clicks[0].EventTime
	return (b.From == 0 || at >= b.From) && (b.Until == 0 || at < b.Until)
}

// lastClick is the time of the latest click of a batch.
func lastClick(parts []schema.Part) (at schema.EventTime) {
	at = schema.BeginningOfTime
	for i := range parts {
		for j := range parts[i].Clicks {
			at = max(at, parts[i].Clicks[j].EventTime)
		}
	}
	return at
}

// Survey is what there is to be read.
type Survey struct {
	Parts, Clicks int64
	First, Last   schema.EventTime // of the clicks
}

// Look reads a log once and says what of it is within bounds.
func Look(ctx context.Context, feed Feed, bounds Bounds) (s Survey, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		parts, _, err := feed.Next(ctx, readAtOnce)
		if err != nil && !errors.Is(err, io.EOF) {
			return s, fmt.Errorf("read the log: %w", err)
		}
		for i := range parts {
			if !bounds.holds(&parts[i]) {
				continue
			}
			for _, c := range parts[i].Clicks {
				if s.Clicks == 0 || c.EventTime < s.First {
					s.First = c.EventTime
				}
				if s.Clicks == 0 || c.EventTime > s.Last {
					s.Last = c.EventTime
				}
				s.Clicks++
			}
			if s.Parts++; bounds.Limit > 0 && s.Clicks >= bounds.Limit {
				return s, nil
			}
		}
		if err != nil {
			return s, nil
		}
	}
}
