package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// MoveStats counts what has happened to snapshots and marks since the start.
type MoveStats struct {
	Snapshots uint64 // saved
	Bytes     uint64 // of them
	Failures  uint64 // snapshots that failed; each is tried again
	Restored  uint64 // partitions that went on from a snapshot
	Damaged   uint64 // snapshots that could not be read
	Fallbacks uint64 // partitions that went on without all of their marks, so that their logs may differ from what was read
	Diverged  uint64 // partitions of which two logs were found
	Fenced    uint64 // times that a partition was claimed by another while it was assigned to this node
	Marks     uint64 // recorded
	Refused   uint64 // marks that were not made because they could not be recorded
	// Age is the time since the oldest of the newest snapshots of the owned partitions was known to be as far as its
	// partition: what a takeover would have to read again. Zero without partitions.
	Age time.Duration
}

// moves counts, and says once when something goes wrong and when it is over.
type moves struct {
	snapshots, bytes, failures, restored, damaged, fallbacks, diverged, fenced, marks, refused atomic.Uint64

	mu      sync.Mutex // guards what follows
	covers  map[schema.Partition]time.Time
	down    map[schema.Partition]error // reading goes on
	waiting map[schema.Partition]error // reading waits
}

// unreachable notes that nothing can be stored for p at the moment, and says so the first time.
func (m *moves) unreachable(p schema.Partition, err error, log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.down) == 0 {
		log.Warn("snapshots and marks cannot be stored: reading goes on, and nothing is lost; idle partitions wait, and who takes over reads more again",
			"partition", p, "error", err)
	}
	set(&m.down, p, err)
}

// waits notes that p does not go on before something is stored, and says so the first time.
func (m *moves) waits(p schema.Partition, err error, log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[p] == nil {
		log.Warn("a partition waits for the store of snapshots: without it nobody knows how far it has come", "partition", p, "error", err)
	}
	set(&m.waiting, p, err)
}

// reached notes that p's snapshots and marks can be stored.
func (m *moves) reached(p schema.Partition, log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down[p] != nil && len(m.down) == 1 || m.waiting[p] != nil {
		log.Info("snapshots and marks can be stored again", "partition", p)
	}
	delete(m.down, p)
	delete(m.waiting, p)
}

func set[V any](to *map[schema.Partition]V, p schema.Partition, v V) {
	if *to == nil {
		*to = map[schema.Partition]V{}
	}
	(*to)[p] = v
}

// saved notes that the newest snapshot of p is as far as p was at the time now.
func (m *moves) saved(p schema.Partition, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set(&m.covers, p, now)
}

func (m *moves) forget(p schema.Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.covers, p)
	delete(m.down, p)
	delete(m.waiting, p)
}

// health returns why partitions do not go on, or nil.
func (m *moves) health() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var faults []error
	for p, err := range m.waiting {
		faults = append(faults, fmt.Errorf("partition %d: %w", p, err))
	}
	return errors.Join(faults...)
}

func (m *moves) stats(now time.Time) MoveStats {
	s := MoveStats{
		Snapshots: m.snapshots.Load(), Bytes: m.bytes.Load(), Failures: m.failures.Load(), Restored: m.restored.Load(), Damaged: m.damaged.Load(),
		Fallbacks: m.fallbacks.Load(), Diverged: m.diverged.Load(), Fenced: m.fenced.Load(), Marks: m.marks.Load(), Refused: m.refused.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range m.covers {
		s.Age = max(s.Age, now.Sub(at))
	}
	return s
}
