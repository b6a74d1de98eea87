package recency

import (
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Level says what gives way. Each level gives up what those below it do: old work first, new parts last.
type Level int

// The levels. From SampleParts on each trains on half of the parts of the one before.
const (
	Normal         Level = iota
	NoRuns               // runs over buckets wait, and the oldest of too many are shed
	HalfHistory          // parts are trained on with half of the history
	QuarterHistory       // with a quarter
	SampleParts          // half of the parts are trained on, and one in 64 on the last level
	lastLevel      = SampleParts + 5
)

// String says in words what gives way.
func (l Level) String() string {
	const runs = "runs wait"
	switch {
	case l <= Normal:
		return "nothing gives way"
	case l == NoRuns:
		return runs
	case l == HalfHistory:
		return runs + ", histories are half as long"
	case l == QuarterHistory:
		return runs + ", histories are a quarter as long"
	}
	return fmt.Sprintf("%s, histories are a quarter as long, one part in %d is trained on", runs, 2<<(l-SampleParts))
}

// Signals are what a decision is made of: numbers that a trainer measures.
type Signals struct {
	Lag     time.Duration    // event time between what the log has and what has been trained on
	Backlog int              // parts that wait
	Took    time.Duration    // the last micro-batch, with all that it needed
	Parts   int              // of the last micro-batch
	Runs    int              // that wait (Lane.Pending)
	Begin   schema.EventTime // Config.Begin; only the first decision of a trainer heeds it
}

// Decision says how micro-batches are made from one on. It is written down before it takes effect, so that a replay takes the same path (I4).
type Decision struct {
	Batch        int64   `json:"batch"` // the first that it is for
	Level        Level   `json:"level"`
	BatchParts   int     `json:"batch_parts"`   // bound of a micro-batch
	HistoryParts int     `json:"history_parts"` // of each part
	Keep         float64 `json:"keep"`          // share of the parts that are trained on (Config.KeepsPart)
	Share        float64 `json:"share"`         // of the lane (Lane.Ready)
	// Begin stays what it was in the trainer's first decision: parts due before it are not trained on (Config.Begin).
	Begin schema.EventTime `json:"begin,omitempty"`
}

// Shed counts what gave way, by reason, since the trainer's first part. It is part of a trainer's state.
type Shed struct {
	Runs         int64 `json:"pit_runs"`      // Lane.Add
	HistoryParts int64 `json:"history_parts"` // that were not read, at most
	Parts        int64 `json:"parts"`         // that were not trained on; tables have learned from them
}

// Governor decides what gives way. It rises by a level when the lag is above what is allowed for a while in which it does not fall, and sinks
// by one when the lag is below half of that for longer.
//
// A Governor of a policy without lag_soft never decides anything else than Base.
type Governor struct {
	cfg  Config
	base Decision

	last  Decision
	begun bool
	hot   int           // decisions in a row with more lag than the level bears
	lag   time.Duration // at the first of them
	calm  int           // decisions in a row with a lag that would do one level lower
	sized int           // decisions since the last change of size
}

const (
	riseAfter   = 8  // batches: what a level does shows in the lag of those behind it
	sinkAfter   = 32 // longer than riseAfter, so that levels do not swing
	resizeAfter = 8
	// growth bounds micro-batches to so many times their size: larger ones learn less from each part.
	growth = 4
)

// NewGovernor returns the governor of a valid policy over micro-batches of batchParts parts with historyParts of history each.
func NewGovernor(c Config, batchParts, historyParts int) *Governor {
	g := &Governor{cfg: c, base: Decision{BatchParts: batchParts, HistoryParts: historyParts, Keep: 1}}
	if c.Buckets > 0 {
		g.base.Share = c.Share
	}
	g.last = g.base
	return g
}

// Base returns what is decided while nothing is behind.
func (g *Governor) Base() Decision { return g.base }

// Follow takes over a decision that was made before, as on the way from a checkpoint to where the last run of the trainer had come.
func (g *Governor) Follow(d Decision) {
	g.last, g.begun, g.hot, g.calm, g.sized = d, true, 0, 0, 0
}

// Decide returns what holds from batch on, and whether that is new. It is called before each micro-batch, in order, and
// again for one that waits for parts.
func (g *Governor) Decide(batch int64, s Signals) (d Decision, changed bool) {
	d = g.last
	if g.cfg.LagSoft > 0 {
		d.Level = g.level(s)
		d.BatchParts = g.size(s)
	}
	d.HistoryParts = max(1, g.base.HistoryParts>>min(2, max(0, d.Level-NoRuns)))
	d.Keep = 1
	for l := SampleParts; l <= d.Level; l++ {
		d.Keep /= 2
	}
	switch {
	case d.Level >= NoRuns:
		d.Share = 0
	case g.cfg.LagSoft > 0 && g.base.Share > 0 && s.Runs > 0 && s.Backlog == 0:
		d.Share = 1 // nobody waits
	default:
		d.Share = g.base.Share
	}
	d.Batch = g.last.Batch
	if d == g.last && g.begun {
		return d, false
	}
	if d.Batch = batch; !g.begun {
		d.Begin = s.Begin
	}
	g.last, g.begun = d, true
	return d, true
}

// bound is the lag that a level does not bear.
func (g *Governor) bound(l Level) time.Duration {
	if l >= QuarterHistory {
		return g.cfg.LagHard // only parts are left to give way
	}
	return g.cfg.LagSoft
}

func (g *Governor) level(s Signals) Level {
	now := g.last.Level
	hot := now < lastLevel && s.Lag >= g.bound(now)
	calm := now > Normal && s.Lag < g.bound(now-1)/2
	if g.hot++; !hot {
		g.hot = 0
	}
	if g.calm++; !calm {
		g.calm = 0
	}
	switch {
	case g.hot == 1:
		g.lag = s.Lag
	case g.hot > riseAfter:
		falls := s.Lag < g.lag
		g.hot, g.lag = 1, s.Lag // and the next look begins
		if !falls {
			return now + 1
		}
	case g.calm > sinkAfter:
		g.calm = 0
		return now - 1
	}
	return now
}

// size is the bound of a micro-batch: twice as many parts while the backlog takes longer than half of the lag that is allowed, as a step
// costs the same candidates whatever its size, and half as many when it takes less than an eighth.
func (g *Governor) size(s Signals) int {
	now := g.last.BatchParts
	g.sized++
	if g.sized <= resizeAfter || s.Parts <= 0 {
		return now
	}
	debt := float64(s.Backlog) * float64(s.Took) / float64(s.Parts)
	switch soft := float64(g.cfg.LagSoft); {
	case debt > soft/2 && now < growth*g.base.BatchParts:
		g.sized, now = 0, min(2*now, growth*g.base.BatchParts)
	case debt < soft/8 && now > g.base.BatchParts:
		g.sized, now = 0, max(now/2, g.base.BatchParts)
	}
	return now
}
