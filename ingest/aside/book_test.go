package aside_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/schema"
)

// books calls f with a book of s in this process, and with one over HTTP.
func books(s *shelf, f func(name string, b aside.Book)) {
	local := aside.Local{Shelf: s}
	f("local", local)
	server := httptest.NewServer(aside.Handler(local, wants("s3cret"), slog.New(slog.DiscardHandler)))
	defer server.Close()
	f("http", aside.Client{BaseURL: server.URL + "/", Token: "s3cret", HTTP: server.Client()})
}

// TestEveryRecordOnce: whatever the filter and the size of the pages, the pages together are the records that match, in
// order, and the summary counts them.
func TestEveryRecordOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{}
		s.put(rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) schema.Rejected {
			r := rejected(rapid.IntRange(0, 3).Draw(t, "partition"), rapid.IntRange(0, 200).Draw(t, "offset"), rapid.SampledFrom(schema.Reasons).Draw(t, "reason"))
			r.Key, r.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "key"), rapid.SliceOf(rapid.Byte()).Draw(t, "value")
			return r
		}), 0, 80, func(r schema.Rejected) aside.Place { return aside.Place{Partition: r.Partition, Offset: r.Offset} }).Draw(t, "records")...)
		f := aside.Filter{
			Reasons:    rapid.SliceOfN(rapid.SampledFrom(schema.Reasons), 0, 2).Draw(t, "reasons"),
			Partitions: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schema.Partition { return schema.Partition(rapid.IntRange(0, 4).Draw(t, "p")) }), 0, 2).Draw(t, "partitions"),
		}
		if rapid.Bool().Draw(t, "since") {
			f.Since = schema.ArrivalTime(1_700_000_000_000 + rapid.Int64Range(0, 100_000).Draw(t, "from"))
		}
		if rapid.Bool().Draw(t, "until") {
			f.Until = schema.ArrivalTime(1_700_000_100_000 + rapid.Int64Range(1, 100_000).Draw(t, "to"))
		}
		want := []schema.Rejected{}
		reasons, size := map[schema.Reason]int64{}, int64(0)
		for _, r := range s.records {
			if f.Matches(&r) {
				want = append(want, r)
				reasons[r.Reason]++
				size += int64(len(r.Key) + len(r.Value))
			}
		}
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		books(s, func(name string, b aside.Book) {
			got := []schema.Rejected{}
			for page := (aside.Page{Next: aside.Start, More: true}); page.More; {
				var err error
				if page, err = b.Page(context.Background(), f, page.Next, limit); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(page.Records) > limit {
					t.Fatalf("%s: a page of %d records, %d were wanted", name, len(page.Records), limit)
				}
				got = append(got, page.Records...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s: other records (-want +got):\n%s", name, diff)
			}
			sum, err := b.Summary(context.Background(), f)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if sum.Records != int64(len(want)) || sum.Bytes != size || cmp.Diff(reasons, sum.Reasons) != "" {
				t.Fatalf("%s: %d records of %d bytes, %v; the summary says %+v", name, len(want), size, reasons, sum)
			}
			for p, m := range s.metas {
				if sum.Partitions[p].Next != m.NextOffset {
					t.Fatalf("%s: partition %d was read to %d, the summary says %d", name, p, m.NextOffset, sum.Partitions[p].Next)
				}
			}
		})
	})
}

// TestRemoveWhileReading: records may go, and come, while they are read.
func TestRemoveWhileReading(t *testing.T) {
	for _, how := range []string{"local", "http"} {
		s := &shelf{}
		for o := range 2500 {
			s.put(rejected(o%2, o, schema.ReasonInvalid))
		}
		books(s, func(name string, b aside.Book) {
			if name != how {
				return
			}
			seen := map[aside.Place]int{}
			err := aside.Each(t.Context(), b, aside.Filter{}, func(r *schema.Rejected) error {
				at := aside.Place{Partition: r.Partition, Offset: r.Offset}
				seen[at]++
				n, err := b.Remove(t.Context(), []aside.Place{at, {Partition: 9, Offset: 9}})
				if n != 1 || err != nil {
					return fmt.Errorf("removed %d of %s: %v", n, at, err)
				}
				return nil
			})
			if err != nil || len(seen) != 2500 || len(s.records) != 0 {
				t.Errorf("%s: %v, %d records seen, %d left", name, err, len(seen), len(s.records))
			}
			if _, err := b.Record(t.Context(), aside.Place{Partition: 0, Offset: 0}); !errors.Is(err, aside.ErrNone) {
				t.Errorf("%s: a record that was removed: %v", name, err)
			}
		})
	}
}

