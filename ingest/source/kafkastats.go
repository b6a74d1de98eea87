package source

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// KafkaStats counts since the Kafka was made.
type KafkaStats struct {
	Records         uint64 // handed to the handler
	Control         uint64 // transaction markers that were passed over
	Aborted         uint64 // records of aborted transactions that were left out
	Expired         uint64 // offsets that retention had removed before they were read
	Faults          uint64 // failed requests, each of which was tried again
	Rebalances      uint64 // generations of the group that this process has been a member of
	TopicPartitions int    // that the topic has; 0 until Run knows
	Partitions      []PartitionStats
}

// PartitionStats is how far the reading of a partition is. Only partitions that this process reads at the moment have one.
type PartitionStats struct {
	Partition schema.Partition
	// Next is the offset up to which the handler has taken the records, or -1 before the partition is assigned.
	Next schema.Offset
	// HighWatermark is the broker's end of the partition at the last fetch.
	HighWatermark schema.Offset
	// Lag is how many offsets lie between the two. It counts those that markers and removed records take.
	Lag int64
	// FetchedAt is when a fetch was last answered, or zero. While the brokers answer it is a few hundred milliseconds ago.
	FetchedAt time.Time
}

// counters are KafkaStats while they are counted.
type counters struct {
	records, control, aborted, expired, rebalances atomic.Uint64
	topicPartitions                                atomic.Int64
}

// progress is how far the reading of a partition is.
type progress struct {
	partition schema.Partition
	next      atomic.Int64 // -1 until the partition is assigned
	high      atomic.Int64
	fetchedAt atomic.Int64 // ns since 1970, or 0
}

func newProgress(p schema.Partition) *progress {
	progress := &progress{partition: p}
	progress.next.Store(-1)
	return progress
}

// Stats returns the counters. It may be called from any goroutine.
func (k *Kafka) Stats() KafkaStats {
	s := KafkaStats{
		Records: k.stats.records.Load(), Control: k.stats.control.Load(), Aborted: k.stats.aborted.Load(), Expired: k.stats.expired.Load(),
		Faults: k.outages.faults.Load(), Rebalances: k.stats.rebalances.Load(), TopicPartitions: int(k.stats.topicPartitions.Load()),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(k.reading)) {
		r := k.reading[p]
		one := PartitionStats{Partition: p, Next: schema.Offset(r.next.Load()), HighWatermark: schema.Offset(r.high.Load())}
		one.Lag = max(0, int64(one.HighWatermark-max(one.Next, 0)))
		if at := r.fetchedAt.Load(); at != 0 {
			one.FetchedAt = time.Unix(0, at)
		}
		s.Partitions = append(s.Partitions, one)
	}
	return s
}
