package recency

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

func TestPoliciesThatCannotWorkAreRefused(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	off := DefaultConfig()
	off.Buckets, off.Period, off.Window, off.Epochs, off.Share = 0, 0, 0, 0, 0 // not looked at
	if err := off.Validate(); err != nil {
		t.Fatal(err)
	}
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if err == nil {
			t.Fatalf("%+v was accepted, want %q", c, want)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
		if n := strings.Count(err.Error(), "\n") + 1; n != len(want) {
			t.Errorf("%d faults, want %d: %v", n, len(want), err)
		}
	}
	f(func(c *Config) { c.Fast, c.Buckets = false, 0 }, "nothing would be trained on")
	f(func(c *Config) { c.Buckets = -1 }, "buckets -1")
	f(func(c *Config) { c.Buckets = 5000 }, "buckets 5000")
	f(func(c *Config) { c.Period, c.Window, c.Epochs, c.Share = time.Microsecond, 0, 0, 0 }, "period 1µs", "window 0", "epochs 0", "share 0")
	f(func(c *Config) { c.Share = math.NaN() }, "share NaN")
	f(func(c *Config) { c.Share, c.Window, c.Epochs = 1.1, 2<<20, 2000 }, "share 1.1", "window 2097152", "epochs 2000")
	f(func(c *Config) { c.Decay, c.Pretrain, c.StochasticLength = -1, -1, 1 }, "decay -1ns", "pretrain -1ns", "stochastic_length 1")
	f(func(c *Config) { c.StochasticLength = 2 }, "stochastic_length 2")
	f(func(c *Config) { c.Distill = -1 }, "distill -1")
	f(func(c *Config) { c.Distill = math.NaN() }, "distill NaN")
	f(func(c *Config) { c.Buckets, c.Period, c.Distill = 0, 0, 101 }, "period 0s", "distill 101")
	f(func(c *Config) { c.LagSoft = -1 }, "lag_soft -1ns")
	f(func(c *Config) { c.LagSoft = 0 }, "lag_hard 2m0s without lag_soft")
	f(func(c *Config) { c.LagHard = c.LagSoft }, "lag_hard 30s: must be above")
}

func TestWeightsHalveWithAge(t *testing.T) {
	c := DefaultConfig()
	if w := c.Weight(time.Hour); w != 1 {
		t.Errorf("without decay an hour weighs %v", w)
	}
	c.Decay = time.Hour
	for age, want := range map[time.Duration]float64{-time.Hour: 1, 0: 1, time.Hour: .5, 2 * time.Hour: .25, 30 * time.Minute: math.Sqrt(.5)} {
		if w := c.Weight(age); math.Abs(w-want) > 1e-12 {
			t.Errorf("%v weighs %v, want %v", age, w, want)
		}
	}
}

func TestPeriodsEnd(t *testing.T) {
	c := DefaultConfig()
	hour := schema.EventTime(time.Hour.Milliseconds())
	for _, f := range []struct {
		before, latest schema.EventTime
		want           bool
	}{{schema.BeginningOfTime, 5 * hour, false}, {hour, 2*hour - 1, false}, {2*hour - 1, 2 * hour, true}, {hour, 9 * hour, true}, {-1, 0, true}, {-hour, -1, false}} {
		if got := c.Ends(f.before, f.latest); got != f.want {
			t.Errorf("a period ends between %d and %d: %v", f.before, f.latest, got)
		}
	}
}

func TestPretrainingBegins(t *testing.T) {
	c := DefaultConfig()
	if at := c.Begin(1e9); at != 0 {
		t.Errorf("all of the log begins at %d", at)
	}
	c.Pretrain = time.Second
	if at := c.Begin(1e9); at != 1e9-1000 {
		t.Errorf("a second of the log begins at %d", at)
	}
}

// TestThinKeepsSome checks what is chosen of drawn histories, and that it is the same when asked again.
func TestThinKeepsSome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		c.Salt = rapid.Uint64().Draw(t, "salt")
		c.StochasticLength = rapid.SampledFrom([]float64{0, 1.2, 1.6, 1.9}).Draw(t, "alpha")
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		times := make([]schema.EventTime, rapid.IntRange(1, limit).Draw(t, "n"))
		for i := range times {
			times[i] = schema.EventTime(rapid.IntRange(0, 50).Draw(t, "step"))
			if i > 0 {
				times[i] += times[i-1]
			}
		}
		at := schema.Emit(rapid.IntRange(0, 9).Draw(t, "at"))
		kept := c.Thin(times, limit, 3, at)
		for i, k := range kept {
			if k < 0 || k >= len(times) || i > 0 && k <= kept[i-1] {
				t.Fatalf("%v of %d", kept, len(times))
			}
		}
		if again := c.Thin(times, limit, 3, at); len(again) != len(kept) || again[0] != kept[0] {
			t.Fatalf("%v, and then %v", kept, again)
		}
		if kept[len(kept)-1] != len(times)-1 {
			t.Fatalf("the newest of %d is not in %v", len(times), kept)
		}
		stay := max(1, int(math.Pow(float64(limit), c.StochasticLength/2)))
		if n := len(kept); n != len(times) && (c.StochasticLength == 0 || n != stay) {
			t.Fatalf("%d of %d kept, want all or %d", n, len(times), stay)
		}
	})
}

// TestThinIsTheOneOfThePaper measures how often a history is thinned, and which of its parts stay.
func TestThinIsTheOneOfThePaper(t *testing.T) {
	c := DefaultConfig()
	c.StochasticLength = 1.6
	const limit, n, draws = 20, 16, 20_000
	var times [n]schema.EventTime
	for i := range times {
		times[i] = schema.EventTime(i * 1000)
	}
	whole, stayed := 0, [n]int{}
	for at := range schema.Emit(draws) {
		kept := c.Thin(times[:], limit, 0, at)
		if len(kept) == n {
			whole++
			continue
		}
		for _, k := range kept {
			stayed[k]++
		}
	}
	want := math.Pow(limit, 1.6) / (n * n) // .47
	if got := float64(whole) / draws; math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/draws) {
		t.Errorf("%.4f of the histories stay whole, want %.4f", got, want)
	}
	if !(stayed[0] < stayed[n/2] && stayed[n/2] < stayed[n-2] && stayed[0] > 0) {
		t.Errorf("old parts must stay less often than new ones: %v", stayed)
	}
	if stayed[n-1] != draws-whole {
		t.Errorf("the newest part stayed %d times of %d", stayed[n-1], draws-whole)
	}
}

// TestPartsAreSampled demands the share that is asked for, and that what a small share keeps a larger one keeps, too.
func TestPartsAreSampled(t *testing.T) {
	c := DefaultConfig()
	const n = 20_000
	half, quarter := 0, 0
	for at := range schema.Emit(n) {
		h, q := c.KeepsPart(2, at, .5), c.KeepsPart(2, at, .25)
		if q && !h || !c.KeepsPart(2, at, 1) || c.KeepsPart(2, at, 0) {
			t.Fatal("a part that is kept with less is not kept with more")
		}
		if h {
			half++
		}
		if q {
			quarter++
		}
	}
	if math.Abs(float64(half)-n/2) > 400 || math.Abs(float64(quarter)-n/4) > 400 {
		t.Fatalf("%d and %d of %d", half, quarter, n)
	}
}
