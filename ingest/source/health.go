package source

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Outage is why records do not come at the moment. Nothing is lost meanwhile: reading goes on where it stopped as soon as
// the brokers answer.
type Outage struct {
	// Topic is the topic that is not read.
	Topic string
	// Since is when the first of the requests failed that have not been answered since.
	Since time.Time
	// Partitions are those that wait; none where only the consumer group or the topic's description does.
	Partitions []schema.Partition
	// Failures counts the requests that failed since then.
	Failures uint64
	// Err is what the latest of them failed with.
	Err error
}

func (o *Outage) Error() string {
	what := ""
	if len(o.Partitions) > 0 {
		what = " partitions " + setOf(o.Partitions).String()
	}
	return fmt.Sprintf("kafka: topic %q%s: waiting for the brokers since %s, %d requests failed, the last with: %v",
		o.Topic, what, o.Since.UTC().Format(time.RFC3339), o.Failures, o.Err)
}

// Unwrap returns Err.
func (o *Outage) Unwrap() error { return o.Err }

// What an outage may be of, beside a partition.
const (
	theGroup schema.Partition = -1 - iota // membership of the group
	theTopic                              // the description of the topic
)

// outage is what a partition, the group or the topic fails with at the moment.
type outage struct {
	since    time.Time
	latest   time.Time
	told     time.Time // when it was last logged
	failures uint64
	err      error
}

// tellEvery is how often an outage that lasts is logged again.
const tellEvery = time.Minute

// Health returns an *Outage that says what is wrong with the connection at the moment, or nil.
func (k *Kafka) Health() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.down) == 0 {
		return nil
	}
	o := &Outage{Topic: k.config.Topic}
	var latest time.Time
	for _, p := range slices.Sorted(maps.Keys(k.down)) {
		d := k.down[p]
		if p >= 0 {
			o.Partitions = append(o.Partitions, p)
		}
		if o.Since.IsZero() || d.since.Before(o.Since) {
			o.Since = d.since
		}
		if !d.latest.Before(latest) {
			latest, o.Err = d.latest, d.err
		}
		o.Failures += d.failures
	}
	return o
}

func (k *Kafka) failed(p schema.Partition, err error) {
	k.stats.faults.Add(1)
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.down[p]
	if d == nil {
		d = &outage{since: now}
		k.down[p] = d
	}
	d.latest, d.err = now, err
	d.failures++
	if now.Sub(d.told) >= tellEvery {
		d.told = now
		k.config.Log.Warn("kafka: waiting for the brokers", "topic", k.config.Topic, "partition", p, "since", d.since, "failures", d.failures, "error", err)
	}
}

func (k *Kafka) works(p schema.Partition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.down[p]; d != nil {
		k.config.Log.Info("kafka: the brokers answer again", "topic", k.config.Topic, "partition", p, "after", time.Since(d.since).Round(time.Millisecond))
		delete(k.down, p)
	}
}
