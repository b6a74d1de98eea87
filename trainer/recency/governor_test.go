package recency

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// queue is a trainer in numbers: parts arrive at a rate, each takes a time that depends on its history, and those that are not kept take none.
type queue struct {
	g       *Governor
	now     time.Duration
	waiting float64 // parts
	rate    float64 // parts a second
	cost    time.Duration
	last    Decision
	worst   time.Duration
	changes int
	batch   int64
}

func (q *queue) run(t fataler, until time.Duration) {
	took, parts := time.Duration(0), 0
	for q.now < until {
		lag := time.Duration(q.waiting / q.rate * float64(time.Second))
		q.worst = max(q.worst, lag)
		d, changed := q.g.Decide(q.batch, Signals{Lag: lag, Backlog: int(q.waiting), Took: took, Parts: parts, Runs: 1})
		if changed {
			q.changes++
			if d.Batch != q.batch {
				t.Fatal("a decision is for another batch")
			}
		} else if d != q.last {
			t.Fatal("a decision that is no change changed")
		}
		if d.Level > q.last.Level+1 && q.batch > 0 || d.Level < q.last.Level-1 {
			t.Fatal("a level was passed over")
		}
		q.last = d
		q.batch++
		parts = max(1, min(d.BatchParts, int(q.waiting)))
		trained := float64(parts) * d.Keep
		took = time.Duration(trained * float64(q.cost) * (.2 + .8*float64(d.HistoryParts)/20))
		if d.Share > 0 && d.Share < 1 {
			took = time.Duration(float64(took) / (1 - d.Share))
		}
		took = max(took, 50*time.Millisecond)
		q.now += took
		q.waiting = max(0, q.waiting-float64(parts)) + took.Seconds()*q.rate
	}
}

// TestLagIsBounded loads a trainer with drawn multiples of what it can do: the lag stays bounded, levels do not swing wildly, and when the
// load is gone all is as before.
func TestLagIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		q := &queue{g: NewGovernor(c, 64, 20), cost: 10 * time.Millisecond}
		load := rapid.Float64Range(.1, 40).Draw(t, "load")
		q.rate = 100 * load
		q.run(t, time.Hour)
		if load < .7 && (q.last.Level != Normal || q.changes > 3) {
			t.Fatalf("load %.2f: %d changes, at last %+v", load, q.changes, q.last)
		}
		if load > 1.1 && q.last.Level == Normal && q.worst < c.LagSoft {
			t.Fatalf("load %.2f: nothing gave way", load)
		}
		if q.worst > 2*c.LagHard {
			t.Fatalf("load %.2f: the lag came to %v", load, q.worst)
		}
		if most := q.batch / 16; int64(q.changes) > 20+most {
			t.Fatalf("load %.2f: %d changes in %d batches", load, q.changes, q.batch)
		}
		q.rate = 10
		q.run(t, 90*time.Minute)
		if q.last.Level != Normal || q.last.Keep != 1 || q.last.HistoryParts != 20 || q.last.BatchParts != 64 || q.last.Share == 0 {
			t.Fatalf("load %.2f, and then none: %+v", load, q.last)
		}
	})
}

// TestOldWorkGivesWayFirst lets the lag grow without end and looks at what each level says.
func TestOldWorkGivesWayFirst(t *testing.T) {
	c := DefaultConfig()
	g := NewGovernor(c, 64, 20)
	var got []Decision
	lag := time.Duration(0)
	for batch := range int64(200) {
		lag += 3 * time.Second
		if d, changed := g.Decide(batch, Signals{Lag: lag, Backlog: 1, Runs: 1}); changed {
			if d.Level >= SampleParts && lag < c.LagHard {
				t.Fatalf("parts give way at a lag of %v", lag)
			}
			if d.Level > Normal && lag < c.LagSoft {
				t.Fatalf("something gives way at a lag of %v", lag)
			}
			d.Batch = 0
			got = append(got, d)
		}
	}
	want := []Decision{
		{Level: Normal, HistoryParts: 20, Keep: 1, Share: .25},
		{Level: NoRuns, HistoryParts: 20, Keep: 1},
		{Level: HalfHistory, HistoryParts: 10, Keep: 1},
		{Level: QuarterHistory, HistoryParts: 5, Keep: 1},
		{Level: SampleParts, HistoryParts: 5, Keep: .5},
		{Level: SampleParts + 1, HistoryParts: 5, Keep: .25},
		{Level: SampleParts + 2, HistoryParts: 5, Keep: .125},
		{Level: SampleParts + 3, HistoryParts: 5, Keep: 1. / 16},
		{Level: SampleParts + 4, HistoryParts: 5, Keep: 1. / 32},
		{Level: SampleParts + 5, HistoryParts: 5, Keep: 1. / 64},
	}
	if len(got) != len(want) {
		t.Fatalf("%d decisions: %+v", len(got), got)
	}
	for i := range want {
		if want[i].BatchParts = 64; got[i] != want[i] {
			t.Errorf("decision %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// TestAGovernorWithoutLagDecidesNothing, whatever it sees, but its first decision: so a replay of a file does not depend on the machine.
func TestAGovernorWithoutLagDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		c.LagSoft, c.LagHard = 0, 0
		g := NewGovernor(c, 64, 20)
		for batch := range int64(50) {
			d, changed := g.Decide(batch, Signals{
				Lag: time.Duration(rapid.Int64().Draw(t, "lag")), Backlog: rapid.IntRange(0, 1e6).Draw(t, "backlog"), Took: time.Second, Parts: 64, Runs: rapid.IntRange(0, 1).Draw(t, "runs"),
			})
			if d != g.Base() || changed != (batch == 0) {
				t.Fatalf("batch %d: %+v", batch, d)
			}
		}
	})
}

// TestTheLaneHasAllWhileNobodyWaits looks at the share while parts come and go.
func TestTheLaneHasAllWhileNobodyWaits(t *testing.T) {
	g := NewGovernor(DefaultConfig(), 64, 20)
	for i, f := range []struct {
		backlog, runs int
		share         float64
		changed       bool
	}{{1, 0, .25, true}, {0, 0, .25, false}, {0, 1, 1, true}, {0, 1, 1, false}, {5, 1, .25, true}, {0, 0, .25, false}} {
		d, changed := g.Decide(int64(i), Signals{Backlog: f.backlog, Runs: f.runs})
		if d.Share != f.share || changed != f.changed {
			t.Errorf("batch %d: share %v, changed %v", i, d.Share, changed)
		}
	}
	fast := DefaultConfig()
	fast.Buckets = 0
	if d, _ := NewGovernor(fast, 64, 20).Decide(0, Signals{Runs: 1}); d.Share != 0 {
		t.Errorf("without buckets the lane has a share of %v", d.Share)
	}
}
