package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// The verifier of TestRotation. It reads the topic with another client, takes its records apart with another decoder, and
// reads the nodes' stores when their processes have ended. No counter of freshet is taken for true: those that it kept are
// compared with what is found.

// book is what is kept of a user's clicks, in the topic and in the logs, as the exactly-once test of Kafka Streams keeps
// count, sum, minimum and maximum of each key. The digest is a sum, so that it does not depend on an order.
type book struct {
	clicks, sum, first, last int64
	digest                   uint64
}

func (b *book) add(c *schema.Click) {
	at := int64(c.EventTime)
	if b.clicks == 0 {
		b.first, b.last = at, at
	}
	b.clicks, b.sum, b.first, b.last = b.clicks+1, b.sum+at, min(b.first, at), max(b.last, at)
	b.digest += fingerprint(c)
}

// fingerprint tells clicks apart.
func fingerprint(c *schema.Click) uint64 {
	b := make([]byte, 0, 128)
	for _, text := range []string{c.UserID, c.EventID, c.ItemID, string(c.Action)} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return xxh3.Hash(binary.AppendVarint(b, int64(c.EventTime)))
}

// audit is what the verifier has found.
type audit struct {
	records, logged, duplicates, pending int64 // clicks
	entries, parts, ticks, shared        int64 // of the logs
	aside                                map[schema.Reason]int64
	inTopic, inLogs                      map[string]*book
	stream                               uint64 // the id of the shop's stream
	indices                              map[uint64]bool
}

func bookOf(books map[string]*book, user string) *book {
	b := books[user]
	if b == nil {
		b = &book{}
		books[user] = b
	}
	return b
}

// verify reads everything there is: the stores of the nodes, and what a mirror has copied of them, if there is one. It fails the test where a click is missing, is there twice, or is not what was sent.
func verify(t *testing.T, broker string, c config.Config, stores []*buffer.Store, copied *buffer.Store) *audit {
	t.Helper()
	shop, id, err := openStream(c, "")
	if err != nil {
		t.Fatal(err)
	}
	shop.Close()
	a := &audit{stream: id, aside: map[schema.Reason]int64{}, inTopic: map[string]*book{}, inLogs: map[string]*book{}, indices: map[uint64]bool{}}
	for p := range schema.Partition(c.Kafka.Partitions) {
		a.partition(t, broker, c, stores, copied, p)
	}
	for _, user := range slices.Sorted(maps.Keys(a.inTopic)) {
		if want, got := *a.inTopic[user], *bookOf(a.inLogs, user); want != got {
			t.Errorf("%s: the topic has %+v, the logs %+v", user, want, got)
		}
	}
	for user := range a.inLogs {
		if a.inTopic[user] == nil {
			t.Errorf("%s: the logs have clicks of this user, the topic has none", user)
		}
	}
	return a
}

