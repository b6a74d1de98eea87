package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// A record put aside. Arrival, partition and offset are in its key.
//
//	string reason, topic, detail, key, value
func appendAside(b []byte, r *schema.Rejected) []byte {
	b = appendString(b, r.Reason)
	b = appendString(b, r.Topic)
	b = appendString(b, r.Detail)
	b = appendString(b, r.Key)
	return appendString(b, r.Value)
}

func decodeAside(key, value []byte) (schema.Rejected, error) {
	at, p, offset, ok := splitAside(key)
	if !ok {
		return schema.Rejected{}, ErrCorrupt
	}
	r := newReader(value)
	rejected := schema.Rejected{
		Partition: p, Offset: offset, ArrivedAt: at,
		Reason: schema.Reason(r.string()), Topic: r.string(), Detail: r.string(), Key: []byte(r.string()), Value: []byte(r.string()),
	}
	return rejected, r.done()
}

// Aside yields the records put aside that arrived at from or later, in order of arrival. It ends after the first error.
func (s *Store) Aside(from schema.ArrivalTime) iter.Seq2[schema.Rejected, error] {
	return func(yield func(schema.Rejected, error) bool) {
		release, err := s.use()
		if err != nil {
			yield(schema.Rejected{}, err)
			return
		}
		defer release()
		it, err := s.db.NewIter(&pebble.IterOptions{
			LowerBound: appendTime([]byte{spaceAside}, from), UpperBound: after([]byte{spaceAside}),
		})
		if err != nil {
			yield(schema.Rejected{}, fmt.Errorf("buffer: read aside: %w", err))
			return
		}
		defer it.Close() // its error is it.Error, which is yielded
		for it.First(); it.Valid(); it.Next() {
			value, err := it.ValueAndErr()
			var r schema.Rejected
			if err == nil {
				r, err = decodeAside(it.Key(), value)
			}
			if err != nil {
				yield(schema.Rejected{}, fmt.Errorf("buffer: %s: %w", nameOf(it.Key()), err))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(schema.Rejected{}, fmt.Errorf("buffer: read aside: %w", err))
		}
	}
}

// trimmed counts what the bounds took away from aside. Stored as two uvarints.
type trimmed struct{ records, bytes uint64 }

func (s *Store) loadTrimmed() error {
	key := []byte{spaceTrimmed}
	value, ok, err := s.get(key)
	if err != nil || !ok {
		return err
	}
	r := newReader(value)
	s.trimmed = trimmed{records: r.uvarint(), bytes: r.uvarint()}
	if err := r.done(); err != nil {
		return fmt.Errorf("%s: %w", nameOf(key), err)
	}
	return nil
}

// kept returns how much is aside now: what was ever put there, less what was trimmed.
func (s *Store) kept() trimmed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var k trimmed
	for _, m := range s.metas {
		k.records += m.Aside
		k.bytes += m.AsideBytes
	}
	// A trim may meet records whose commit is applied and not yet published, so for a moment more may be gone than was put.
	k.records -= min(k.records, s.trimmed.records)
	k.bytes -= min(k.bytes, s.trimmed.bytes)
	return k
}

// trim deletes the oldest records aside when there are a sixteenth more than the bounds allow, down to the bounds: rarely
// and many at once, so that a range tombstone does it. It needs no sync: what it deletes and what it counts are one batch.
func (s *Store) trim() error {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	records, bytes := uint64(s.opts.AsideRecords), uint64(s.opts.AsideBytes)
	k := s.kept()
	if k.records <= records+records/16 && k.bytes <= bytes+bytes/16 {
		return nil
	}
	s.mu.RLock()
	done := s.trimmed
	s.mu.RUnlock()
	var last []byte
	enough := errors.New("enough")
	err := s.scan([]byte{spaceAside}, func(key, value []byte) error {
		if k.records <= records && k.bytes <= bytes {
			return enough
		}
		k.records--
		k.bytes -= uint64(len(value))
		done.records++
		done.bytes += uint64(len(value))
		last = append(last[:0], key...)
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	count := binary.AppendUvarint(binary.AppendUvarint(nil, done.records), done.bytes)
	if err := errors.Join(
		batch.DeleteRange([]byte{spaceAside}, append(last, 0), nil),
		batch.Set([]byte{spaceTrimmed}, count, nil),
		batch.Commit(pebble.NoSync),
	); err != nil {
		return fmt.Errorf("buffer: trim aside: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimmed = done
	return nil
}

// Totals sums the partitions of a store up.
type Totals struct {
	Partitions   int
	Counts       window.Counts
	Entries      uint64 // of all logs
	Ticks        uint64 // of them, ticks
	AsideKept    uint64 // records that are aside now
	AsideTrimmed uint64 // records that the bounds took away again
}

// Totals returns the sums over all partitions, as of one moment between commits.
func (s *Store) Totals() Totals {
	kept := s.kept()
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := Totals{Partitions: len(s.metas), AsideKept: kept.records, AsideTrimmed: s.trimmed.records}
	for _, m := range s.metas {
		t.Counts = t.Counts.Plus(m.Window.Counts)
		t.Entries += uint64(m.NextEmit)
		t.Ticks += m.Ticks
	}
	return t
}
