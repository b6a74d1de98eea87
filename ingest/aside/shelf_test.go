package aside_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// shelf keeps records in memory, in order.
type shelf struct {
	mu      sync.Mutex
	records []schema.Rejected
	metas   map[schema.Partition]buffer.Meta
	broken  error
}

var _ aside.Shelf = (*shelf)(nil)

func (s *shelf) put(records ...schema.Rejected) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.metas == nil {
		s.metas = map[schema.Partition]buffer.Meta{}
	}
	s.records = append(s.records, records...)
	slices.SortFunc(s.records, func(a, b schema.Rejected) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for _, r := range records {
		m := s.metas[r.Partition]
		m.Partition, m.NextOffset = r.Partition, max(m.NextOffset, r.Offset+1)
		s.metas[r.Partition] = m
	}
}

func (s *shelf) Partitions() (map[schema.Partition]buffer.Meta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	metas := map[schema.Partition]buffer.Meta{}
	for p, m := range s.metas {
		metas[p] = m
	}
	return metas, s.broken
}

func (s *shelf) AsideFrom(p schema.Partition, from schema.Offset, n int) (found []schema.Rejected, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.Partition == p && r.Offset >= from && len(found) < n {
			found = append(found, r)
		}
	}
	return found, s.broken
}

func (s *shelf) RemoveAside(p schema.Partition, offsets ...schema.Offset) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.records)
	s.records = slices.DeleteFunc(s.records, func(r schema.Rejected) bool { return r.Partition == p && slices.Contains(offsets, r.Offset) })
	return before - len(s.records), s.broken
}

// rejected is a record with something of everything in it.
func rejected(p, o int, reason schema.Reason) schema.Rejected {
	return schema.Rejected{
		Topic: "clicks", Partition: schema.Partition(p), Offset: schema.Offset(o), ArrivedAt: schema.ArrivalTime(1_700_000_000_000 + int64(o)*1000),
		Reason: reason, Detail: "it is " + string(reason), Key: fmt.Append(nil, "u", o), Value: fmt.Append(nil, `{"offset":`, o, "}"),
	}
}

var errBroken = errors.New("the disk is gone")