// partition verifies one partition: its log is the one that its records make, and what is in neither log nor windows is aside.
func (a *audit) partition(t *testing.T, broker string, c config.Config, stores []*buffer.Store, copied *buffer.Store, p schema.Partition) {
	t.Helper()
	owner := stores[0] // the one that has come furthest: by offset and, because marks come between two records, by emit
	for _, s := range stores {
		if is, most := s.Partition(p), owner.Partition(p); is.NextOffset > most.NextOffset || is.NextOffset == most.NextOffset && is.NextEmit > most.NextEmit {
			owner = s
		}
	}
	logs := stores
	if copied != nil {
		logs = append(slices.Clone(stores), copied)
	}
	var marks []buffer.Entry
	for e := range union(t, logs, p) {
		if e.Kind == buffer.KindTick || e.Kind == buffer.KindEnd {
			marks = append(marks, e)
		}
	}
	aside := map[schema.Offset]schema.Reason{}
	for _, s := range stores {
		for r, err := range s.Aside(0) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Partition != p {
				continue
			}
			if other, ok := aside[r.Offset]; ok && other != r.Reason {
				t.Errorf("partition %d offset %d is aside as %s on one node and as %s on another", p, r.Offset, other, r.Reason)
			}
			aside[r.Offset] = r.Reason
		}
	}
	for _, reason := range aside {
		a.aside[reason]++
	}

	var expected []buffer.Entry // that the log has not been compared with
	compared, faults := schema.Emit(0), 0
	next, stop := iter.Pull2(union(t, logs, p))
	defer stop()
	compare := func() {
		for _, want := range expected {
			got, holders, ok := next()
			for ok && got.Kind == buffer.KindGrow { // it says how many partitions there are, and comes from no record
				a.entries, a.shared = a.entries+1, a.shared+int64(holders-1)
				compared++
				got, holders, ok = next()
			}
			a.entries, a.shared = a.entries+1, a.shared+int64(max(holders-1, 0))
			want.Emit, want.Part.Partition, want.Part.Emit = compared, p, compared
			if want.Kind != buffer.KindPart {
				want.Part = schema.Part{}
			}
			compared++
			switch {
			case !ok:
				faults++
				t.Errorf("partition %d: the log ends before emit %d, %+v", p, compared-1, want)
			case !sameEntry(want, got):
				faults++
				t.Errorf("partition %d emit %d: the records make\n%+v\nand the log has\n%+v", p, compared-1, want, got)
			case got.Kind == buffer.KindTick:
				a.ticks++
			case got.Kind == buffer.KindPart:
				a.parts++
				for i := range got.Part.Clicks {
					a.logged++
					bookOf(a.inLogs, got.Part.UserID).add(&got.Part.Clicks[i])
				}
			}
			if faults > 3 {
				t.FailNow()
			}
		}
		expected = expected[:0]
	}
	replay, err := newReplayer(c.Window, func(e buffer.Entry) { expected = append(expected, e) })
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	pending := map[uint64]schema.Click{} // taken, and not in the log yet
	offset := schema.Offset(0)
	readTopic(t, broker, c.Kafka.Topic, int32(p), func(r *kgo.Record) {
		offset = schema.Offset(r.Offset)
		for len(marks) > 0 && marks[0].Mark.Offset <= offset {
			replay.mark(marks[0])
			marks = marks[1:]
		}
		a.records++
		a.index(t, r)
		click, err := clickOf(r)
		reason, put := aside[offset]
		delete(aside, offset)
		switch {
		case put && reason != schema.ReasonLate && reason != schema.ReasonOverflow:
			replay.reject(reason)
		case err != nil:
			t.Errorf("partition %d offset %d: it was taken for a click: %v", p, offset, err)
		case put:
			replay.click(&click)
		default:
			replay.click(&click)
			id := fingerprint(&click)
			if seen[id] {
				a.duplicates++
				break
			}
			seen[id] = true
			pending[id] = click
			bookOf(a.inTopic, click.UserID).add(&click)
		}
		for _, e := range expected {
			for i := range e.Part.Clicks {
				delete(pending, fingerprint(&e.Part.Clicks[i]))
			}
		}
		compare()
	})
	for _, m := range marks {
		replay.mark(m)
	}
	for _, e := range expected {
		for i := range e.Part.Clicks {
			delete(pending, fingerprint(&e.Part.Clicks[i]))
		}
	}
	compare()
	if extra, _, ok := next(); ok {
		t.Errorf("partition %d: the log goes on where the records end: %+v", p, extra)
	}
	for offset, reason := range aside {
		t.Errorf("partition %d: offset %d is aside as %s, and the topic does not have it", p, offset, reason)
	}
	// What waits in open windows is in no log yet. It counts for the logs, because the windows are those of the replay:
	a.pending += int64(len(pending))
	for _, click := range pending {
		bookOf(a.inLogs, click.UserID).add(&click)
	}
	meta := owner.Partition(p)
	if want := replay.w.Meta(); meta.Window != want {
		t.Errorf("partition %d: the state is %+v, the records make %+v", p, meta.Window, want)
	}
	if meta.NextOffset != offset+1 || meta.Window.Counts.Pending() != uint64(len(pending)) {
		t.Errorf("partition %d: read up to %d of %d, %d pending instead of %d", p, meta.NextOffset, offset+1, meta.Window.Counts.Pending(), len(pending))
	}
}

