package aside

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// The bounds of a page. A page ends with the first of them; it has at least one record, whatever its size, where one was
// found in the first lookAt.
const (
	MaxPage   = 1000
	pageBytes = 4 << 20
	lookAt    = 20_000
	// chunk is how many records are read from the store at a time: each may have a megabyte.
	chunk = 32
)

// Shelf is where the records are. *buffer.Store is one.
type Shelf interface {
	Partitions() (map[schema.Partition]buffer.Meta, error)
	AsideFrom(p schema.Partition, from schema.Offset, n int) ([]schema.Rejected, error)
	RemoveAside(p schema.Partition, offsets ...schema.Offset) (int, error)
}

var _ Shelf = (*buffer.Store)(nil)

// Local is the book of a store that this process has open.
type Local struct{ Shelf Shelf }

var _ Book = Local{}

// scan calls f with the records of the chosen partitions that come after a place, until it returns false.
func (l Local) scan(ctx context.Context, filter Filter, after Place, f func(r *schema.Rejected) bool) error {
	metas, err := l.Shelf.Partitions()
	if err != nil {
		return fmt.Errorf("aside: %w", err)
	}
	for _, p := range slices.Sorted(maps.Keys(metas)) {
		if p < after.Partition || p == after.Partition && after.Offset == math.MaxInt64 || len(filter.Partitions) > 0 && !slices.Contains(filter.Partitions, p) {
			continue
		}
		from := schema.Offset(0)
		if p == after.Partition {
			from = after.Offset + 1
		}
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			records, err := l.Shelf.AsideFrom(p, from, chunk)
			if err != nil {
				return fmt.Errorf("aside: %w", err)
			}
			if len(records) == 0 {
				break
			}
			for i := range records {
				if !f(&records[i]) {
					return nil
				}
			}
			from = records[len(records)-1].Offset + 1
		}
	}
	return nil
}

// Page implements Book.
func (l Local) Page(ctx context.Context, f Filter, after Place, limit int) (page Page, err error) {
	limit = min(max(limit, 1), MaxPage)
	looked, bytes := 0, 0
	err = l.scan(ctx, f, after, func(r *schema.Rejected) bool {
		looked++
		if f.Matches(r) {
			page.Records = append(page.Records, *r)
			bytes += len(r.Key) + len(r.Value)
		}
		page.Next = Place{r.Partition, r.Offset}
		page.More = len(page.Records) == limit || bytes >= pageBytes || looked == lookAt
		return !page.More
	})
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

// Record implements Book.
func (l Local) Record(_ context.Context, at Place) (schema.Rejected, error) {
	records, err := l.Shelf.AsideFrom(at.Partition, at.Offset, 1)
	if err != nil {
		return schema.Rejected{}, fmt.Errorf("aside: %w", err)
	}
	if len(records) == 0 || records[0].Offset != at.Offset {
		return schema.Rejected{}, fmt.Errorf("%s: %w", at, ErrNone)
	}
	return records[0], nil
}

// Summary implements Book.
func (l Local) Summary(ctx context.Context, f Filter) (Summary, error) {
	s := Summary{Reasons: map[schema.Reason]int64{}, Partitions: map[schema.Partition]Reading{}}
	metas, err := l.Shelf.Partitions() // before the records: none of what Next promises is missing in the counts
	if err != nil {
		return Summary{}, fmt.Errorf("aside: %w", err)
	}
	for p, m := range metas {
		s.Partitions[p] = Reading{Next: m.NextOffset, Watermark: m.Window.Watermark}
	}
	err = l.scan(ctx, f, Start, func(r *schema.Rejected) bool {
		if f.Matches(r) {
			s.Records++
			s.Bytes += int64(len(r.Key) + len(r.Value))
			s.Reasons[r.Reason]++
		}
		return true
	})
	return s, err
}

// Remove implements Book.
func (l Local) Remove(_ context.Context, places []Place) (removed int, err error) {
	offsets := map[schema.Partition][]schema.Offset{}
	for _, p := range places {
		offsets[p.Partition] = append(offsets[p.Partition], p.Offset)
	}
	for _, p := range slices.Sorted(maps.Keys(offsets)) {
		n, err := l.Shelf.RemoveAside(p, offsets[p]...)
		if err != nil {
			return removed, fmt.Errorf("aside: %w", err)
		}
		removed += n
	}
	return removed, nil
}
