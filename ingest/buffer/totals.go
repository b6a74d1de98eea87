package buffer

import "github.com/freshet-ml/freshet/ingest/window"

// Totals sums the partitions of a store up.
type Totals struct {
	Partitions   int
	Counts       window.Counts
	Entries      uint64 // of all logs, also those that retention has removed
	Ticks        uint64 // of them, ticks
	LogBytes     uint64 // of the entries that are there, as stored before compression
	AsideKept    uint64 // records that are aside now
	AsideTrimmed uint64 // records that the bounds took away again
}

// Totals returns the sums over all partitions, as of one moment between commits.
func (s *Store) Totals() Totals {
	kept := s.kept()
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := Totals{Partitions: len(s.states), AsideKept: kept.records, AsideTrimmed: s.trimmed.records}
	for p := range s.states {
		m := s.stateLocked(p).Meta
		t.Counts = t.Counts.Plus(m.Window.Counts)
		t.Entries += uint64(m.NextEmit)
		t.Ticks += m.Ticks
		t.LogBytes += m.LogBytes
	}
	return t
}
