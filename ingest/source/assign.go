package source

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// PartitionSet is some partitions of the topic, such as "0-3,7". "4-" is all from 4 on, also those that the topic does not
// have yet. The zero value is all of them.
type PartitionSet struct{ ranges []partitionRange }

// partitionRange is first to last, both included. Last is openEnd where it has no end.
type partitionRange struct{ first, last schema.Partition }

const openEnd = schema.Partition(math.MaxInt32)

// maxPartition is more than a topic can have: brokers keep a few thousand partitions each.
const maxPartition = 1_000_000

// ParsePartitions reads a list of partitions and ranges of them. The empty text is all partitions.
func ParsePartitions(text string) (PartitionSet, error) {
	var s PartitionSet
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	number := func(word string) (schema.Partition, error) {
		n, err := strconv.ParseUint(strings.TrimSpace(word), 10, 64)
		if err != nil || n > maxPartition {
			return 0, fmt.Errorf("partitions %q: %q is not the number of a partition: write numbers and ranges, such as 0-3,7 or 4-", text, strings.TrimSpace(word))
		}
		return schema.Partition(n), nil
	}
	for word := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(word, "-")
		first, err := number(from)
		if err != nil {
			return PartitionSet{}, err
		}
		r := partitionRange{first, first}
		switch {
		case isRange && strings.TrimSpace(to) == "":
			r.last = openEnd
		case isRange:
			if r.last, err = number(to); err != nil {
				return PartitionSet{}, err
			}
		}
		if r.last < r.first {
			return PartitionSet{}, fmt.Errorf("partitions %q: %s runs backwards: write %d-%d", text, strings.TrimSpace(word), r.last, r.first)
		}
		s.ranges = append(s.ranges, r)
	}
	slices.SortFunc(s.ranges, func(a, b partitionRange) int { return int(a.first) - int(b.first) })
	for i := 1; i < len(s.ranges); i++ {
		if before, r := s.ranges[i-1], s.ranges[i]; r.first <= before.last {
			return PartitionSet{}, fmt.Errorf("partitions %q: %d is in it twice: name each once", text, r.first)
		}
	}
	return s, nil
}

// setOf returns the set of these partitions.
func setOf(partitions []schema.Partition) PartitionSet {
	var s PartitionSet
	for _, p := range slices.Sorted(slices.Values(partitions)) {
		if n := len(s.ranges); n > 0 && s.ranges[n-1].last == p-1 {
			s.ranges[n-1].last = p
			continue
		}
		s.ranges = append(s.ranges, partitionRange{p, p})
	}
	return s
}

// All reports whether s is all partitions.
func (s PartitionSet) All() bool { return len(s.ranges) == 0 }

// Has reports whether p is in s.
func (s PartitionSet) Has(p schema.Partition) bool {
	return s.All() || slices.ContainsFunc(s.ranges, func(r partitionRange) bool { return r.first <= p && p <= r.last })
}

// String writes s as ParsePartitions reads it.
func (s PartitionSet) String() string {
	words := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		switch r.last {
		case r.first:
			words[i] = fmt.Sprint(r.first)
		case openEnd:
			words[i] = fmt.Sprintf("%d-", r.first)
		default:
			words[i] = fmt.Sprintf("%d-%d", r.first, r.last)
		}
	}
	return strings.Join(words, ",")
}

// check says what is wrong with s for a topic of n partitions. A partition that is not there yet is an error, and not waited
// for: far more often it is a slip of the finger, and the partitions that were meant would be read by nobody. Where a topic
// is to grow, an open range takes what comes.
func (s PartitionSet) check(topic string, n int) error {
	for _, r := range s.ranges {
		if r.last != openEnd && r.last >= schema.Partition(n) {
			return fmt.Errorf("kafka: partitions %s: topic %q has %d partitions, 0 to %d: name those, or write %d- for all that will come",
				s, topic, n, n-1, n)
		}
	}
	return nil
}
