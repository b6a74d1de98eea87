package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden file after a wanted change of the world")

func open(t testing.TB, c Config) *Shop {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var decoder = decode.JSON()

// read returns the click in value, which arrived at the time given. The click is kept, and value is the shop's.
func read(value []byte, arrived schema.EventTime) (c schema.Click, err error) {
	err = decoder.Decode(bytes.Clone(value), &c)
	c.ArrivedAt = schema.ArrivalTime(arrived)
	return c, err
}

func next(t testing.TB, s *Shop) source.Outgoing {
	t.Helper()
	r, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSameConfigSameBytes(t *testing.T) {
	a, b := open(t, DefaultConfig()), open(t, DefaultConfig())
	other := DefaultConfig()
	other.Seed++
	c, differs := open(t, other), false
	for i := range 50_000 {
		x, y := next(t, a), next(t, b)
		if !bytes.Equal(x.Key, y.Key) || !bytes.Equal(x.Value, y.Value) || x.EventTime != y.EventTime {
			t.Fatalf("record %d differs:\n%s\n%s", i, x.Value, y.Value)
		}
		differs = differs || !bytes.Equal(x.Value, next(t, c).Value)
	}
	if !differs {
		t.Error("another seed gave the same stream")
	}
}

// The golden file holds a digest of the first 1,000 records, and the first few of them for a reader.
func TestGolden(t *testing.T) {
	s := open(t, DefaultConfig())
	h := sha256.New()
	var got strings.Builder
	for i := range 1000 {
		r := next(t, s)
		fmt.Fprintf(h, "%d %s %s\n", r.EventTime, r.Key, r.Value)
		if i < 10 {
			fmt.Fprintf(&got, "%d %s %s\n", r.EventTime, r.Key, r.Value)
		}
	}
	fmt.Fprintf(&got, "sha256 of 1000 such lines: %x\n", h.Sum(nil))
	path := filepath.Join("testdata", "first-1000.golden")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the stream has changed:\n got %s\nwant %s", got.String(), want)
	}
}

func TestStreamEnds(t *testing.T) {
	c := DefaultConfig()
	if n := open(t, c).Len(); n != -1 {
		t.Errorf("Len of an endless stream is %d", n)
	}
	c.Records = 17
	s := open(t, c)
	if s.Len() != 17 {
		t.Errorf("Len is %d", s.Len())
	}
	for range 17 {
		next(t, s)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last record: %v", err)
	}
	s = open(t, c)
	next(t, s)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
}

// observed counts a stream from its bytes alone, by the rules of the windows and not by those of the shop. The bound is
// checked for one partition and for a partition of each user: what holds for both holds for any number of partitions.
func observed(t *rapid.T, s *Shop, c Config) (o Counts) {
	seen := map[string]bool{}
	ofUser := map[string]schema.EventTime{}
	bound := c.Lateness
	var newest, delivered schema.EventTime
	for {
		r, err := s.Next()
		if errors.Is(err, io.EOF) {
			return o
		}
		if r.EventTime < delivered {
			t.Fatalf("delivered at %d, after %d", r.EventTime, delivered)
		}
		delivered = r.EventTime
		o.Records++
		if len(r.Value) > schema.MaxRecordBytes {
			o.Oversize++
			continue
		}
		click, err := read(r.Value, delivered)
		if err != nil {
			o.Truncated++ // stands for both sorts
			continue
		}
		if err := click.Validate(10 * time.Minute); err != nil {
			o.NoUser++ // stands for all sorts
			continue
		}
		if string(r.Key) != click.UserID {
			t.Fatalf("key %s of %s", r.Key, r.Value)
		}
		at := click.EventTime
		if seen[click.EventID] {
			o.Duplicates++
			if at < delivered.Add(-bound/2) {
				t.Fatalf("a duplicate comes after %d ms: %s", delivered-at, r.Value)
			}
			continue
		}
		seen[click.EventID] = true
		switch click.Action {
		case schema.ActionExposure:
			o.Exposures++
		case schema.ActionClick:
			o.Clicks++
		case schema.ActionCart:
			o.Carts++
		case schema.ActionPurchase:
			o.Purchases++
		}
		switch {
		case at < newest.Add(-bound):
			o.Late++
			if before := ofUser[click.UserID]; before < at.Add(12*bound) {
				t.Fatalf("late only by %d ms within its user: %s", before-at, r.Value)
			}
			continue
		case at < newest:
			o.OutOfOrder++
			if at < newest.Add(-bound/2) {
				t.Fatalf("%d ms behind: %s", newest-at, r.Value)
			}
		}
		newest = max(newest, at)
		ofUser[click.UserID] = max(ofUser[click.UserID], at)
	}
}

// coarse leaves of c what can be seen from outside.
func coarse(c Counts) Counts {
	c.Truncated, c.NotJSON = c.Undecodable(), 0
	c.NoUser, c.Seconds, c.TooOld, c.LongID = c.Invalid(), 0, 0, 0
	c.Sessions, c.ItemsBorn, c.ItemsDied, c.Shifts = 0, 0, 0, 0
	return c
}

func TestCountsAreWhatAReaderSees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		c.Seed = rapid.Uint64().Draw(t, "seed")
		c.Users, c.Items, c.Clusters = 200, 120, 5
		c.Rate = rapid.Float64Range(0.5, 5).Draw(t, "rate")
		c.Records = 2000
		share := func(name string) float64 { return rapid.Float64Range(0, 0.1).Draw(t, name) }
		c.OutOfOrder, c.Late, c.Duplicate = share("out of order"), share("late"), share("duplicate")
		c.Undecodable, c.Invalid = share("undecodable"), share("invalid")
		c.Oversize = rapid.SampledFrom([]float64{0, 0.002}).Draw(t, "oversize")
		c.ExposureShare = rapid.Float64Range(0, 0.6).Draw(t, "exposures")
		c.Lateness = time.Duration(rapid.Int64Range(100, 10_000).Draw(t, "lateness ms")) * time.Millisecond
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		got := observed(t, s, c)
		if want := coarse(s.Counts()); got != want {
			t.Fatalf("a reader counts %+v, the shop %+v", got, want)
		}
		if got.Records != got.Clean()+got.Duplicates+got.Malformed() {
			t.Fatalf("%+v does not add up", got)
		}
	})
}

