package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// RedrivenHeader is the header of a record that was sent again: where it was before, as PARTITION:OFFSET in ASCII.
const RedrivenHeader = "freshet-redriven"

// Redriver sends records that were put aside to the topic again. Each goes to the partition where it was, with its key and
// its value as they were and the header RedrivenHeader, so that whatever chose its partition the first time, it comes to the
// windows of its user again. Its timestamp is when it is sent: that is when it arrives.
//
// A record may be there twice after a failure, of this process or of a broker: whether a request that got no answer was
// carried out is not known, and it is sent again.
type Redriver struct {
	broker *broker
	now    func() time.Time
	random *rand.Rand
}

// redriveAttempts bounds how often a request is tried: waiting between them makes about twelve seconds.
const redriveAttempts = 6

// redriveBytes is the most that one request carries, as of a Producer. A larger record goes alone.
const redriveBytes = 512 << 10

// NewRedriver returns a Redriver to a topic, which is not connected yet. It may be used by one goroutine.
func NewRedriver(brokers []string, s Security, topic string, now func() time.Time) (*Redriver, error) {
	if err := errors.Join(validateTopic(brokers, s, topic)...); err != nil {
		return nil, fmt.Errorf("redrive: %w", err)
	}
	return &Redriver{
		broker: &broker{brokers: brokers, topic: topic, security: s, connectTimeout: 10 * time.Second}, now: now,
		random: rand.New(rand.NewPCG(0, 0)),
	}, nil
}

// Partitions returns the number of partitions of the topic, or an ErrUnknownTopic.
func (r *Redriver) Partitions(ctx context.Context) (int, error) { return r.broker.partitions(ctx) }

// Close releases the connections.
func (r *Redriver) Close() error {
	r.broker.close()
	return nil
}

// Send sends records, which are of one partition, in their order, and returns when the brokers have acknowledged them. After
// an error the first sent of them are acknowledged.
func (r *Redriver) Send(ctx context.Context, records []schema.Rejected) (sent int, err error) {
	for sent < len(records) {
		n, bytes := 0, 0
		for n < len(records)-sent && (n == 0 || bytes+size(&records[sent+n]) <= redriveBytes) {
			if records[sent+n].Partition != records[sent].Partition {
				panic("source: redrive: records of two partitions")
			}
			bytes += size(&records[sent+n])
			n++
		}
		if err := r.send(ctx, records[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

func size(r *schema.Rejected) int { return len(r.Key) + len(r.Value) + 100 }

// send sends one request until it is acknowledged or there is no point in it.
func (r *Redriver) send(ctx context.Context, records []schema.Rejected) error {
	for attempt := 0; ; attempt++ {
		err := r.produce(ctx, records)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case fatal(err, r.broker.topic) != nil:
			return fatal(err, r.broker.topic)
		case attempt+1 == redriveAttempts:
			return fmt.Errorf("redrive: %w: tried %d times: run the same command again when the brokers answer", err, redriveAttempts)
		}
		if err := wait(ctx, backoff(attempt, r.random)); err != nil {
			return err
		}
	}
}

func (r *Redriver) produce(ctx context.Context, records []schema.Rejected) error {
	client, err := r.broker.connect(ctx)
	if err != nil {
		return err
	}
	// A request that is on its way is seen through when ctx ends: it would be sent again otherwise.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout+dialTimeout)
	defer cancel()
	batch := make([]kafka.Record, len(records))
	for i := range records {
		p := &records[i]
		batch[i] = kafka.Record{Time: r.now(), Value: kafka.NewBytes(p.Value), Headers: []kafka.Header{
			{Key: RedrivenHeader, Value: fmt.Appendf(nil, "%d:%d", p.Partition, p.Offset)},
		}}
		if len(p.Key) > 0 { // a record without a key has none again
			batch[i].Key = kafka.NewBytes(p.Key)
		}
	}
	res, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: r.broker.topic, Partition: int(records[0].Partition),
		RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(batch...)})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return fmt.Errorf("produce to partition %d: %w", records[0].Partition, err)
	}
	return nil
}