// TestPagesAreBounded: by bytes, and by what is looked at where nothing matches.
func TestPagesAreBounded(t *testing.T) {
	s := &shelf{}
	big := bytes.Repeat([]byte("x"), 1<<20)
	for o := range 10 {
		r := rejected(0, o, schema.ReasonOversize)
		r.Value = big
		s.put(r)
	}
	s.metas[1] = s.metas[0] // a partition that has nothing aside
	books(s, func(name string, b aside.Book) {
		page, err := b.Page(t.Context(), aside.Filter{}, aside.Start, aside.MaxPage)
		if err != nil || len(page.Records) != 4 || !page.More {
			t.Errorf("%s: %d records of a megabyte, more %v, %v", name, len(page.Records), page.More, err)
		}
		one, err := b.Record(t.Context(), aside.Place{Partition: 0, Offset: 7})
		if err != nil || !bytes.Equal(one.Value, big) || one.Offset != 7 {
			t.Errorf("%s: %v, offset %d, %d bytes", name, err, one.Offset, len(one.Value))
		}
	})
}

// TestPagesOfNothing: where nothing matches, a page ends with what was looked at.
func TestPagesOfNothing(t *testing.T) {
	e := &endless{}
	e.put(rejected(0, 0, schema.ReasonLate))
	after := aside.Start
	for range 3 {
		page, err := aside.Local{Shelf: e}.Page(t.Context(), aside.Filter{Reasons: []schema.Reason{schema.ReasonInvalid}}, after, 10)
		if err != nil || len(page.Records) != 0 || !page.More || page.Next.Offset != after.Offset+20_000 {
			t.Fatalf("after %s: %+v, %v", after, page, err)
		}
		after = page.Next
	}
	behind := aside.Place{Partition: 0, Offset: math.MaxInt64}
	if page, err := (aside.Local{Shelf: e}).Page(t.Context(), aside.Filter{}, behind, 10); err != nil || len(page.Records) != 0 || page.More {
		t.Errorf("after the last offset there is: %+v, %v", page, err)
	}
}

// endless is a partition of late records without end.
type endless struct{ shelf }

func (e *endless) AsideFrom(p schema.Partition, from schema.Offset, n int) (found []schema.Rejected, err error) {
	for o := from; o < from+schema.Offset(n); o++ {
		found = append(found, rejected(int(p), int(o), schema.ReasonLate))
	}
	return found, nil
}

func TestPlaces(t *testing.T) {
	for _, text := range []string{"0:0", "3:17", "2147483647:9223372036854775807"} {
		if p, err := aside.ParsePlace(text); err != nil || p.String() != text {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "3", "3:", ":17", "-1:0", "0:-1", "a:b", "3:17:4", "2147483648:0"} {
		if p, err := aside.ParsePlace(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

// TestRecordsAsJSON: bytes of all sorts come back.
func TestRecordsAsJSON(t *testing.T) {
	r := rejected(1, 2, schema.ReasonUndecodable)
	got := string(aside.AppendLine(nil, &r))
	want := `{"topic":"clicks","partition":1,"offset":2,"arrived_at":1700000002000,"reason":"undecodable","detail":"it is undecodable",` +
		`"bytes":14,"key":"dTI=","value":"eyJvZmZzZXQiOjJ9","key_text":"u2","value_text":"{\"offset\":2}"}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	r.Key, r.Value = nil, []byte{0xff, 0}
	got = string(aside.AppendLine(nil, &r))
	want = `{"topic":"clicks","partition":1,"offset":2,"arrived_at":1700000002000,"reason":"undecodable","detail":"it is undecodable",` +
		`"bytes":2,"key":"","value":"/wA=","key_text":""}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestFilterNamesEveryFault(t *testing.T) {
	f := aside.Filter{Reasons: []schema.Reason{"lost"}, Partitions: []schema.Partition{-1}, Since: 2, Until: 1}
	if err := f.Validate(); err == nil || len(slices.Collect(lines(err))) != 3 {
		t.Errorf("%v", err)
	}
}