// Every click that was made has been delivered once, or is on its way.
func TestNoClickVanishes(t *testing.T) {
	c := DefaultConfig()
	c.Late = 0.3
	s := open(t, c)
	for range 20_000 {
		next(t, s)
	}
	waiting, held := int64(0), int64(0)
	for _, m := range s.out.queue.heap {
		if m.value.kind <= kindPurchase {
			waiting++
		}
	}
	for i := range s.crowd.users {
		if s.crowd.users[i].held != nil {
			held++
		}
	}
	if n := s.Counts(); n.Clean()+waiting+held != s.events || held == 0 || n.Late == 0 {
		t.Errorf("%d delivered, %d waiting, %d held (%d were late) of %d", n.Clean(), waiting, held, n.Late, s.events)
	}
}

// Each sort of fault must happen, or the counts above are equal because they are 0.
func TestEveryFaultHappens(t *testing.T) {
	c := DefaultConfig()
	c.Records = 60_000
	c.Oversize = 0.0005
	s := open(t, c)
	for range c.Records {
		next(t, s)
	}
	n := s.Counts()
	for name, v := range map[string]int64{
		"exposures": n.Exposures, "clicks": n.Clicks, "carts": n.Carts, "purchases": n.Purchases,
		"out of order": n.OutOfOrder, "late": n.Late, "duplicates": n.Duplicates,
		"truncated": n.Truncated, "not JSON": n.NotJSON, "no user": n.NoUser, "seconds": n.Seconds, "too old": n.TooOld,
		"long id": n.LongID, "oversize": n.Oversize,
		"sessions": n.Sessions, "born": n.ItemsBorn, "died": n.ItemsDied, "shifts": n.Shifts,
	} {
		if v == 0 {
			t.Errorf("%s: none in %d records", name, c.Records)
		}
	}
	near := func(name string, got, want, tolerance float64) {
		if got < want*(1-tolerance) || got > want*(1+tolerance) {
			t.Errorf("%s: %.4f, want about %.4f", name, got, want)
		}
	}
	clean := float64(n.Clean())
	seconds := float64(s.out.newest-int64(c.Start)) / 1000
	near("records per second", float64(c.Records)/seconds, c.Rate, 0.05)
	near("exposures", float64(n.Exposures)/clean, c.ExposureShare, 0.1)
	near("out of order", float64(n.OutOfOrder)/clean, c.OutOfOrder, 0.1)
	near("duplicates", float64(n.Duplicates)/clean, c.Duplicate, 0.3)
	near("late", float64(n.Late)/clean, c.Late, 0.5)
	near("undecodable", float64(n.Undecodable())/clean, c.Undecodable, 0.5)
	near("invalid", float64(n.Invalid())/clean, c.Invalid, 0.5)
	near("clicks of a session", float64(n.Clicks+n.Carts+n.Purchases)/float64(n.Sessions), c.SessionClicks, 0.2)
}

