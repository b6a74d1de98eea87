package source

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Outage is why records do not come, or do not go, at the moment. Nothing is lost meanwhile: it goes on where it stopped as
// soon as the brokers answer.
type Outage struct {
	// Topic is the topic that cannot be reached.
	Topic string
	// Since is when the first of the requests failed that have not been answered since.
	Since time.Time
	// Partitions are those that wait; none where only the consumer group or the topic's description does.
	Partitions []schema.Partition
	// Failures counts the requests that failed since then.
	Failures uint64
	// Err is what the latest of them failed with.
	Err error

	who string
}

func (o *Outage) Error() string {
	what := ""
	if len(o.Partitions) > 0 {
		what = " partitions " + setOf(o.Partitions).String()
	}
	return fmt.Sprintf("%s: topic %q%s: waiting for the brokers since %s, %d requests failed, the last with: %v",
		o.who, o.Topic, what, o.Since.UTC().Format(time.RFC3339), o.Failures, o.Err)
}

// Unwrap returns Err.
func (o *Outage) Unwrap() error { return o.Err }

// What an outage may be of, beside a partition.
const (
	theGroup schema.Partition = -1 - iota // membership of the group
	theTopic                              // the description of the topic, or all of it
)

// outages is what fails at the moment, of which partitions.
type outages struct {
	who    string // begins its sentences
	topic  string
	log    *slog.Logger
	faults atomic.Uint64 // failed requests so far

	mu   sync.Mutex
	down map[schema.Partition]*outage // guarded by mu
}

type outage struct {
	since    time.Time
	latest   time.Time
	told     time.Time // when it was last logged
	failures uint64
	err      error
}

func newOutages(who, topic string, log *slog.Logger) *outages {
	return &outages{who: who, topic: topic, log: log, down: make(map[schema.Partition]*outage)}
}

// health returns an *Outage, or nil.
func (o *outages) health() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.down) == 0 {
		return nil
	}
	all := &Outage{Topic: o.topic, who: o.who}
	var latest time.Time
	for _, p := range slices.Sorted(maps.Keys(o.down)) {
		d := o.down[p]
		if p >= 0 {
			all.Partitions = append(all.Partitions, p)
		}
		if all.Since.IsZero() || d.since.Before(all.Since) {
			all.Since = d.since
		}
		if !d.latest.Before(latest) {
			latest, all.Err = d.latest, d.err
		}
		all.Failures += d.failures
	}
	return all
}

// tellEvery is how often an outage that lasts is logged again.
const tellEvery = time.Minute

// failed notes that a request failed, which will be tried again.
func (o *outages) failed(p schema.Partition, err error) {
	o.faults.Add(1)
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.down[p]
	if d == nil {
		d = &outage{since: now}
		o.down[p] = d
	}
	d.latest, d.err = now, err
	d.failures++
	if now.Sub(d.told) >= tellEvery {
		d.told = now
		o.log.Warn(o.who+": waiting for the brokers", "topic", o.topic, "partition", p, "since", d.since, "failures", d.failures, "error", err)
	}
}

// works notes that a request was answered.
func (o *outages) works(p schema.Partition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.down[p]; d != nil {
		o.log.Info(o.who+": the brokers answer again", "topic", o.topic, "partition", p, "after", time.Since(d.since).Round(time.Millisecond))
		delete(o.down, p)
	}
}

// forget drops what no longer is to work.
func (o *outages) forget(p schema.Partition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.down, p)
}
