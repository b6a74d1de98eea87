package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// letters are the records of one request: of one partition of the dead-letter topic.
type letters struct {
	partition int
	rejected  []*schema.Rejected
	without   omission
}

// omission is what is left out of a record that is too large.
type omission int

const (
	nothing omission = iota
	theValue
	keyAndValue
)

// largestLetter is what the topic is to take: a record of the largest size that the click topic takes, and its headers.
const largestLetter = 4 * schema.MaxRecordBytes

// lettersBytes bounds a request, as ProducerConfig.BatchBytes does.
const lettersBytes = 512 << 10

// batches divides records into requests. Those of a user stay together, and in order.
func (d *DeadLetters) batches(rejected []schema.Rejected, ids []int) (all []*letters) {
	open := make(map[int]*letters)
	size := make(map[int]int)
	balancer := kafka.Murmur2Balancer{Consistent: true}
	for i := range rejected {
		r := &rejected[i]
		to := int(r.Partition) % len(ids)
		if len(r.Key) > 0 {
			to = balancer.Balance(kafka.Message{Key: r.Key}, ids...)
		}
		n := len(r.Key) + len(r.Value) + len(r.Detail) + 1024
		if open[to] == nil || size[to]+n > lettersBytes {
			open[to], size[to] = &letters{partition: to}, 0
			all = append(all, open[to])
		}
		open[to].rejected = append(open[to].rejected, r)
		size[to] += n
	}
	return all
}

// refusedAttempts is how often a record is sent that the topic does not take, before it is given up.
const refusedAttempts = 3

// send sends a batch until it is there. A batch that the topic does not take is divided, until the record is found that is
// the cause.
func (d *DeadLetters) send(ctx context.Context, b *letters) error {
	for attempt, refused := 0, 0; ; attempt++ {
		err := d.produce(ctx, b)
		if err == nil {
			d.outages.works(theTopic)
			d.stats.forwarded.Add(uint64(len(b.rejected)))
			if b.without != nothing {
				d.stats.cut.Add(uint64(len(b.rejected)))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var loop *loopError
		if errors.As(err, &loop) {
			return err
		}
		tooLarge := errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge)
		if tooLarge || errors.Is(err, kafka.InvalidRecord) || errors.Is(err, kafka.PolicyViolation) {
			refused++
			switch r := b.rejected[0]; {
			case len(b.rejected) > 1:
				for i := range b.rejected {
					if err := d.send(ctx, &letters{partition: b.partition, rejected: b.rejected[i : i+1]}); err != nil {
						return err
					}
				}
				return nil
			case tooLarge && b.without < keyAndValue:
				b.without++
				continue
			case refused >= refusedAttempts:
				d.outages.works(theTopic)
				d.stats.dropped.Add(1)
				d.config.Log.Warn("dead letters: the topic does not take a record, which stays aside", "topic", d.config.Topic,
					"from", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
				return nil
			}
		}
		d.outages.failed(theTopic, err)
		if err := wait(ctx, backoff(attempt, d.random)); err != nil {
			return err
		}
	}
}

// loopError says that records would be read, rejected and forwarded in a circle.
type loopError struct{ topic string }

func (e *loopError) Error() string {
	return fmt.Sprintf("dead letters: topic %q is the one that the records were rejected from, so they would come back for ever: name another topic", e.topic)
}

// produce sends a batch once.
func (d *DeadLetters) produce(ctx context.Context, b *letters) error {
	client, err := d.broker.connect(ctx)
	if err != nil {
		return err
	}
	records := make([]kafka.Record, len(b.rejected))
	for i, r := range b.rejected {
		if r.Topic == d.config.Topic {
			return &loopError{r.Topic}
		}
		records[i] = d.letter(r, b.without)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: d.config.Topic, Partition: b.partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		return fmt.Errorf("forward to partition %d of topic %q: %w", b.partition, d.config.Topic, err)
	}
	return nil
}
