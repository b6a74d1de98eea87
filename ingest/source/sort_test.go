package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// records is a stream of what it holds.
type records struct {
	all    []Outgoing
	next   int
	err    error // at the end, instead of io.EOF
	closed bool
}

func (r *records) Next() (Outgoing, error) {
	if r.next == len(r.all) {
		if r.err != nil {
			return Outgoing{}, r.err
		}
		return Outgoing{}, io.EOF
	}
	r.next++
	return r.all[r.next-1], nil
}

func (r *records) Len() int { return len(r.all) }

func (r *records) Close() error { r.closed = true; return nil }

func (r *records) Progress() (done, total int64) { return int64(10 * r.next), int64(10 * len(r.all)) }

func drain(t interface{ Fatal(...any) }, s Stream) (got []string) {
	for {
		out, err := s.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s %s", out.EventTime, out.Key, out.Value))
	}
}

// Whatever fits into memory, and however often runs are merged, the order is that of a stable sort.
func TestSort(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		in := &records{all: make([]Outgoing, rapid.IntRange(0, 300).Draw(t, "records"))}
		for i := range in.all {
			in.all[i] = Outgoing{
				EventTime: schema.EventTime(rapid.Int64Range(-5, 20).Draw(t, "at")), Key: []byte(fmt.Sprint("k", i%7)),
				Value: []byte(fmt.Sprint("v", i, strings.Repeat("x", rapid.SampledFrom([]int{0, 3, 500}).Draw(t, "size")))),
			}
		}
		want := slices.Clone(in.all)
		slices.SortStableFunc(want, func(a, b Outgoing) int { return int(a.EventTime) - int(b.EventTime) })
		s := newSorted(in, dir, rapid.SampledFrom([]int{1, 100, 2000, 1 << 20}).Draw(t, "memory"), rapid.IntRange(2, 5).Draw(t, "fan"))
		if s.Len() != -1 {
			t.Fatalf("%d records are known before any is read", s.Len())
		}
		if rapid.Bool().Draw(t, "prepared") {
			if err := Prepare(context.Background(), Limit(s, 5)); err != nil {
				t.Fatal(err)
			}
		}
		got := drain(t, s)
		if diff := cmp.Diff(drain(t, &records{all: want}), got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if s.Len() != len(want) {
			t.Fatalf("%d records, want %d", s.Len(), len(want))
		}
		if done, total := s.Progress(); done != total || total != int64(20*len(want)) {
			t.Fatalf("at the end %d of %d is done", done, total)
		}
		if err := s.Close(); err != nil || !in.closed {
			t.Fatalf("close: %v, of the input: %v", err, in.closed)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("it leaves %v, %v", left, err)
		}
	})
}

func manyRecords(n int) *records {
	in := &records{all: make([]Outgoing, n)}
	for i := range in.all {
		in.all[i] = Outgoing{EventTime: schema.EventTime(i * 7919 % n), Key: []byte("user"), Value: []byte(fmt.Sprintf(`{"user_id":"user","item_id":"%d"}`, i))}
	}
	return in
}

func TestSortIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := newSorted(manyRecords(100_000), t.TempDir(), 1<<16, 4)
	if err := Prepare(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("prepare: %v", err)
	}
	if _, err := s.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("next: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSortPassesErrorsOn(t *testing.T) {
	in := manyRecords(1000)
	in.err = errors.New("line 7: cut")
	s := newSorted(in, t.TempDir(), 1<<12, 4)
	for range 2 {
		if _, err := s.Next(); !errors.Is(err, in.err) {
			t.Errorf("got %v, want the input's error", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = newSorted(manyRecords(1000), file, 1<<12, 4) // a folder that is none
	if _, err := s.Next(); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v, want what to do", err)
	}
}

// A run that was changed on the disk is an error, and not its end.
func TestSortNoticesDamage(t *testing.T) {
	s := newSorted(manyRecords(20_000), t.TempDir(), 1<<16, 64)
	if err := s.prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, r := range s.runs[0] {
		info, err := r.file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.file.Truncate(info.Size() / 2); err != nil {
			t.Fatal(err)
		}
		if err := r.begin(); err != nil {
			continue // the cut is in the first block
		}
		n := 0
		for err = nil; err == nil; n++ {
			err = r.advance()
		}
		if errors.Is(err, io.EOF) {
			t.Fatalf("the run ends after %d records as if that were all", n)
		}
	}
}

func BenchmarkSort(b *testing.B) {
	in := manyRecords(1_000_000)
	for _, memory := range []int{1 << 30, 8 << 20} {
		b.Run(fmt.Sprintf("memory=%dMB", memory>>20), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in.next = 0
				s := newSorted(in, b.TempDir(), memory, fanIn)
				for {
					if _, err := s.Next(); err != nil {
						break
					}
				}
				s.Close()
			}
			b.ReportMetric(float64(b.N*len(in.all))/b.Elapsed().Seconds(), "records/s")
		})
	}
}
