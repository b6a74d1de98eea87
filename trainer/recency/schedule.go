package recency

import (
	"fmt"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Run is one run over a bucket: its users are to learn from their parts that are due in [From, Through). Earlier parts are input without
// loss, later ones are not of the run.
type Run struct {
	Period  int64            `json:"period"` // counted from 1970
	Bucket  int              `json:"bucket"`
	From    schema.EventTime `json:"from"`
	Through schema.EventTime `json:"through"`
}

// Schedule says when which bucket is trained on. It is a function of the times it was told, and its JSON is its state.
//
// At the end of each period one bucket has its run, in an order that is drawn anew in each cycle of B periods: with a fixed one a bucket
// would always meet the same hour of the day, or day of the week. A bucket then comes after 1 to 2B-1 periods, B on average.
//
// A run learns from the last W periods, as TBGRecall's. Where W >= B, the order must not show: it reaches back W-B periods behind the run that the
// bucket had before. So with W = B (and one epoch) every part is learned from exactly once, whatever the orders; in general W/B times on average.
type Schedule struct {
	cfg   Config
	state State

	order   []int // of the cycle that was asked for last
	ordered int64
}

// State is what a checkpoint keeps of a Schedule.
type State struct {
	Next int64   `json:"next"`           // the first period that has not ended
	Last []int64 `json:"last,omitempty"` // of each bucket, the period of its last run; none before the first part
	// Latest is the last period with a part.
	Latest int64 `json:"latest"`
}

// NewSchedule returns the schedule of a valid policy, before its first part.
func NewSchedule(c Config) *Schedule { return &Schedule{cfg: c} }

// RestoreSchedule returns the schedule that State was called on.
func RestoreSchedule(c Config, s State) (*Schedule, error) {
	if s.Last != nil && len(s.Last) != c.Buckets {
		return nil, fmt.Errorf("recency: the state is of %d buckets, the config has %d", len(s.Last), c.Buckets)
	}
	s.Last = slices.Clone(s.Last)
	return &Schedule{cfg: c, state: s}, nil
}

// State returns a copy of the state.
func (s *Schedule) State() State {
	c := s.state
	c.Last = slices.Clone(c.Last)
	return c
}

// Advance is told that all parts due before through are in the log, and when the latest of them is due. It is called with what follows from
// the parts alone (I4): after each micro-batch with the due of its last part for both, and with EndOfTime behind the last part of an epoch. It
// returns the runs that became due, and how many periods ended without one, because nothing had come since their bucket's last run.
//
// Times that go back, as they may behind an end of the input, change nothing: what is due in a period that has ended is left to the fast lane.
// However far time jumps, there are no more runs than twice the buckets.
func (s *Schedule) Advance(through, latest schema.EventTime) (runs []Run, skipped int64) {
	if s.cfg.Buckets == 0 || latest == schema.BeginningOfTime || through == schema.BeginningOfTime {
		return nil, 0
	}
	st, at, ended := &s.state, s.cfg.periodOf(latest), s.cfg.periodOf(through)
	if st.Last == nil {
		st.Next, st.Latest, st.Last = at, at, slices.Repeat([]int64{at - 1}, s.cfg.Buckets)
	}
	if through == schema.EndOfTime {
		ended = max(st.Latest, at) + 1 // the periods after the last part never come
	}
	runs, skipped = s.end(nil, min(at, ended)) // before the latest part came
	st.Latest = max(st.Latest, at)
	runs, more := s.end(runs, ended)
	return runs, skipped + more
}

// end ends the periods before one.
func (s *Schedule) end(runs []Run, before int64) ([]Run, int64) {
	skipped := int64(0)
	for st := &s.state; st.Next < before; st.Next++ {
		if !slices.ContainsFunc(st.Last, func(last int64) bool { return last < st.Latest }) { // nothing is new to any bucket
			skipped += before - st.Next
			st.Next = before
			break
		}
		b := s.bucketAt(st.Next)
		if st.Last[b] >= st.Latest {
			skipped++
			continue
		}
		runs = append(runs, s.run(st.Next, b))
		st.Last[b] = st.Next
	}
	return runs, skipped
}

func (s *Schedule) run(t int64, b int) Run {
	w, buckets := int64(s.cfg.Window), int64(s.cfg.Buckets)
	from := t - w + 1
	if w >= buckets {
		// Not further than the order of the buckets alone could make it: what was passed over for longer has lost its value.
		from = max(s.state.Last[b]+1-(w-buckets), t-w-buckets+2)
	}
	return Run{Period: t, Bucket: b, From: s.cfg.startOf(from), Through: s.cfg.startOf(t + 1)}
}

// bucketAt returns the bucket whose turn it is in a period.
func (s *Schedule) bucketAt(period int64) int {
	n := int64(s.cfg.Buckets)
	cycle := floorDiv(period, n)
	if s.order == nil || s.ordered != cycle {
		s.order, s.ordered = s.cfg.permutation(cycle), cycle
	}
	return s.order[period-cycle*n]
}

func (c Config) periodOf(t schema.EventTime) int64 {
	return floorDiv(int64(t), c.Period.Milliseconds())
}

func (c Config) startOf(period int64) schema.EventTime {
	ms := c.Period.Milliseconds()
	switch {
	case period > math.MaxInt64/ms:
		return schema.EndOfTime
	case period < math.MinInt64/ms:
		return schema.BeginningOfTime
	}
	return schema.EventTime(period * ms)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