// union yields the entries of partition p in the order of their emits, from whichever stores have them, and how many have. What
// two stores have, they must have alike: an emit names one entry for ever.
func union(t *testing.T, stores []*buffer.Store, p schema.Partition) iter.Seq2[buffer.Entry, int] {
	return func(yield func(buffer.Entry, int) bool) {
		end := schema.Emit(0)
		for _, s := range stores {
			end = max(end, s.Partition(p).NextEmit)
		}
		ahead := make([][]buffer.Entry, len(stores))
		for emit := schema.Emit(0); emit < end; emit++ {
			var found buffer.Entry
			holders := 0
			for i, s := range stores {
				if m := s.Partition(p); len(ahead[i]) == 0 && m.FirstEmit <= emit && emit < m.NextEmit {
					var err error
					if ahead[i], err = s.Log(p, emit, 1000); err != nil {
						t.Fatal(err)
					}
				}
				if len(ahead[i]) == 0 || ahead[i][0].Emit != emit {
					continue
				}
				e := ahead[i][0]
				ahead[i] = ahead[i][1:]
				if holders++; holders == 1 {
					found = e
				} else if !sameEntry(found, e) {
					t.Errorf("partition %d emit %d: two nodes have\n%+v\n%+v", p, emit, found, e)
				}
			}
			if holders == 0 {
				t.Errorf("partition %d emit %d is in no log", p, emit)
				return
			}
			if !yield(found, holders) {
				return
			}
		}
	}
}

// index notes the place of a record in the shop's stream.
func (a *audit) index(t *testing.T, r *kgo.Record) {
	for _, h := range r.Headers {
		if h.Key != "freshet-seq" || len(h.Value) < 16 || binary.BigEndian.Uint64(h.Value[8:]) != a.stream {
			continue
		}
		i := binary.BigEndian.Uint64(h.Value)
		if a.indices[i] {
			t.Errorf("record %d of the shop is in the topic twice, again at partition %d offset %d", i, r.Partition, r.Offset)
		}
		a.indices[i] = true
	}
}

// sameEntry reports whether a and b are the same entry of a log, to the last byte of a click.
func sameEntry(a, b buffer.Entry) bool {
	same := slices.EqualFunc(a.Part.Clicks, b.Part.Clicks, func(a, b schema.Click) bool {
		return a.UserID == b.UserID && a.ItemID == b.ItemID && a.EventTime == b.EventTime && a.Action == b.Action && a.EventID == b.EventID &&
			a.SessionID == b.SessionID && a.Scene == b.Scene && a.Item == b.Item && bytes.Equal(a.Context, b.Context) && a.ArrivedAt == b.ArrivedAt
	})
	a.Part.Clicks, b.Part.Clicks = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// clickOf takes a record apart.
func clickOf(r *kgo.Record) (schema.Click, error) {
	var j struct {
		User      string          `json:"user_id"`
		Item      string          `json:"item_id"`
		Timestamp int64           `json:"timestamp"`
		Action    schema.Action   `json:"action"`
		Event     string          `json:"event_id"`
		Session   string          `json:"session_id"`
		Scene     string          `json:"scene"`
		Info      schema.ItemInfo `json:"item"`
		Context   json.RawMessage `json:"context"`
	}
	if err := json.Unmarshal(r.Value, &j); err != nil {
		return schema.Click{}, err
	}
	if j.User == "" || j.Item == "" || j.Timestamp == 0 {
		return schema.Click{}, fmt.Errorf("a click without user, item or time: %s", r.Value)
	}
	if j.Action == "" {
		j.Action = schema.ActionClick
	}
	return schema.Click{UserID: j.User, ItemID: j.Item, EventTime: schema.EventTime(j.Timestamp), Action: j.Action, EventID: j.Event, SessionID: j.Session,
		Scene: j.Scene, Item: j.Info, Context: j.Context, ArrivedAt: schema.ArrivalTime(r.Timestamp.UnixMilli())}, nil
}

// readTopic yields the records of a partition from its first to its last.
func readTopic(t *testing.T, broker, topic string, p int32, yield func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for wanted := int64(0); ; {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err0(); err != nil {
			t.Fatalf("read partition %d: %v", p, err)
		}
		end := int64(-1)
		fetched.EachPartition(func(f kgo.FetchTopicPartition) {
			if f.Err != nil {
				t.Fatalf("read partition %d: %v", p, f.Err)
			}
			end = f.HighWatermark
			for _, r := range f.Records {
				if r.Offset != wanted {
					t.Fatalf("read partition %d: offset %d follows %d", p, r.Offset, wanted-1)
				}
				wanted++
				yield(r)
			}
		})
		if wanted == end {
			return
		}
	}
}