func TestExposuresCanBeSwitchedOff(t *testing.T) {
	c := DefaultConfig()
	c.ExposureShare = 0
	c.Records = 5000
	s := open(t, c)
	for range c.Records {
		next(t, s)
	}
	if n := s.Counts(); n.Exposures != 0 || n.Clicks == 0 {
		t.Errorf("%+v", n)
	}
}

// The memory of a shop does not grow with the stream: four times the records, and the same heap.
func TestMemoryIsFlat(t *testing.T) {
	if raceEnabled {
		t.Skip("a statistic of one goroutine: the same without the race detector")
	}
	c := DefaultConfig()
	c.ItemLife = 2 * time.Minute // so that the catalogue turns over many times
	s := open(t, c)
	run := func(n int) uint64 {
		for range n {
			next(t, s)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	early := run(50_000)
	late := run(150_000)
	if late > early+1<<20 {
		t.Errorf("heap grew from %d to %d bytes", early, late)
	}
	if n := s.Counts(); n.ItemsDied < int64(5*c.Items) {
		t.Errorf("only %d items died", n.ItemsDied)
	}
	if len(s.wakes.heap) != c.Users {
		t.Errorf("%d users are expected, want %d", len(s.wakes.heap), c.Users)
	}
}

func TestTimelineIsAStableSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, 20), 1, 200).Draw(t, "times")
		var q timeline[int]
		for i, at := range times {
			q.push(at, i)
		}
		lastAt, lastCame := int64(-1), -1
		for range times {
			at, came := q.pop()
			if at != times[came] || at < lastAt || at == lastAt && came < lastCame {
				t.Fatalf("(%d, %d) after (%d, %d)", at, came, lastAt, lastCame)
			}
			lastAt, lastCame = at, came
		}
		if len(q.heap) != 0 {
			t.Fatalf("%d left", len(q.heap))
		}
	})
}

func TestValidateReportsAllFaults(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := Config{Late: 2, OutOfOrder: -1, Records: -1}.Validate()
	for _, want := range []string{"start", "rate", "records", "users", "items", "clusters", "session clicks", "think", "item life", "lateness", "late 2", "out of order -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault names %q: %v", want, err)
		}
	}
	c := DefaultConfig()
	c.Rate = 10_000
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "give more users") {
		t.Errorf("too few users: %v", err)
	}
	if err := DefaultConfig().AtRate(10_000).Validate(); err != nil {
		t.Errorf("AtRate: %v", err)
	}
	if got := DefaultConfig().AtRate(1).Users; got != DefaultConfig().Users {
		t.Errorf("a low rate changed the users to %d", got)
	}
	c.Users = c.usersMin()
	if _, err := New(c); err != nil {
		t.Errorf("the least number of users that was named is refused: %v", err)
	}
	c.Users--
	if _, err := New(c); err == nil {
		t.Error("one user less than the least is taken")
	}
}

func BenchmarkNext(b *testing.B) {
	s := open(b, DefaultConfig())
	for range 10_000 {
		next(b, s)
	}
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		r := next(b, s)
		n += int64(len(r.Value))
	}
	b.SetBytes(n / int64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
