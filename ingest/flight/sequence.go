package flight

import (
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

var (
	// errDisagree says that a node's log is not the one that was mirrored.
	errDisagree = errors.New("the logs differ")
	// errDamaged says that a node sends what no log holds.
	errDamaged = errors.New("damaged")
)

// sequence is what comes next in a partition's log. It refuses what cannot, so that a fault of another machine stays there.
type sequence struct {
	partition schema.Partition
	next      schema.Emit
	any       bool // the first row says which is next
	// What readers of the mirror were promised: no part of a lower epoch, and in epoch none due before due.
	epoch schema.Epoch
	due   schema.EventTime
}

// take checks that r is next, and goes on behind it.
func (s *sequence) take(r *schema.PartsRow) error {
	p := &r.Part
	if s.any {
		s.next, s.any = p.Emit, false
	}
	switch {
	case p.Partition != s.partition || p.Emit != s.next:
		return fmt.Errorf("%w: entry %d of partition %d came where %d of %d is next", errDamaged, p.Emit, p.Partition, s.next, s.partition)
	case r.Offset < 0 || r.Kind == schema.RowGrow && (r.Partitions < 1 || r.Partitions > buffer.MaxPartitions):
		return fmt.Errorf("%w: entry %d of partition %d says %d partitions at offset %d", errDamaged, p.Emit, p.Partition, r.Partitions, r.Offset)
	}
	if r.Kind == schema.RowPart {
		if err := checkPart(p); err != nil {
			return err
		}
		if p.Epoch < s.epoch || p.Epoch == s.epoch && p.Due < s.due {
			return fmt.Errorf("%w: entry %d of partition %d is due at %d in epoch %d, and was not to be before %d in epoch %d", errDisagree,
				p.Emit, p.Partition, p.Due, p.Epoch, s.due, s.epoch)
		}
	}
	if p.Epoch > s.epoch || p.Epoch == s.epoch && p.Due > s.due {
		s.epoch, s.due = p.Epoch, p.Due
	}
	s.next++
	return nil
}

// checkPart refuses what a store could not keep.
func checkPart(p *schema.Part) error {
	if p.UserID == "" || len(p.UserID) > schema.MaxIDBytes || p.Number < 0 || !slices.Contains(window.Causes, p.Cause) {
		return fmt.Errorf("%w: entry %d of partition %d: part %d of %.40q, cause %.20q, cannot be (a newer freshet wrote it, or it was damaged on its way)", errDamaged,
			p.Emit, p.Partition, p.Number, p.UserID, p.Cause)
	}
	return nil
}

// sameRow reports whether two rows are equal, but for their clicks.
func sameRow(a, b *schema.PartsRow) bool {
	p, q := &a.Part, &b.Part
	return a.Kind == b.Kind && a.Offset == b.Offset && a.Partitions == b.Partitions && p.Partition == q.Partition && p.Emit == q.Emit &&
		p.Epoch == q.Epoch && p.Due == q.Due && p.UserID == q.UserID && p.SessionStart == q.SessionStart && p.Number == q.Number &&
		p.Final == q.Final && p.Cause == q.Cause
}
