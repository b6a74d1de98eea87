package publisher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// News of a bucket are messages outside of it, one after each write, which a reader takes as a hint to read the key again.
// A reader of news needs no consumer. That is for safety more than for thrift: who may create a consumer may have what is in
// the bucket delivered to any subject at all, also to that of another bucket's key.

// newsOf returns how the server tells the news of a bucket: $KV.freshet_heads.shop on freshet.heads.shop.
func newsOf(bucket string) *jetstream.RePublish {
	return &jetstream.RePublish{Source: "$KV." + bucket + ".>", Destination: newsSubject(bucket, ">"), HeadersOnly: true}
}

func newsSubject(bucket, key string) string { return strings.Replace(bucket, "_", ".", 1) + "." + key }

// followKey calls each with the value of key, now and after every change, until ctx is done or the key cannot be read.
// A key that is not there has no value.
func (s *Store) followKey(ctx context.Context, bucket jetstream.KeyValue, key, what string, each func(value []byte)) error {
	nc := s.js.Conn()
	news := make(chan uint64, 1) // holds the newest revision that was heard of
	heard, err := nc.Subscribe(newsSubject(bucket.Bucket(), key), func(m *nats.Msg) {
		revision, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return // not from the server
		}
		select {
		case <-news:
		default:
		}
		news <- revision // this goroutine alone sends, so there is room
	})
	if err != nil {
		return fmt.Errorf("news of %s: %w", what, err)
	}
	defer heard.Unsubscribe()
	connected := nc.StatusChanged(nats.CONNECTED) // what was told in between is lost
	defer nc.RemoveStatusListener(connected)
	if err := s.flush(ctx, nc); err != nil {
		return fmt.Errorf("news of %s: %w", what, err)
	}
	for seen, told := uint64(0), uint64(0); ; {
		entry, err := s.getAtLeast(ctx, bucket, key, told)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if entry != nil && entry.Revision() != seen {
			seen = entry.Revision()
			each(entry.Value())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case told = <-news:
		case <-connected:
		}
	}
}

// flush returns when the server has what was asked of it before.
func (s *Store) flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// In a cluster another server than the one that took a write may answer a read, a moment before it has the write itself.
const (
	rereadAfter = 5 * time.Millisecond
	mostRereads = 20
)

// getAtLeast reads key again until its revision is at least told, within bounds. nil is no value.
func (s *Store) getAtLeast(ctx context.Context, bucket jetstream.KeyValue, key string, told uint64) (jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	for again := 0; ; again++ {
		entry, err := bucket.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, nil
		}
		if err != nil || entry.Revision() >= told || again == mostRereads {
			return entry, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(rereadAfter):
		}
	}
}
