package recency

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

func policy(buckets, window int) Config {
	c := DefaultConfig()
	c.Buckets, c.Window, c.Period = buckets, window, time.Second
	return c
}

// passes counts how often each period is learned from by the users of each bucket, when one part comes at a drawn time in each period, and the
// schedule is saved and restored now and then.
func passes(t *rapid.T, c Config, seed uint64, begin, periods int64) (count map[[2]int64]int, runs int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	count = map[[2]int64]int{}
	s := NewSchedule(c)
	take := func(through, latest schema.EventTime) {
		due, _ := s.Advance(through, latest)
		for _, r := range due {
			runs++
			if r.Through != c.startOf(r.Period+1) {
				t.Fatalf("the run of period %d ends at %d", r.Period, r.Through)
			}
			for p := max(begin, c.periodOf(r.From)); c.startOf(p) < r.Through; p++ {
				count[[2]int64{int64(r.Bucket), p}]++
			}
		}
		if rng.IntN(4) > 0 {
			return
		}
		b, err := json.Marshal(s.State())
		if err != nil {
			t.Fatal(err)
		}
		var state State
		if err := json.Unmarshal(b, &state); err != nil {
			t.Fatal(err)
		}
		if s, err = RestoreSchedule(c, state); err != nil {
			t.Fatal(err)
		}
	}
	for p := begin; p < begin+periods; p++ {
		at := c.startOf(p) + schema.EventTime(rng.IntN(1000))
		take(at, at)
	}
	return count, runs
}

// TestEachPartIsLearnedFromOnce is the invariant of partial training: with W = B every part of every bucket is learned from exactly once, at the
// latest 2B-1 periods later; with W a multiple of B, and less, W/B times on average.
func TestEachPartIsLearnedFromOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buckets := rapid.IntRange(1, 12).Draw(t, "buckets")
		window := rapid.SampledFrom([]int{1, (buckets + 1) / 2, buckets, buckets + 3, 3 * buckets}).Draw(t, "window")
		c := policy(buckets, window)
		seed := rapid.Uint64().Draw(t, "seed")
		c.Salt = seed
		begin := rapid.Int64Range(-50, 50).Draw(t, "begin")
		const periods = 400
		count, runs := passes(t, c, seed, begin, periods)
		if runs != periods-1 {
			t.Fatalf("%d runs in %d periods that ended", runs, periods-1)
		}
		settled := begin + periods - 2*int64(buckets)
		sum, parts := 0, 0
		for b := range int64(buckets) {
			for p := begin; p < settled-int64(window); p++ {
				n := count[[2]int64{b, p}]
				if window == buckets && n != 1 {
					t.Fatalf("bucket %d learns from period %d %d times", b, p, n)
				}
				sum, parts = sum+n, parts+1
			}
		}
		want := float64(window) / float64(buckets)
		if got := float64(sum) / float64(parts); math.Abs(got-want) > 0.12*max(1, want) {
			t.Fatalf("B %d, W %d: a part is learned from %.3f times, want %.3f", buckets, window, got, want)
		}
	})
}

// TestOrdersDiffer demands that cycles have orders of their own, each with all buckets, and that the salt changes them.
func TestOrdersDiffer(t *testing.T) {
	c := policy(10, 10)
	first := c.permutation(0)
	same, seen := 0, map[int]bool{}
	for i, b := range c.permutation(1) {
		seen[b] = true
		if b == first[i] {
			same++
		}
	}
	c.Salt++
	other := c.permutation(0)
	if len(seen) != 10 || same == 10 || other[0] == first[0] && other[1] == first[1] && other[2] == first[2] {
		t.Fatalf("orders %v, then %v, with another salt %v", first, seen, other)
	}
}

// TestAJumpIsBounded lets event time jump by a million years of periods.
func TestAJumpIsBounded(t *testing.T) {
	c := policy(7, 7)
	s := NewSchedule(c)
	if runs, skipped := s.Advance(5500, 5500); len(runs) != 0 || skipped != 0 {
		t.Fatalf("at the first part: %v, %d skipped", runs, skipped)
	}
	// Before the jump there is one part, in period 5. All buckets learn from it, and then none has anything new.
	far := c.startOf(1 << 40)
	runs, skipped := s.Advance(far+1, far)
	seen := map[int]bool{}
	for _, r := range runs {
		seen[r.Bucket] = true
		if r.From > 5000 || r.Through <= 5000 {
			t.Fatalf("%+v does not reach the part at 5500", r)
		}
	}
	if len(runs) != 7 || len(seen) != 7 || skipped != 1<<40-5-7 {
		t.Fatalf("%d runs over %d buckets, %d skipped", len(runs), len(seen), skipped)
	}
	// The end of the input ends the period of the last part, for the bucket whose turn it is.
	runs, skipped = s.Advance(schema.EndOfTime, far)
	if len(runs) != 1 || skipped != 0 || runs[0].Through != far+1000 {
		t.Fatalf("at the end: %v, %d skipped", runs, skipped)
	}
	if runs, skipped = s.Advance(6000, 6000); len(runs) != 0 || skipped != 0 { // behind the end, older input
		t.Fatalf("in the past: %v, %d skipped", runs, skipped)
	}
}

// TestThePapersPolicies checks the rows of the table in doc.go against what they promise.
func TestThePapersPolicies(t *testing.T) {
	run := func(buckets, window int) Run {
		s := NewSchedule(policy(buckets, window))
		for at := schema.EventTime(500); ; at += 1000 {
			if runs, _ := s.Advance(at, at); at > 100_000 && len(runs) > 0 {
				return runs[0]
			}
		}
	}
	if r := run(1, AllPeriods); r.From > 0 || r.Bucket != 0 {
		t.Errorf("full retraining: %+v", r)
	}
	if r := run(1, 1); r.Through-r.From != 1000 || r.Bucket != 0 {
		t.Errorf("plain incremental training: %+v", r)
	}
	if r := run(10, 10); r.Through-r.From < 1000 || r.Through-r.From > 19_000 {
		t.Errorf("partial training: %+v", r)
	}
}

// TestBucketsAreEven deals many users and demands shares that are even, and others under another salt.
func TestBucketsAreEven(t *testing.T) {
	const users = 20_000
	c := policy(10, 10)
	other := c
	other.Salt++
	var count [10]int
	same := 0
	for u := range users {
		name := []byte(time.Duration(u).String())
		count[c.Bucket(name)]++
		if c.Bucket(name) == other.Bucket(name) {
			same++
		}
	}
	for b, n := range count {
		if math.Abs(float64(n)-users/10) > 5*math.Sqrt(users/10) {
			t.Errorf("bucket %d has %d of %d users", b, n, users)
		}
	}
	if math.Abs(float64(same)-users/10) > 5*math.Sqrt(users/10) {
		t.Errorf("%d of %d users are in the same bucket under another salt", same, users)
	}
}
